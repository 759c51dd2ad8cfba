"""Pictures: what is drawn where, files that are PNGs, and clear errors."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import fastconv as fc
import fastconv.functional as F
from fastconv import nn
from fastconv import visualize as viz
from fastconv.visualize.style import picture_of
from tests.visualize.helpers import dataset, image, small_net


def texts(figure: Any) -> str:
    from matplotlib.text import Text

    found = figure.findobj(Text)
    return "\n".join(t.get_text() for t in found)


def arrays(figure: Any) -> list[Any]:
    from matplotlib.image import AxesImage

    return [np.asarray(i.get_array()) for i in figure.findobj(AxesImage)]


def drawn(figure: Any, tmp_path: Path) -> Any:
    viz.save_png(figure, tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as opened:
        assert opened.format == "PNG"
        pixels = np.asarray(opened.convert("L"))
    assert pixels.std() > 5 and min(pixels.shape) > 100
    return pixels


def test_filters(tmp_path: Path) -> None:
    grey, colour, deep = small_net(1), small_net(3), small_net(2)
    figure = viz.plot_filters(grey)
    weights = grey.conv1.weight.numpy()
    found = [a for a in arrays(figure) if a.shape == (3, 3)]
    np.testing.assert_array_equal(found, weights[:, 0])
    assert "conv1: 4 filters of 1 x 3 x 3" in texts(figure)
    drawn(figure, tmp_path)
    found = [a for a in arrays(viz.plot_filters(colour)) if a.shape == (3, 3, 3)]
    own = colour.conv1.weight.numpy()[2]
    np.testing.assert_allclose(
        found[2], (0.5 + 0.5 * own / np.abs(own).max()).transpose(1, 2, 0), rtol=1e-6
    )
    figure = viz.plot_filters(deep, "conv2", most=2)
    found = [a for a in arrays(figure) if a.shape == (3, 3)]
    np.testing.assert_array_equal(found, deep.conv2.weight.numpy()[:2].reshape(8, 3, 3))
    assert "filters 0 to 1" in texts(figure)
    norm = float(np.sqrt((deep.conv2.weight.numpy()[0] ** 2).sum()))
    assert f" {norm:.2g}" in texts(figure)
    drawn(figure, tmp_path)
    with pytest.raises(fc.ShapeError, match="'head' is a Linear, expected a convolution"):
        viz.plot_filters(grey, "head")
    with pytest.raises(fc.ShapeError, match="the network has no convolution"):
        viz.plot_filters(nn.Sequential(nn.ReLU()))
    grey.conv1.weight.numpy()[0] = np.nan
    with pytest.raises(fc.ShapeError, match="not finite"):
        viz.plot_filters(grey)


def test_feature_maps_on_pages(tmp_path: Path) -> None:
    maps = viz.feature_maps(small_net(), image())
    maps["many"] = np.random.default_rng(0).standard_normal((100, 4, 4))
    pages = viz.plot_feature_maps(maps, image(3), most=96)
    assert len(pages) == 3
    shown = [a for page in pages for a in arrays(page)]
    for name, values in maps.items():
        if values.ndim == 3:
            for one in values[:96]:
                assert any(a.shape == one.shape and np.array_equal(a, one) for a in shown), name
    said = "\n".join(map(texts, pages))
    for part in ("conv1   maps, 4 x 8 x 8", "head   3 values", "(the first 96)", "page 2 of 3"):
        assert part in said
    for page in pages:
        drawn(page, tmp_path)
    with pytest.raises(fc.ShapeError, match="there are no maps"):
        viz.plot_feature_maps({})
    with pytest.raises(fc.ShapeError, match=r"'a' has shape \(2, 2\)"):
        viz.plot_feature_maps({"a": np.zeros((2, 2))})
    with pytest.raises(fc.DTypeError, match="expected a mapping"):
        viz.plot_feature_maps([1])  # type: ignore[arg-type]


def test_overlay(tmp_path: Path) -> None:
    heat = np.zeros((4, 4), np.float32)
    heat[0, 0] = 1.0
    picture = np.full((3, 16, 16), 128, np.uint8)
    figure = viz.plot_overlay(picture, heat, "net: cat $x_$", unit="share")
    assert "net: cat $x_$" in texts(figure) and "Grad-CAM over the image" in texts(figure)
    drawn(figure, tmp_path)
    drawn(viz.plot_overlay(picture, np.zeros((4, 4))), tmp_path)
    with pytest.raises(fc.ShapeError, match="finite and not negative"):
        viz.plot_overlay(picture, -heat)
    with pytest.raises(fc.DTypeError, match="the heat map is int64"):
        viz.plot_overlay(picture, np.zeros((4, 4), np.int64))
    with pytest.raises(fc.ShapeError, match="the picture has shape"):
        viz.plot_overlay(np.zeros((2, 3, 4, 4), np.uint8), heat)


def test_confusion_has_counts_and_percentages(tmp_path: Path) -> None:
    matrix = np.array([[1499, 1, 0], [1, 3, 4], [0, 0, 0]])
    figure = viz.plot_confusion(matrix, ["a", "b_$1$", "c"])
    said = texts(figure)
    for part in ("1,499\n> 99.9 %", "1\n< 0.1 %", "3\n37.5 %", "4\n50.0 %", "b_$1$", "true class"):
        assert part in said, part
    assert "99.60 % of 1,508 images are right" in said
    drawn(figure, tmp_path)
    large = np.eye(100, dtype=np.int64) * 7
    figure = viz.plot_confusion(large, [f"name {i}" for i in range(100)])
    assert "7\n" not in texts(figure) and "name 98" in texts(figure)
    assert "name 97" not in texts(figure)
    drawn(figure, tmp_path)
    for bad, error in (
        (np.zeros((2, 3), int), fc.ShapeError),
        (np.zeros((2, 2)), fc.DTypeError),
        (np.array([[-1]]), fc.ShapeError),
    ):
        with pytest.raises(error, match="plot_confusion: the matrix"):
            viz.plot_confusion(bad)
    with pytest.raises(fc.ShapeError, match="2 names for 3 classes"):
        viz.plot_confusion(matrix, ["a", "b"])


def test_examples_and_samples(tmp_path: Path) -> None:
    net, data = small_net(), dataset(channels=2)
    top = viz.top_losses(net, F.cross_entropy, data, 7)
    figure = viz.plot_examples(top, data.classes, "hard ones")
    said = texts(figure)
    for e in top:
        assert f"no. {e.index}, loss {e.loss:.3g}" in said
        mark = "✓" if e.answer == e.label else "✗"
        assert f"{mark} class {e.answer} {100 * e.probability:.1f} %" in said
    drawn(figure, tmp_path)
    wrong = viz.misclassified(net, data, 1)
    assert f"true: class {wrong[0].label}" in texts(viz.plot_examples(wrong, data.classes))
    figure = viz.plot_samples(data, 100, seed=1)
    assert texts(figure).count("class") == 30
    drawn(figure, tmp_path)
    with pytest.raises(fc.ShapeError, match="there are no examples"):
        viz.plot_examples([])
    with pytest.raises(fc.DTypeError, match="expected a data set"):
        viz.plot_samples([1])  # type: ignore[arg-type]


def test_curves(tmp_path: Path) -> None:
    history = [
        {"epoch": e, "train_loss": 1 / e, "val_loss": v, "val_accuracy": a}
        for e, v, a in ((1, 0.9, 0.5), (2, 0.4, 0.75), (3, 0.6, 0.625))
    ]
    figure = viz.plot_curves(history, "run", validation="test")
    loss, accuracy = figure.axes
    lines = {line.get_label(): line for line in loss.lines}
    np.testing.assert_allclose(lines["training"].get_ydata(), [1, 1 / 2, 1 / 3])
    assert "lowest: 0.4, epoch 2" in lines
    assert [line.get_label() for line in accuracy.lines] == ["test", "highest: 75, epoch 2"]
    drawn(figure, tmp_path)
    drawn(viz.plot_curves([]), tmp_path)


@pytest.mark.parametrize("name", list(viz.CLASSICAL_FILTERS))
def test_classical_filters_by_loops(name: str) -> None:
    kernel, _ = viz.CLASSICAL_FILTERS[name]
    picture = np.random.default_rng(2).integers(0, 256, (9, 11, 3), dtype=np.uint8)
    size = len(kernel)
    for stride, padding in ((1, None), (1, 0), (2, 1), (3, 4)):
        around = size // 2 if padding is None else padding
        mode: Any = "edge" if padding is None else "constant"
        x = np.pad(picture / 255.0, ((around, around), (around, around), (0, 0)), mode=mode)
        rows, columns = ((n + 2 * around - size) // stride + 1 for n in (9, 11))
        expected = np.empty((rows, columns, 3))
        for i in range(rows):
            for j in range(columns):
                part = x[i * stride : i * stride + size, j * stride : j * stride + size]
                expected[i, j] = (part * kernel[:, :, None]).sum((0, 1))
        found = viz.classical_filter(picture, kernel, stride=stride, padding=padding)
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)
    # blurs and identity keep brightness, edges leave none
    total = 0.0 if name in ("Sobel x", "Sobel y", "Laplacian", "outline") else 1.0
    assert kernel.sum() == pytest.approx(total)


def test_classical_figures(tmp_path: Path) -> None:
    picture = np.random.default_rng(2).integers(0, 256, (150, 200, 3), dtype=np.uint8)
    figure = viz.plot_classical_filters(picture)
    for name in viz.CLASSICAL_FILTERS:
        assert name in texts(figure)
    assert "/ 256" in texts(figure)
    np.testing.assert_allclose(arrays(figure)[0], picture / 255)
    drawn(figure, tmp_path)
    figure = viz.plot_geometry(picture)  # 150 x 200 in blocks of 4: 37 x 50
    said = texts(figure)
    for size in (
        "37 x 50 → 45 x 58",
        "stride 1: 33 x 46",
        "stride 2: 19 x 25",
        "stride 4: 11 x 14",
    ):
        assert size in said, size
    drawn(figure, tmp_path)
    for function in (viz.plot_classical_filters, viz.plot_geometry):
        with pytest.raises(fc.ShapeError, match=f"{function.__name__}: the picture has 4 x 200"):
            function(picture[:4])
        with pytest.raises(fc.ShapeError, match="too narrow"):
            function(np.zeros((8, 20000), np.uint8))
    with pytest.raises(fc.ShapeError, match="kernel_size must be odd"):
        viz.plot_geometry(picture, kernel_size=4)
    with pytest.raises(fc.ShapeError, match="expected \\(R, S\\), both odd"):
        viz.classical_filter(picture, np.ones((2, 3)))


def test_pictures_of_all_kinds() -> None:
    random = np.random.default_rng(0)
    colour = random.integers(0, 256, (3, 5, 6), dtype=np.uint8)
    expected = colour.transpose(1, 2, 0) / 255
    np.testing.assert_allclose(picture_of("op", colour), expected)
    np.testing.assert_allclose(picture_of("op", colour[np.newaxis]), expected)
    np.testing.assert_allclose(picture_of("op", colour.transpose(1, 2, 0)), expected)
    for grey in (colour[0], colour[:1], colour[0][:, :, np.newaxis]):
        np.testing.assert_allclose(picture_of("op", grey), np.stack([colour[0] / 255] * 3, -1))
    wide = random.standard_normal((2, 5, 6))
    shown = picture_of("op", wide)
    assert shown.shape == (5, 6, 3) and shown.min() >= 0 and shown.max() <= 1
    with pytest.raises(fc.DTypeError, match="op: the picture is int32"):
        picture_of("op", np.zeros((5, 6), np.int32))
    with pytest.raises(fc.ShapeError, match="not finite"):
        picture_of("op", np.full((5, 6), np.inf))


def test_only_figures_are_saved(tmp_path: Path) -> None:
    with pytest.raises(fc.DTypeError, match="save_png: expected a figure, got int"):
        viz.save_png(3, tmp_path / "a.png")
    with pytest.raises(OSError):
        viz.save_png(viz.plot_curves([]), tmp_path / "no" / "a.png")


def test_without_matplotlib_numbers_are_there_and_pictures_say_why() -> None:
    code = """
import sys
sys.modules["matplotlib"] = None
import numpy as np, fastconv as fc
net = fc.models.lenet5()
x = np.ones((1, 28, 28), np.float32)
print(fc.visualize.grad_cam(net, x).shape, len(fc.visualize.feature_maps(net, x)))
try:
    fc.visualize.plot_filters(net)
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "(28, 28) 12" and 'pip install "fastconv[viz]"' in lines[1]
