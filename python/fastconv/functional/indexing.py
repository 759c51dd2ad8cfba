"""Parts of arrays along their dimensions: splits, slices, chosen places, and dimensions of size 1."""

from __future__ import annotations

import builtins
import operator
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import _ops
from .._arrays import ArrayLike, MemoryOrder, NDArray
from .._symbolic import is_symbolic
from ..errors import DTypeError, ShapeError
from ..tensor import as_array, filled, finish, finish_all
from ._args import axes, axis, computes, integer, sizes
from ._taps import Taps
from .elementwise import sum_to
from .shape import MAX_DIMS

MAX_PIECES = 65536


class _Cut(NamedTuple):
    """Places start, start + step, ... along a dimension."""

    dim: int
    start: int
    length: int
    step: int = 1


def split(
    input: ArrayLike, split_size_or_sections: int | Sequence[int], dim: int = 0
) -> tuple[Any, ...]:
    """The input cut along `dim` into consecutive pieces. Any element type.

    Args:
        split_size_or_sections: the size of every piece but perhaps the last, or the sizes of all, which add up to
            that of the dimension.

    Returns:
        The pieces in order; views of the input where its memory allows.

    Raises:
        ShapeError: `dim` does not exist, or sizes that do not add up.
        DTypeError: sizes that are not integers.
    """
    op = "split"
    x = as_array(op, "input", input)
    at = _existing(op, dim, x)
    size = x.shape[at]
    if isinstance(split_size_or_sections, (tuple, list)):
        lengths = sizes(op, "split_size_or_sections", split_size_or_sections)
        if builtins.min(lengths, default=0) < 0 or builtins.sum(lengths) != size:
            raise ShapeError(
                f"{op}: split_size_or_sections must add up to {size}, the size of dimension {at}, got {lengths}"
            )
    else:
        each = integer(op, "split_size_or_sections", split_size_or_sections)
        if each < 1:
            raise ShapeError(f"{op}: split_size_or_sections must be at least 1, got {each}")
        lengths = _evenly(op, size, each)
    return _split(op, input, x, at, lengths)


