"""What goes in comes out: kinds of array, memory order, layouts, and the memory of results."""

import gc

import numpy as np
import pytest

import fastconv as fc
import fastconv.functional as F
from tests.support import assert_close, randn, rng

X = randn(rng("x"), 2, 6, 8, 10)
W = randn(rng("w"), 4, 6, 3, 3)
WT = randn(rng("wt"), 6, 4, 3, 3)
C = np.abs(randn(rng("c"), 6)) + 0.5
G = randn(rng("g"), 2, 4, 8, 10)


# Functions of one (N, C, H, W) array with a result of the same rank: they keep the memory order.
SPATIAL = {
    "conv2d": lambda x, **o: F.conv2d(x, W, C[:4], padding=1, **o),
    "conv2d strided": lambda x, **o: F.conv2d(x, W, stride=2, padding=(1, 0), **o),
    "conv2d 1x1": lambda x, **o: F.conv2d(x, np.ascontiguousarray(W[:, :, :1, :1]), **o),
    "conv2d depthwise": lambda x, **o: F.conv2d(x, WT[:, :1], padding="same", groups=6, **o),
    "conv_transpose2d": lambda x, **o: F.conv_transpose2d(x, WT, None, 2, 1, 1, **o),
    "max_pool2d": lambda x, **o: F.max_pool2d(x, 2, **o),
    "avg_pool2d": lambda x, **o: F.avg_pool2d(x, 3, 2, 1, **o),
    "sum_pool2d": lambda x, **o: F.sum_pool2d(x, (2, 3), **o),
    "adaptive_avg_pool2d": lambda x, **o: F.adaptive_avg_pool2d(x, (3, 4), **o),
    "adaptive_max_pool2d": lambda x, **o: F.adaptive_max_pool2d(x, (3, None), **o),
    "global_avg_pool2d": lambda x, **o: F.global_avg_pool2d(x, **o),
    "global_max_pool2d": lambda x, **o: F.global_max_pool2d(x, **o),
    "batch_norm": lambda x, **o: F.batch_norm(x, None, None, C, C, training=True, **o),
    "batch_norm inference": lambda x, **o: F.batch_norm(x, C, C, **o),
    "local_response_norm": lambda x, **o: F.local_response_norm(x, 3, 0.1, **o),
}
# The same without a layout: element by element, or along dimensions.
ANY_ORDER = {
    "relu": F.relu,
    "relu6": F.relu6,
    "leaky_relu": lambda x: F.leaky_relu(x, 0.2),
    "leaky_relu negative": lambda x: F.leaky_relu(x, -0.2),
    "sigmoid": F.sigmoid,
    "tanh": F.tanh,
    "gelu": F.gelu,
    "gelu tanh": lambda x: F.gelu(x, "tanh"),
    "softmax": lambda x: F.softmax(x, 1),
    "log_softmax": lambda x: F.log_softmax(x, 3),
    "add number": lambda x: F.add(x, 2.0),
    "mul number": lambda x: F.mul(3.0, x),
    "add twice": lambda x: F.add(x, x),
    "mul twice": lambda x: F.mul(x, x),
    "add channel": lambda x: F.add(x, C.reshape(6, 1, 1)),
    "mul plane": lambda x: F.mul(np.ascontiguousarray(X[0, 0]), x),
    "sum": lambda x: F.sum(x, 1, keepdim=True),
    "mean": lambda x: F.mean(x, (2, 3), keepdim=True),
    "pad": lambda x: F.pad(x, (1, 2, 0, 1), "reflect"),
    "pad channels": lambda x: F.pad(x, (0, 0, -1, 1, 2, 0), value=1.5),
    "concat": lambda x: F.concat([x, x], 1),
}
ALL = {**SPATIAL, **ANY_ORDER}


def channels_last(x):
    """The same values, seen as NCHW, in channels-last memory."""
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)


def is_channels_last(y):
    return y.transpose(0, 2, 3, 1).flags.c_contiguous


# Kinds


@pytest.mark.parametrize("name", ALL)
def test_numpy_in_numpy_out(name):
    y = ALL[name](X)
    assert type(y) is np.ndarray and y.dtype == np.float32 and y.dtype.isnative


