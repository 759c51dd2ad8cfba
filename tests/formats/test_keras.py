"""Keras's files: what Keras wrote gives Keras's results, and every layout gives the same arrays."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import fastconv as fc
import fastconv.functional as F
from fastconv import nn
from fastconv.errors import DTypeError, FormatError, ShapeError
from tests.support import assert_close, randn, rng

HERE = Path(__file__).parent


def row_net() -> Any:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 8, 3, padding=1, groups=4),
        nn.Conv2d(8, 8, 2, groups=8, bias=False),
        nn.Conv2d(8, 5, 1),
        nn.Flatten(),
        nn.BatchNorm1d(80),
        nn.Linear(80, 7),
        nn.Linear(7, 3),
    )


ROW_PAIRS = {
    "0": "first",
    "1": "batch_normalization",
    "4": "depthwise_conv2d",
    "5": "separable_conv2d.depthwise",
    "6": "separable_conv2d.pointwise",
    "8": "batch_normalization_1",
    "9": "dense",
    "10": "dense_1",
}


def check_row(path: Path, expected: Any) -> None:
    net = row_net()
    assert fc.load_keras(path, net) == ROW_PAIRS
    assert [net[i].eps for i in (1, 8)] == [0.001, 0.001]
    assert np.array_equal(net[8].weight.numpy(), np.ones(80))
    y = net.eval()(np.ascontiguousarray(expected["x"].transpose(0, 3, 1, 2)))
    assert_close(y, expected["y"], 1e-5)


@pytest.mark.parametrize("ending", ["keras", "h5"])
def test_committed_files(ending: str) -> None:
    check_row(HERE / f"data/row.{ending}", np.load(HERE / "data/row.npz"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if importlib.util.find_spec("keras") is None or importlib.util.find_spec("torch") is None:
        pytest.skip("Keras is not installed")
    folder = tmp_path_factory.mktemp("keras")
    done = subprocess.run(
        [sys.executable, str(HERE / "make_keras_files.py"), str(folder)],
        capture_output=True,
        text=True,
        env=dict(os.environ, KERAS_BACKEND="torch"),
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("ending", ["keras", "h5"])
def test_a_row_of_layers(folder: Path, ending: str) -> None:
    check_row(folder / f"row.{ending}", np.load(folder / "row.npz"))


@pytest.mark.parametrize("ending", ["keras", "h5", "weights.h5"])
def test_a_graph_with_a_model_in_it(folder: Path, ending: str) -> None:
    expected = np.load(folder / "graph.npz")
    net = nn.Module()
    net.entry = nn.Conv2d(2, 4, 2)
    net.deep = nn.Conv2d(4, 3, 2, bias=False)
    net.norm = nn.BatchNorm2d(3)
    net.up = nn.ConvTranspose2d(3, 2, 3, stride=2)
    net.slopes = nn.Module()
    net.slopes.weight = nn.Parameter(np.zeros(2, np.float32))
    net.last = nn.Linear(9 * 11 * 4, 5)
    names = {"entry": "entry", "deep": "base.deep", "up": "conv2d_transpose", "slopes": "p_re_lu"}
    if ending == "weights.h5":
        with pytest.raises(FormatError, match="behind a Flatten of unknown shape: give flatten_s"):
            fc.load(folder / "graph.weights.h5")
        found = fc.load(folder / "graph.weights.h5", flatten_shape=(9, 11, 4))
        with pytest.raises(FormatError, match=r"no convolution.*: batch_normalization_2 \(\)"):
            fc.load_keras(folder / "graph.weights.h5", net, flatten_shape=(9, 11, 4))
        given = fc.load(folder / "graph.keras")
        assert np.array_equal(found["dense_2.weight"], given["dense_2.weight"])
        assert np.array_equal(found["deep.weight"], given["base.deep.weight"])
        return
    fc.load_keras(folder / f"graph.{ending}", net)
    assert net.norm.eps == 0.01 and net.norm.bias.numpy().tolist() == [0, 0, 0]
    net.eval()
    x = net.norm(net.deep(net.entry(expected["x"].transpose(0, 3, 1, 2).copy())))
    x = np.asarray(net.up(x))
    slopes = net.slopes.weight.numpy().reshape(1, 2, 1, 1)
    x = np.concatenate([x, np.where(x > 0, x, slopes * x)], 1)
    assert_close(net.last(x.reshape(2, -1)), expected["y"], 1e-5)
    again = nn.Module()
    again.entry, again.deep, again.up = nn.Conv2d(2, 4, 2), nn.Conv2d(4, 3, 2, bias=False), net.up
    again.slopes = nn.Module()
    again.slopes.weight = nn.Parameter(np.zeros(2, np.float32))
    assert fc.load_keras(folder / f"graph.{ending}", again, names=names) == names
    for name, array in again.state_dict().items():
        assert np.array_equal(array, net.state_dict()[name])


@pytest.mark.parametrize("ending", ["keras", "h5", "weights.h5"])
def test_groups_and_global_pooling(folder: Path, ending: str) -> None:
    expected = np.load(folder / "pooled.npz")
    net = nn.Sequential(
        nn.Conv2d(4, 6, 3, groups=2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3)
    )
    fc.load_keras(folder / f"pooled.{ending}", net)
    x = np.ascontiguousarray(expected["x"].transpose(0, 3, 1, 2))
    assert_close(net.eval()(x), expected["y"], 1e-5)


@pytest.mark.parametrize("ending", ["keras", "h5", "weights.h5"])
def test_one_dimension(folder: Path, ending: str) -> None:
    expected = np.load(folder / "line.npz")
    state = fc.load(folder / f"line.{ending}")
    conv, conv_bias, dense, bias = (np.float64(a) for a in state.values())
    x = np.float64(expected["x"]).transpose(0, 2, 1)
    windows = np.lib.stride_tricks.sliding_window_view(x, 3, 2)
    y = np.einsum("nclk,ock->nol", windows, conv) + conv_bias[:, None]
    assert_close(y.reshape(2, -1) @ dense.T + bias, expected["y"], 1e-5)


@pytest.mark.parametrize("ending", ["keras", "h5"])
def test_channels_first(folder: Path, ending: str) -> None:
    expected = np.load(folder / "first.npz")
    state = list(fc.load(folder / f"first.{ending}").values())
    x = F.conv2d(expected["x"], *state[:2]).reshape(2, -1)
    y = np.concatenate([F.linear(x, *state[2:4]), F.linear(x, *state[4:6])], 1)
    assert_close(y, expected["y"], 1e-5)


# Files put together by hand, as Keras 1 and 2 wrote them


def keras2(
    path: Path,
    layers: dict[str, dict[str, Any]],
    config: Any = None,
    split: bool = False,
    **options: Any,
) -> Path:
    """Layer name -> variable path -> array, with the attributes that lead to them."""
    with h5py.File(path, "w") as file:
        top = file
        if config is not None:
            file.attrs["model_config"] = (
                config if isinstance(config, (str, bytes)) else json.dumps(config)
            )
            top = file.create_group("model_weights")
        names = [name.encode() for name in layers]
        if split:
            top.attrs["layer_names0"], top.attrs["layer_names1"] = names[:1], names[1:]
        else:
            top.attrs["layer_names"] = names
        for name, variables in layers.items():
            group = top.create_group(name)
            group.attrs["weight_names"] = [v.encode() for v in variables]
            for variable, array in variables.items():
                group.create_dataset(variable, data=array, **options)
    return path


def arrays(*shapes: tuple[int, ...]) -> Any:
    return [randn(rng("keras", shape, i), *shape) for i, shape in enumerate(shapes)]


K, B, D, E = arrays((3, 3, 2, 4), (4,), (24, 5), (5,))
# What the weights become, element by element.
KERNEL = np.empty((4, 2, 3, 3), np.float32)
for r, s, c, o in np.ndindex(K.shape):
    KERNEL[o, c, r, s] = K[r, s, c, o]
DENSE = np.empty((5, 24), np.float32)
for h, w, c, o in np.ndindex(2, 3, 4, 5):
    DENSE[o, (c * 2 + h) * 3 + w] = D[(h * 3 + w) * 4 + c, o]


@pytest.mark.parametrize(
    "options", [{}, {"compression": "gzip"}, {"chunks": True, "shuffle": True}]
)
def test_weights_alone_of_keras_2(tmp_path: Path, options: dict[str, Any]) -> None:
    layers = {
        "input_1": {},
        "conv": {"conv/kernel:0": K, "conv/bias:0": B},
        "pool": {},
        "flatten": {},
        "fc": {"fc/kernel:0": D, "fc/bias:0": E},
    }
    path = keras2(tmp_path / "a.h5", layers, split=True, **options)
    found = fc.load(path)
    assert list(found) == ["conv.weight", "conv.bias", "fc.weight", "fc.bias"]
    for got, expected in zip(found.values(), (KERNEL, B, DENSE, E), strict=True):
        assert np.array_equal(got, expected) and got.dtype == np.float32


def test_flatten_that_is_not_named(tmp_path: Path) -> None:
    layers = {"conv": {"conv/kernel:0": K}, "fc": {"fc/kernel:0": D, "fc/bias:0": E}}
    path = keras2(tmp_path / "a.h5", layers)
    with pytest.raises(FormatError, match=r"'fc' has 24 inputs .* 4 channels: give flatten_shape"):
        fc.load(path)
    assert np.array_equal(fc.load(path, flatten_shape=(2, 3, 4))["fc.weight"], DENSE)
    assert np.array_equal(fc.load(path, flatten_shape=[24, 1, 1])["fc.weight"], D.T)
    for shape in ((2, 3), (2, 3, 0), (2.0, 3, 4), 24, "abc"):
        with pytest.raises(ShapeError, match=r"load: flatten_shape must be \(H, W, C\), three"):
            fc.load(path, flatten_shape=shape)
    with pytest.raises(ShapeError, match=r"no Dense layer has the 36 inputs of flatten_shape"):
        fc.load(path, flatten_shape=(3, 3, 4))


def test_old_names(tmp_path: Path) -> None:
    layers = {
        "block1_conv1": {"block1_conv1_W_1:0": K, "block1_conv1_b_1:0": B},
        "bn": {
            "bn_gamma_1:0": B,
            "bn_beta_1:0": B + 1,
            "bn_running_mean_1:0": B + 2,
            "bn_running_std_1:0": B + 3,
        },
        "flatten_1": {},
        "fc1": {"fc1_W:0": D, "fc1_b:0": E},
    }
    found = fc.load(keras2(tmp_path / "a.h5", layers))
    assert np.array_equal(found["block1_conv1.weight"], KERNEL)
    assert np.array_equal(found["bn.running_var"], B + 3)
    assert np.array_equal(found["bn.running_mean"], B + 2)
    assert np.array_equal(found["bn.weight"], B) and np.array_equal(found["bn.bias"], B + 1)
    assert np.array_equal(found["fc1.weight"], DENSE)


def test_other_layers(tmp_path: Path) -> None:
    depthwise, point, up = arrays((3, 2, 4, 2), (1, 1, 8, 5), (3, 3, 6, 4))
    layers = {
        "dw": {"dw/depthwise_kernel:0": depthwise, "dw/bias:0": np.zeros(8)},
        "sep": {"sep/depthwise_kernel:0": depthwise, "sep/pointwise_kernel:0": point},
        "up": {"up/kernel:0": up, "up/bias:0": np.zeros(6)},
        "norm": {"norm/gamma:0": B, "norm/beta:0": B},
        "slopes": {"slopes/alpha:0": B.reshape(1, 1, 4)},
        "lstm": {"lstm/kernel:0": D, "lstm/recurrent_kernel:0": D, "lstm/bias:0": E},
    }
    found = fc.load(keras2(tmp_path / "a.h5", layers))
    expected = np.array([[depthwise[:, :, c, m]] for c in range(4) for m in range(2)])
    assert np.array_equal(found["dw.weight"], expected)
    assert np.array_equal(found["sep.depthwise.weight"], expected)
    assert np.array_equal(found["sep.pointwise.weight"], point.transpose(3, 2, 0, 1))
    assert np.array_equal(found["up.weight"], up.transpose(3, 2, 0, 1))
    assert np.array_equal(found["norm.weight"], B) and found["slopes.weight"].shape == (4,)
    assert np.array_equal(found["lstm.recurrent_kernel"], D)  # unknown layers stay as they are
    with pytest.raises(FormatError, match=r"weights of layers that are no conv.*: lstm \(\); name"):
        fc.load_keras(tmp_path / "a.h5", nn.Conv2d(1, 1, 1))


def functional(*entries: tuple[str, str, list[str], dict[str, Any]]) -> Any:
    """A configuration as Keras 2 writes graphs: (class, name, inputs, options)."""
    layers = [
        {
            "class_name": kind,
            "name": name,
            "config": {"name": name, **options},
            "inbound_nodes": [[[parent, 0, 0, {}] for parent in parents]] if parents else [],
        }
        for kind, name, parents, options in entries
    ]
    return {
        "class_name": "Functional",
        "config": {"layers": layers, "output_layers": [[entries[-1][1], 0, 0]]},
    }


def test_flatten_in_a_graph_of_keras_2(tmp_path: Path) -> None:
    half = K[..., :2]
    config = functional(
        ("InputLayer", "in", [], {"batch_input_shape": [None, 4, 5, 2]}),
        ("Conv2D", "a", ["in"], {"data_format": "channels_last"}),
        ("Conv2D", "b", ["in"], {}),
        ("ReLU", "relu", ["b"], {}),
        ("Concatenate", "both", ["a", "relu"], {"axis": 3}),
        ("MaxPooling2D", "pool", ["both"], {}),
        ("Flatten", "flat", ["pool"], {}),
        ("Dropout", "drop", ["flat"], {}),
        ("Dense", "fc", ["drop"], {}),
        ("Dense", "out", ["fc"], {}),
    )
    layers = {
        "a": {"a/kernel:0": half},
        "b": {"b/kernel:0": half},
        "fc": {"fc/kernel:0": D, "fc/bias:0": E},
        "out": {"out/kernel:0": D[:5]},
    }
    found = fc.load(keras2(tmp_path / "a.h5", layers, config))
    assert np.array_equal(found["fc.weight"], DENSE)
    assert np.array_equal(found["out.weight"], D[:5].T)
    config = functional(
        ("InputLayer", "in", [], {}),
        ("Conv2D", "a", ["in"], {}),
        ("Flatten", "x", ["a"], {}),
        ("Flatten", "y", ["a"], {}),
        ("Concatenate", "both", ["x", "y"], {}),
        ("Dense", "fc", ["both"], {}),
    )
    layers = {"a": {"a/kernel:0": half}, "fc": {"fc/kernel:0": D}}
    with pytest.raises(FormatError, match="'fc' lies behind a Flatten of unknown shape"):
        fc.load(keras2(tmp_path / "a.h5", layers, config))


# Into networks


def small() -> Any:
    return nn.Sequential(nn.Conv2d(2, 4, 3, bias=False), nn.Flatten(), nn.Linear(24, 5))


def test_layers_that_do_not_fit(tmp_path: Path) -> None:
    layers = {"conv": {"conv/kernel:0": K}, "flatten": {}, "fc": {"fc/kernel:0": D, "fc/bias:0": E}}
    path = keras2(tmp_path / "a.h5", layers)
    net = small()
    assert fc.load_keras(path, net) == {"0": "conv", "2": "fc"}
    assert np.array_equal(net[2].weight.numpy(), DENSE)
    before = {name: array.copy() for name, array in net.state_dict().items()}
    cases: list[tuple[Any, dict[str, Any], str]] = [
        (nn.Sequential(net[0], nn.Linear(24, 6)), {}, r"'fc' of the file has bias \(5,\), weight"),
        (nn.Sequential(nn.Conv2d(2, 4, 3), net[2]), {}, r"'0' of the network takes bias \(4,\), w"),
        (nn.Sequential(net[2]), {}, "1 layers of the kind convolution, the network 0: over are co"),
        (nn.Sequential(net, nn.Linear(5, 5)), {}, "linear layer, the network 2: over are 1"),
        (net, {"names": {"1": "conv"}}, "names: the network has no layer '1' with weights"),
        (net, {"names": {"0": "cone"}}, "names: the file has no layer 'cone' with weights, but co"),
        (net, {"names": {"0": "fc"}}, "'fc' of the file has"),
        (net, {"flatten_shape": (1, 2, 3)}, "'fc' has 24 inputs behind Flatten, expected 6"),
    ]
    for target, options, message in cases:
        with pytest.raises((ShapeError, FormatError), match=message):
            fc.load_keras(path, target, **options)
    for name, array in net.state_dict().items():
        assert np.array_equal(array, before[name])
    for target, options in (({}, {}), (net, {"names": ["0"]}), (net, {"names": {0: "a"}})):
        with pytest.raises(DTypeError, match="load_keras: "):
            fc.load_keras(path, target, **options)
    fc.save(net, tmp_path / "net")
    with pytest.raises(FormatError, match=r"not a file of Keras, expected \.keras or HDF5"):
        fc.load_keras(tmp_path / "net", net)
    with pytest.raises(FormatError, match="key is for checkpoints of PyTorch"):
        fc.load(path, key="a")
