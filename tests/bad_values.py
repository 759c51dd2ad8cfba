"""Odd and bad values for arguments, by kind."""

import numpy as np

# Never an array.
NOT_ARRAYS = {
    "None": None,
    "list": [1.0, 2.0],
    "nested list": [[1.0, 2.0], [3.0, 4.0]],
    "string": "text",
    "bytes": b"text",
    "dict": {"a": 1},
    "type": np.ndarray,
    "object": object(),
}
# Arrays of element types that no floating argument takes.
OTHER_TYPES = {
    "object array": lambda shape: np.full(shape, None, object),
    "string array": lambda shape: np.full(shape, "a"),
    "complex array": lambda shape: np.ones(shape, np.complex64),
    "bool array": lambda shape: np.ones(shape, bool),
    "int64 array": lambda shape: np.ones(shape, np.int64),
    "int32 array": lambda shape: np.ones(shape, np.int32),
    "uint8 array": lambda shape: np.ones(shape, np.uint8),
    "int16 array": lambda shape: np.ones(shape, np.int16),
    "float16 array": lambda shape: np.ones(shape, np.float16),
    "long double array": lambda shape: np.ones(shape, np.longdouble),
    "datetime array": lambda shape: np.zeros(shape, "M8[s]"),
    "structured array": lambda shape: np.zeros(shape, [("a", "f4"), ("b", "i4")]),
}
# Floating arrays that may fit or not: refused, or the same result as in float64.
SHAPES = {
    "0-d": lambda a: np.array(1.5, a.dtype),
    "empty": lambda a: np.zeros((0,), a.dtype),
    "no batch": lambda a: a[:0],
    "last size 0": lambda a: a[..., :0],
    "every size 0": lambda a: np.zeros((0,) * a.ndim, a.dtype),
    "one dimension more": lambda a: a[np.newaxis],
    "one dimension less": lambda a: a[0],
    "one size off": lambda a: np.repeat(a, 2, -1)[..., : a.shape[-1] + 1],
    "one element": lambda a: np.ones((1,) * a.ndim, a.dtype),
    "9-d": lambda a: np.ones((1, 2) + (1,) * 7, a.dtype),
    "40-d": lambda a: np.ones((1,) * 40, a.dtype),
    "NaN": lambda a: np.full_like(a, np.nan),
    "infinite": lambda a: np.full_like(a, np.inf),
    "some NaN": lambda a: np.where(np.arange(a.size).reshape(a.shape) % 3 == 0, np.nan, a).astype(
        a.dtype
    ),
    # Terabytes to look at, four bytes in memory.
    "vast": lambda a: np.broadcast_to(
        np.ones((), a.dtype), (1 << 20,) * min(a.ndim, 2) + (4,) * max(0, a.ndim - 2)
    ),
    "vast empty": lambda a: np.broadcast_to(
        np.ones((), a.dtype), (1 << 40, 0) + (1,) * max(0, a.ndim - 2)
    ),
}
# The good array in another memory: the same result to the bit.
MEMORY = {
    "read-only": lambda a: read_only(a),
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "reversed": lambda a: np.ascontiguousarray(a[::-1])[::-1],
    "strided": lambda a: np.repeat(a, 2, -1)[..., ::2],
    "misaligned": lambda a: (
        np.frombuffer(b"\0" + a.tobytes(), np.uint8)[1:].view(a.dtype).reshape(a.shape)
    ),
}

NO_NUMBERS = {
    "None": None,
    "string": "1",
    "bool": True,
    "complex": 1j,
    "list of string": ["1"],
    "dict": {},
    "object": object(),
    "type": int,
}
NO_INTEGERS = {
    **NO_NUMBERS,
    "fraction": 1.5,
    "integral float": 2.0,
    "np.float32": np.float32(1),
    "NaN": float("nan"),
    "infinity": float("inf"),
    "fractions": (1.5, 2.0),
    "float array": np.ones(2, np.float32),
    "bools": (True, True),
    "Nones": [None, None],
    "nested": ((1, 1), (1, 1)),
}
INTEGERS = [0, -1, 2, 3, 7, 100, -100, 2**15, 2**31 - 1, 2**31, -(2**31), 2**32, 2**62, 2**63 - 1]
INTEGERS += [-(2**63), 2**63, 2**64, 10**30, -(10**30)]
FLOATS = [0.0, -0.0, -1.0, 1, 2, 1.5, np.float64(0.25), np.float32(0.5), np.int64(2), 1e-30, 1e-300]
FLOATS += [1e30, -1e30, 1e300, float("nan"), float("inf"), -float("inf"), 10**400, -(10**400)]


def read_only(a):
    a = a.copy()
    a.flags.writeable = False
    return a