@pytest.mark.parametrize("name", ALL)
def test_tensor_in_tensor_out(name):
    expected = ALL[name](X)
    y = ALL[name](fc.tensor(X))
    assert type(y) is fc.Tensor and not y.requires_grad
    np.testing.assert_array_equal(y.numpy(), expected)
    y = ALL[name](fc.tensor(X, requires_grad=True))
    assert type(y) is fc.Tensor and y.requires_grad
    np.testing.assert_array_equal(y.numpy(), expected)


@pytest.mark.parametrize("name", ALL)
def test_inputs_are_left_alone(name):
    x = X.copy()
    x.flags.writeable = False
    np.testing.assert_array_equal(ALL[name](x), ALL[name](X))
    np.testing.assert_array_equal(x, X)


_MEMORY = {
    "reversed": lambda x: np.ascontiguousarray(x[::-1, :, ::-1])[::-1, :, ::-1],
    "fortran": np.asfortranarray,
    "slice": lambda x: np.repeat(np.repeat(x, 2, 3), 2, 0)[::2, :, :, ::2],
    "big-endian": lambda x: x.astype(">f4"),
    "unaligned": lambda x: (
        np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(np.float32).reshape(x.shape)
    ),
    "transposed": lambda x: np.ascontiguousarray(x.T).T,
    "swapped": lambda x: np.ascontiguousarray(x.swapaxes(0, 1)).swapaxes(0, 1),
}


@pytest.mark.parametrize("memory", _MEMORY)
@pytest.mark.parametrize("name", ALL)
def test_any_memory_gives_the_same_result(name, memory):
    x = _MEMORY[memory](X)
    np.testing.assert_array_equal(x, X)
    # Another memory order may pick another order of summation.
    assert_close(ALL[name](x), ALL[name](X), 2e-6)


class Producer:
    """The smallest DLPack producer: an array behind the protocol's two methods."""

    def __init__(self, array):
        self.array = array
        self.exports = 0

    def __dlpack__(self, **options):
        self.exports += 1
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


class Namespaced(Producer):
    """A producer whose library says how to make its arrays (the array API's way)."""

    def __array_namespace__(self):
        return Namespaced

    @staticmethod
    def from_dlpack(source):
        return Namespaced(np.from_dlpack(source))


@pytest.mark.parametrize("name", ALL)
def test_any_dlpack_producer_is_read(name):
    # Its library does not say how to make one, so NumPy it is.
    y = ALL[name](Producer(X))
    assert type(y) is np.ndarray
    np.testing.assert_array_equal(y, ALL[name](X))
    y = ALL[name](Namespaced(X))
    assert type(y) is Namespaced
    np.testing.assert_array_equal(y.array, ALL[name](X))


def test_dlpack_inputs_are_not_copied():
    x = Producer(X)
    y = F.reshape(x, (12, 80))
    assert x.exports == 1
    assert np.shares_memory(y, X)
    y = F.reshape(Namespaced(X), (12, 80))
    assert np.shares_memory(y.array, X)


def test_a_tensor_exports_its_memory():
    t = fc.tensor(X)
    assert np.shares_memory(np.from_dlpack(t), t.numpy())
    with pytest.raises(BufferError, match="detach"):
        np.from_dlpack(fc.tensor(X, requires_grad=True))
    assert np.from_dlpack(fc.tensor(X, requires_grad=True).detach()).shape == X.shape


class Broken:
    """A producer that fails as `error` when it is read."""

    def __init__(self, error, device=(1, 0)):
        self.error, self.device = error, device

    def __dlpack__(self, **options):
        raise self.error

    def __dlpack_device__(self):
        return self.device


@pytest.mark.parametrize(
    "broken",
    [Broken(kind("no")) for kind in (BufferError, RuntimeError, TypeError, ValueError)],
    ids=lambda b: type(b.error).__name__,
)
def test_a_producer_that_fails_gives_one_clear_error(broken):
    with pytest.raises(fc.DTypeError, match=r"relu: input cannot be read through DLPack: .*no"):
        F.relu(broken)
    with pytest.raises(fc.DTypeError, match=r"tensor: data cannot be read through DLPack"):
        fc.tensor(broken)