def chunk(input: ArrayLike, chunks: int, dim: int = 0) -> tuple[Any, ...]:
    """The input cut along `dim` into at most `chunks` pieces of one size, the last perhaps smaller.

    Raises:
        ShapeError: `dim` does not exist, or `chunks` is below 1.
        DTypeError: a number of pieces that is not an integer.
    """
    op = "chunk"
    x = as_array(op, "input", input)
    at = _existing(op, dim, x)
    count = integer(op, "chunks", chunks)
    if count < 1:
        raise ShapeError(f"{op}: chunks must be at least 1, got {count}")
    return _split(op, input, x, at, _evenly(op, x.shape[at], -(-x.shape[at] // count) or 1))


def _existing(op: str, dim: Any, x: NDArray) -> int:
    """A dimension that x has, counted from 0."""
    at = axis(op, dim, x.ndim)
    if x.ndim == 0:
        raise ShapeError(f"{op}: input must have at least one dimension, got a scalar")
    return at


def _evenly(op: str, size: int, each: int) -> tuple[int, ...]:
    """Pieces of `each`, the last one smaller, that make up `size`."""
    if size > MAX_PIECES * each:
        raise ShapeError(
            f"{op}: pieces of {each} would be more than {MAX_PIECES} for a dimension of size {size}"
        )
    whole, rest = divmod(size, each)
    return (each,) * whole + ((rest,) if rest or not whole else ())


def _split(
    op: str, input: ArrayLike, x: NDArray, at: int, lengths: tuple[int, ...]
) -> tuple[Any, ...]:
    pieces: list[NDArray]
    if is_symbolic(x):
        order = MemoryOrder(x)
        made = _ops.concat_backward(order.enter(x), order.dim(at), lengths, (True,) * len(lengths))
        pieces = [order.leave(p) for p in made if p is not None]
    else:
        ends = np.cumsum((0, *lengths)).tolist()
        pieces = [_cut(x, [_Cut(at, s, n)]) for s, n in zip(ends, lengths, strict=False)]

    def backward(
        gradients: Sequence[NDArray | None], needs: tuple[bool, ...]
    ) -> tuple[NDArray | None, ...]:
        like = next(g for g in gradients if g is not None)
        order = MemoryOrder(like)
        whole = [
            filled(like, (*x.shape[:at], n, *x.shape[at + 1 :]), 0.0) if g is None else g
            for g, n in zip(gradients, lengths, strict=True)
        ]
        if not builtins.all(order.enter(g).flags.c_contiguous for g in whole):
            order = MemoryOrder(np.zeros(0))
        return (order.leave(_ops.concat([order.enter(g) for g in whole], order.dim(at))),)

    return finish_all(op, pieces, (input,), backward)


def narrow(input: ArrayLike, dim: int, start: int, length: int) -> ArrayLike:
    """Elements `start` to `start + length` along `dim`; a view where memory allows. Any element type.

    Args:
        start: from 0, or counted from the end where negative.

    Raises:
        ShapeError: `dim` does not exist, or the stretch reaches beyond it.
        DTypeError: arguments that are not integers.
    """
    op = "narrow"
    x = as_array(op, "input", input)
    at = _existing(op, dim, x)
    first, count, size = integer(op, "start", start), integer(op, "length", length), x.shape[at]
    begin = first + size if first < 0 else first
    if count < 0 or not 0 <= begin <= size - count:
        raise ShapeError(
            f"{op}: start {first} and length {count} do not fit dimension {at} of size {size}"
        )
    return _part(op, input, x, [_Cut(at, begin, count)], None)


def slice(
    input: ArrayLike,
    dim: int,
    start: int | None = None,
    stop: int | None = None,
    step: int = 1,
) -> ArrayLike:
    """input[start:stop:step] along `dim`, by Python's rules; negative steps go backwards. Any element type.

    Raises:
        ShapeError: `dim` does not exist, or `step` is 0.
        DTypeError: arguments that are not integers.
    """
    op = "slice"
    x = as_array(op, "input", input)
    at = _existing(op, dim, x)
    first, last = (
        None if v is None else integer(op, what, v)
        for what, v in (("start", start), ("stop", stop))
    )
    cut = _sliced(op, at, x.shape[at], first, last, integer(op, "step", step))
    return _part(op, input, x, [cut], None)


def _sliced(op: str, at: int, size: int, start: int | None, stop: int | None, step: int) -> _Cut:
    if step == 0:
        raise ShapeError(f"{op}: step must not be 0")
    places = range(size)[builtins.slice(start, stop, step)]
    count = len(places)
    # One place has no step; none start nowhere.
    return _Cut(at, places.start if count else 0, count, places.step if count > 1 else 1)


def getitem(input: Any, key: Any) -> Any:
    """What `Tensor.__getitem__` does: integers, slices, None and Ellipsis."""
    op = "Tensor"
    x = as_array(op, "input", input)
    parts = list(key) if isinstance(key, tuple) else [key]
    named = builtins.sum(p is not None and p is not Ellipsis for p in parts)
    dots = [i for i, p in enumerate(parts) if p is Ellipsis]
    if len(dots) > 1:
        raise ShapeError(f"{op}: an index has one '...' at most, got {len(dots)}")
    if named > x.ndim:
        raise ShapeError(f"{op}: {named} indices are too many for shape {x.shape}")
    whole = [builtins.slice(None)] * (x.ndim - named)
    at = dots[0] if dots else len(parts)
    parts[at : at + 1] = whole
    cuts, shape, dim = [], [], 0
    for part in parts:
        if part is None:
            shape.append(1)
            continue
        size = x.shape[dim]
        if isinstance(part, builtins.slice):
            start, stop, step = (
                None if v is None else integer(op, "a slice's bound", v)
                for v in (part.start, part.stop, part.step)
            )
            cut = _sliced(op, dim, size, start, stop, 1 if step is None else step)
            shape.append(cut.length)
        else:
            if isinstance(part, (bool, np.bool_)) or not hasattr(part, "__index__"):
                raise DTypeError(
                    f"{op}: an index must be integers, slices, None or '...', "
                    f"got {type(part).__name__}; see functional.index_select for lists of places"
                )
            place = operator.index(part)
            if not -size <= place < size:
                raise ShapeError(
                    f"{op}: index {place} is outside of dimension {dim} of size {size}"
                )
            cut = _Cut(dim, place % size, 1)
        cuts.append(cut)
        dim += 1
    return _part("getitem", input, x, cuts, tuple(shape))


def _part(
    op: str, input: ArrayLike, x: NDArray, cuts: list[_Cut], shape: tuple[int, ...] | None
) -> ArrayLike:
    """The cuts of x, then in another shape."""
    needed = [c for c in cuts if c != _Cut(c.dim, 0, x.shape[c.dim])]
    y = _cut(x, needed)
    cut_shape = y.shape
    if shape is not None and shape != cut_shape:
        y = y.reshape(shape)

    def backward(g: NDArray, needs: tuple[bool, ...]) -> tuple[NDArray | None, ...]:
        return (_uncut(g.reshape(cut_shape), x.shape, needed),)

    return finish(op, y, (input,), backward)


def _cut(x: NDArray, cuts: Sequence[_Cut]) -> NDArray:
    """A view, but of dense memory in another order a copy in that order; in a program nodes."""
    if not is_symbolic(x):
        key = [builtins.slice(None)] * x.ndim
        for c in cuts:
            stop = c.start + c.length * c.step
            key[c.dim] = builtins.slice(c.start, None if stop < 0 else stop, c.step)
        part = x[tuple(key)]
        return part if MemoryOrder(x).axes is None else part.copy(order="K")
    for c in cuts:
        size = x.shape[c.dim]
        if c.step != 1:
            x = _taps_of(c, size).apply(x, c.dim)
            continue
        order = MemoryOrder(x)
        lengths = (c.start, c.length, size - c.start - c.length)
        pieces = _ops.concat_backward(
            order.enter(x), order.dim(c.dim), lengths, (False, True, False)
        )
        piece = pieces[1]
        assert piece is not None
        x = order.leave(piece)
    return x


def _uncut(g: NDArray, shape: tuple[int, ...], cuts: Sequence[_Cut]) -> NDArray:
    """The gradient of an array of `shape` from that of its cuts."""
    for c in cuts:
        if c.step != 1:
            g = _taps_of(c, shape[c.dim]).backward().apply(g, c.dim)
    stretches = {c.dim: c for c in cuts if c.step == 1}
    if not stretches:
        return g
    before = tuple(stretches[d].start if d in stretches else 0 for d in range(len(shape)))
    after = tuple(
        shape[d] - before[d] - stretches[d].length if d in stretches else 0
        for d in range(len(shape))
    )
    order = MemoryOrder(g)
    padded = _ops.pad(order.enter(g), order.permute(before), order.permute(after), "constant", 0.0)
    return order.leave(padded)


def _taps_of(cut: _Cut, size: int) -> Taps:
    return Taps.of(size, cut.start + cut.step * np.arange(cut.length))


def index_select(input: ArrayLike, dim: int, index: ArrayLike) -> ArrayLike:
    """The places `index` along `dim`, in that order; a place may come several times. Any element type.

    Args:
        index: (n,) integers in [0, size of the dimension).

    Returns:
        The input's shape with n in place of the dimension's size. Gradients go to `input`.

    Raises:
        ShapeError: `dim` does not exist, `index` has another shape, or a place is outside.
        DTypeError: an index that is not of integers.
    """
    op = "index_select"
    x = as_array(op, "input", input)
    at = _existing(op, dim, x)
    places = as_array(op, "index", index)
    if places.dtype.kind not in "iu":
        raise DTypeError(f"{op}: index must be integers, got {places.dtype}")
    if places.ndim != 1:
        raise ShapeError(f"{op}: index must have one dimension, got shape {places.shape}")
    if places.size and not 0 <= int(places.min()) <= int(places.max()) < x.shape[at]:
        raise ShapeError(
            f"{op}: places must be in [0, {x.shape[at]}), got {places.min()} to {places.max()}"
        )
    taps = Taps.of(x.shape[at], places)
    # In the input's memory order, where that matters; NumPy takes any element type.
    y = taps.apply(x, at) if is_symbolic(x) or computes(x.dtype) else np.take(x, places, at)

    def backward(g: NDArray, needs: tuple[bool, ...]) -> tuple[NDArray | None, ...]:
        return (taps.backward().apply(g, at),)

    return finish(op, y, (input,), backward)


def squeeze(input: ArrayLike, dim: Any = None) -> ArrayLike:
    """Without the dimensions of size 1 among `dim` (an int, several, or None for all): a view.

    Dimensions of another size stay, as in PyTorch.

    Raises:
        ShapeError: a dimension does not exist or is named twice.
        DTypeError: dimensions that are not integers.
    """
    op = "squeeze"
    x = as_array(op, "input", input)
    dims = () if isinstance(dim, (tuple, list)) and not dim else axes(op, dim, x.ndim)
    shape = tuple(s for d, s in enumerate(x.shape) if d not in dims or s != 1)
    return _viewed(op, input, x, shape)


def unsqueeze(input: ArrayLike, dim: int) -> ArrayLike:
    """With a dimension of size 1 at `dim` of the result: a view.

    Raises:
        ShapeError: the result has no dimension `dim`, or too many.
        DTypeError: a dimension that is not an integer.
    """
    op = "unsqueeze"
    x = as_array(op, "input", input)
    at = axis(op, dim, x.ndim + 1)
    if x.ndim >= MAX_DIMS:
        raise ShapeError(f"{op}: at most {MAX_DIMS} dimensions are possible, got {x.ndim + 1}")
    return _viewed(op, input, x, (*x.shape[:at], 1, *x.shape[at:]))


def _viewed(op: str, input: ArrayLike, x: NDArray, shape: tuple[int, ...]) -> ArrayLike:
    def backward(g: NDArray, needs: tuple[bool, ...]) -> tuple[NDArray | None, ...]:
        return (g.reshape(x.shape),)

    return finish(op, x.reshape(shape), (input,), backward)


def expand(input: ArrayLike, shape: Sequence[int]) -> ArrayLike:
    """The input repeated along dimensions of size 1, and along new ones in front, to `shape`.

    Without a program it is a view that cannot be written.

    Args:
        shape: -1 keeps a dimension's size.

    Raises:
        ShapeError: fewer dimensions than the input has, or a size that differs and is not 1 there.
        DTypeError: sizes that are not integers.
    """
    op = "expand"
    x = as_array(op, "input", input)
    wanted = sizes(op, "shape", shape)
    extra = len(wanted) - x.ndim
    kept = (None,) * builtins.max(extra, 0) + x.shape
    full = tuple(
        old if new == -1 and old is not None else new
        for new, old in zip(wanted, kept, strict=False)
    )
    if (
        extra < 0
        or len(wanted) > MAX_DIMS
        or builtins.any(n < 0 or n > 2**62 for n in full)
        or builtins.any(old not in (None, 1, n) for n, old in zip(full, kept, strict=True))
    ):
        raise ShapeError(f"{op}: shape {x.shape} does not expand to {wanted}")

    def backward(g: NDArray, needs: tuple[bool, ...]) -> tuple[NDArray | None, ...]:
        return (sum_to(g, x.shape),)

    return finish(op, _expanded(op, x, full), (input,), backward)


def _expanded(op: str, x: NDArray, shape: tuple[int, ...]) -> NDArray:
    if not is_symbolic(x):
        try:
            return np.broadcast_to(x, shape)
        except ValueError as error:
            raise ShapeError(f"{op}: shape {shape} has too many elements") from error
    full = x.reshape((1,) * (len(shape) - x.ndim) + x.shape)
    repeated = [d for d, n in enumerate(shape) if full.shape[d] != n]
    if not repeated:
        return full
    order = MemoryOrder(full)
    dims = tuple(order.dim(d) for d in repeated)
    return order.leave(_ops.reduce_backward("sum", order.enter(full), order.permute(shape), dims))