@pytest.mark.parametrize(
    "bad", [None, [1.0], "x", 1.0, np.float32(1.0), object(), fc.Tensor, memoryview(b"abcd")]
)
def test_what_is_no_array_is_refused(bad):
    with pytest.raises(fc.DTypeError, match="relu: input"):
        F.relu(bad)


def test_kinds_may_be_mixed():
    t = fc.tensor(C, requires_grad=True)
    y = F.batch_norm(X, None, None, t, C, training=True)
    assert type(y) is fc.Tensor and y.requires_grad
    y.sum().backward()
    assert t.grad.shape == (6,)
    assert type(F.add(X, fc.tensor(X))) is fc.Tensor
    assert type(F.concat([X, fc.tensor(X)])) is fc.Tensor
    assert type(F.add(Namespaced(X), X)) is Namespaced
    assert type(F.linear(X, C[np.newaxis, :1].repeat(10, 1), None)) is np.ndarray


# PyTorch


@pytest.fixture(scope="module")
def torch():
    module = pytest.importorskip("torch")
    module.set_num_threads(1)
    return module


@pytest.mark.parametrize("name", ALL)
def test_torch_in_torch_out(torch, name):
    x = torch.from_numpy(X.copy())
    y = ALL[name](x)
    assert type(y) is torch.Tensor and y.dtype == torch.float32 and not y.requires_grad
    np.testing.assert_array_equal(y.numpy(), ALL[name](X))
    np.testing.assert_array_equal(x.numpy(), X)
    y.zero_()  # the result's memory is the caller's to write


@pytest.mark.parametrize("name", ALL)
def test_torch_channels_last_stays(torch, name):
    x = torch.from_numpy(X.copy()).contiguous(memory_format=torch.channels_last)
    y = ALL[name](x)
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert_close(y.numpy(), ALL[name](X))


def test_torch_memory_is_shared_not_copied(torch):
    x = torch.ones(2, 3)
    y = F.reshape(x, (3, 2))
    assert y.data_ptr() == x.data_ptr()
    x[0, 0] = 5.0
    assert y[0, 0] == 5.0
    assert F.transpose(x, 0, 1).data_ptr() == x.data_ptr()
    assert F.dropout(x, training=False) is x


def test_torch_tensors_that_require_gradients_are_refused(torch):
    x = torch.ones(2, 3, requires_grad=True)
    for call in (lambda: F.relu(x), lambda: F.linear(X, x), lambda: fc.tensor(x)):
        with pytest.raises(fc.DTypeError, match="detach"):
            call()
    with pytest.raises(fc.DTypeError, match="conv2d: weight"):
        F.conv2d(X, torch.nn.Parameter(torch.from_numpy(W)))
    assert F.relu(x.detach()).shape == (2, 3)


@pytest.mark.parametrize("kind", ["sparse", "meta", "float16", "complex64", "int64"])
def test_torch_tensors_of_other_kinds_are_refused(torch, kind):
    x = torch.ones(2, 3)
    if kind == "sparse":
        x = x.to_sparse()
    elif kind == "meta":
        x = x.to("meta")
    else:
        x = x.to(getattr(torch, kind))
    with pytest.raises(fc.DTypeError, match="relu: input"):
        F.relu(x)


def test_torch_pairs_and_labels(torch):
    x = torch.from_numpy(X.copy())
    y, index = F.max_pool2d(x, 2, return_indices=True)
    expected, at = torch.nn.functional.max_pool2d(x, 2, return_indices=True)
    assert torch.equal(y, expected) and torch.equal(index, at)
    logits, labels = torch.randn(4, 5), torch.tensor([0, 4, 2, 2])
    loss = F.cross_entropy(logits, labels)
    assert type(loss) is torch.Tensor and loss.shape == ()
    assert_close(loss.numpy(), torch.nn.functional.cross_entropy(logits, labels).numpy())


def test_torch_reads_tensors(torch):
    t = fc.tensor(X)
    x = torch.from_dlpack(t)
    assert x.data_ptr() == t.numpy().ctypes.data


def test_torch_results_outlive_their_source(torch):
    y = F.relu(torch.from_numpy(X.copy()))
    kept = y.clone()
    gc.collect()
    for _ in range(20):
        F.relu(-np.abs(X))
    assert torch.equal(y, kept)


# Memory order


@pytest.mark.parametrize("name", ALL)
def test_channels_last_views_stay_channels_last(name):
    y = ALL[name](channels_last(X))
    assert is_channels_last(y)
    assert_close(y, ALL[name](X))


@pytest.mark.parametrize("name", ["relu", "gelu", "add number", "softmax", "max_pool2d", "pad"])
def test_float64_views_stay_channels_last(name):
    x = X.astype(np.float64)
    y = ALL[name](channels_last(x))
    assert is_channels_last(y) and y.dtype == np.float64
    assert_close(y, ALL[name](x), 1e-14)


@pytest.mark.parametrize("name", ALL)
def test_gradients_of_channels_last_views(name):
    plain = fc.tensor(X, requires_grad=True)
    view = fc.Tensor(channels_last(X), requires_grad=True)
    y, z = ALL[name](plain), ALL[name](view)
    g = randn(rng("grad", name), *y.shape)
    y.backward(g)
    z.backward(g)  # a plain gradient for a channels-last result
    assert_close(view.grad.numpy(), plain.grad.numpy(), 5e-6)
    assert view.grad.shape == X.shape
    view.grad = None
    ALL[name](view).backward(channels_last(g))
    assert_close(view.grad.numpy(), plain.grad.numpy(), 5e-6)
    assert is_channels_last(view.grad.numpy())


@pytest.mark.parametrize("name", SPATIAL)
def test_nhwc_equals_nchw(name):
    call = SPATIAL[name]
    x = fc.tensor(X, requires_grad=True)
    last = fc.tensor(X.transpose(0, 2, 3, 1), requires_grad=True)
    y, z = call(x), call(last, layout="NHWC")
    assert z.numpy().flags.c_contiguous
    assert_close(z.numpy().transpose(0, 3, 1, 2), y.numpy())
    g = randn(rng("nhwc", name), *y.shape)
    y.backward(g)
    z.backward(g.transpose(0, 2, 3, 1))
    assert_close(last.grad.numpy().transpose(0, 3, 1, 2), x.grad.numpy(), 5e-6)
    # The view of the same memory takes the same path: equal bits.
    view = call(channels_last(X))
    np.testing.assert_array_equal(view.transpose(0, 2, 3, 1), z.numpy())


def test_named_gradients_keep_the_order():
    x, g = channels_last(X), channels_last(G)
    dx = F.conv2d_input(X.shape, W, g, padding=1)
    assert is_channels_last(dx)
    assert_close(dx, F.conv2d_input(X.shape, W, G, padding=1))
    nhwc = F.conv2d_input((2, 8, 10, 6), W, G.transpose(0, 2, 3, 1), padding=1, layout="NHWC")
    assert_close(nhwc.transpose(0, 3, 1, 2), dx)
    dw = F.conv2d_weight(X, W.shape, G, padding=1)
    assert dw.flags.c_contiguous and dw.shape == W.shape
    for a, b in ((x, g), (x, G), (X, g)):
        assert_close(F.conv2d_weight(a, W.shape, b, padding=1), dw)


def test_pooling_indices_of_channels_last_views():
    expected, at = F.max_pool2d(X, 2, return_indices=True)
    y, index = F.max_pool2d(channels_last(X), 2, return_indices=True)
    np.testing.assert_array_equal(index, at)
    np.testing.assert_array_equal(y, expected)
    assert index.dtype == np.int64 and is_channels_last(index)
    np.testing.assert_array_equal(np.take(X[1, 3], at[1, 3]), expected[1, 3])


def test_shape_functions_give_views():
    for y in (
        F.reshape(X, (12, 80)),
        F.flatten(X, 1),
        F.permute(X, (0, 2, 3, 1)),
        F.transpose(X, 1, -1),
    ):
        assert np.shares_memory(y, X)
    assert not np.shares_memory(F.reshape(F.permute(X, (0, 2, 3, 1)), (2, -1)), X)


# A whole network


def _network(x, parameters, layout):
    w1, b1, scale, shift, w2, w3, b3 = parameters
    h = F.conv2d(x, w1, b1, padding=1, layout=layout)
    h = F.batch_norm(h, None, None, scale, shift, training=True, layout=layout)
    h = F.relu(h)
    h = F.max_pool2d(h, 2, layout=layout)
    h = F.relu(F.conv2d(h, w2, stride=2, layout=layout))
    h = F.avg_pool2d(h, 2, layout=layout)
    if layout == "NHWC":
        h = F.permute(h, (0, 3, 1, 2))  # features in the order that the linear layer knows
    return F.linear(F.flatten(h, 1), w3, b3)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_network_in_nhwc_equals_nchw(dtype):
    g = rng("network")
    shapes = [(8, 3, 3, 3), (8,), (8,), (8,), (6, 8, 3, 3), (5, 6 * 2 * 2), (5,)]
    values = [0.3 * randn(g, *s, dtype=dtype) for s in shapes]
    x = randn(g, 3, 3, 20, 20, dtype=dtype)
    labels = np.array([4, 0, 2])
    inputs = {
        "NCHW": (x, "NCHW"),
        "NHWC": (np.ascontiguousarray(x.transpose(0, 2, 3, 1)), "NHWC"),
        "view": (channels_last(x), "NCHW"),
    }
    found = {}
    for name, (array, layout) in inputs.items():
        parameters = [fc.tensor(v, requires_grad=True) for v in values]
        data = fc.Tensor(array, requires_grad=True)
        logits = _network(data, parameters, layout)
        F.cross_entropy(logits, labels).backward()
        dx = data.grad.numpy()
        found[name] = [
            logits.numpy(),
            dx.transpose(0, 3, 1, 2) if name == "NHWC" else dx,
            *(p.grad.numpy() for p in parameters),
        ]
    tol = 2e-5 if dtype == np.float32 else 1e-12
    for name in ("NHWC", "view"):
        for i, (a, b) in enumerate(zip(found[name], found["NCHW"], strict=True)):
            # The gradient of a bias before batch normalisation is zero but for rounding.
            if i == 3:
                assert max(np.abs(a).max(), np.abs(b).max()) < tol
            else:
                assert_close(a, b, tol, f"{name} {i}")


# Memory of results


@pytest.mark.parametrize("name", ALL)
def test_results_are_aligned_writable_and_independent(name):
    call = ALL[name]
    y = call(X)
    kept = y.copy()
    base = y
    while isinstance(base.base, np.ndarray):
        base = base.base
    assert base.ctypes.data % 64 == 0
    assert y.flags.writeable and y.flags.aligned
    assert not np.shares_memory(y, X)
    for sign in (1, -1):
        call(sign * 2 * X)  # a later call that reuses y's memory would show
    np.testing.assert_array_equal(y, kept)
    y[...] = 123.0
    np.testing.assert_array_equal(call(X), kept)
    np.testing.assert_array_equal(y, np.full_like(y, 123.0))


def test_a_view_keeps_the_memory():
    y = F.relu(X)[:, 1:3, ::2]
    kept = y.copy()
    for _ in range(10):
        F.relu(X + 1)
    gc.collect()
    np.testing.assert_array_equal(y, kept)


def test_results_held_at_once_do_not_overlap():
    held = [F.add(X, float(i)) for i in range(20)]
    for i, y in enumerate(held):
        np.testing.assert_array_equal(y, X + np.float32(i))


def test_the_pool_counts_what_it_hands_out():
    gc.collect()
    before = fc.memory_stats()
    y = F.relu(np.ones((256, 1024), np.float32))
    during = fc.memory_stats()
    assert y.nbytes <= during["in_use"] - before["in_use"] <= y.nbytes * 9 // 8 + 256
    del y
    after = fc.memory_stats()
    assert after["in_use"] == before["in_use"]
    fc.empty_cache()
    assert fc.memory_stats()["cached"] == 0


@pytest.mark.parametrize("shape", [(0,), (0, 3), (2, 0, 4), ()])
def test_small_and_empty_results(shape):
    x = np.ones(shape, np.float32)
    y = F.relu(x)
    assert type(y) is np.ndarray and y.shape == shape and y.flags.writeable
    np.testing.assert_array_equal(y, x)
