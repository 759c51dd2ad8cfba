"""Inception v3."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple, TypeAlias

from .. import functional as F
from .. import nn
from ..nn import init
from ..nn._args import flag, integer
from ..nn._drawing import draw_once
from .conv_norm import ConvNorm
from .images import check_images, fill, half_range
from .registry import register

__all__ = ["InceptionV3", "InceptionV3Outputs", "inception_v3"]


class InceptionV3Outputs(NamedTuple):
    """What Inception v3 returns in training mode: its logits and those of the head behind Mixed_6e."""

    logits: Any
    aux_logits: Any


class _Unit(NamedTuple):
    """A convolution with batch normalisation and ReLU, kept as the attribute `name`."""

    name: str
    channels: int
    kernel_size: int | tuple[int, int] = 1
    stride: int = 1
    padding: int | tuple[int, int] = 0


# A step of a branch: a unit, a 3x3 pooling, or units side by side whose results are joined.
_Step: TypeAlias = _Unit | str | tuple[_Unit, ...]
_Branch: TypeAlias = tuple[_Step, ...]
_AVERAGE, _MAXIMUM = "average", "maximum"


def _grid_35(pooled: int) -> tuple[_Branch, ...]:
    return (
        (_Unit("branch1x1", 64),),
        (_Unit("branch5x5_1", 48), _Unit("branch5x5_2", 64, 5, 1, 2)),
        (
            _Unit("branch3x3dbl_1", 64),
            _Unit("branch3x3dbl_2", 96, 3, 1, 1),
            _Unit("branch3x3dbl_3", 96, 3, 1, 1),
        ),
        (_AVERAGE, _Unit("branch_pool", pooled)),
    )


def _grid_17(width: int) -> tuple[_Branch, ...]:
    return (
        (_Unit("branch1x1", 192),),
        (
            _Unit("branch7x7_1", width),
            _Unit("branch7x7_2", width, (1, 7), 1, (0, 3)),
            _Unit("branch7x7_3", 192, (7, 1), 1, (3, 0)),
        ),
        (
            _Unit("branch7x7dbl_1", width),
            _Unit("branch7x7dbl_2", width, (7, 1), 1, (3, 0)),
            _Unit("branch7x7dbl_3", width, (1, 7), 1, (0, 3)),
            _Unit("branch7x7dbl_4", width, (7, 1), 1, (3, 0)),
            _Unit("branch7x7dbl_5", 192, (1, 7), 1, (0, 3)),
        ),
        (_AVERAGE, _Unit("branch_pool", 192)),
    )


_REDUCTION_35: tuple[_Branch, ...] = (
    (_Unit("branch3x3", 384, 3, 2),),
    (
        _Unit("branch3x3dbl_1", 64),
        _Unit("branch3x3dbl_2", 96, 3, 1, 1),
        _Unit("branch3x3dbl_3", 96, 3, 2),
    ),
    (_MAXIMUM,),
)
_REDUCTION_17: tuple[_Branch, ...] = (
    (_Unit("branch3x3_1", 192), _Unit("branch3x3_2", 320, 3, 2)),
    (
        _Unit("branch7x7x3_1", 192),
        _Unit("branch7x7x3_2", 192, (1, 7), 1, (0, 3)),
        _Unit("branch7x7x3_3", 192, (7, 1), 1, (3, 0)),
        _Unit("branch7x7x3_4", 192, 3, 2),
    ),
    (_MAXIMUM,),
)
_GRID_8: tuple[_Branch, ...] = (
    (_Unit("branch1x1", 320),),
    (
        _Unit("branch3x3_1", 384),
        (
            _Unit("branch3x3_2a", 384, (1, 3), 1, (0, 1)),
            _Unit("branch3x3_2b", 384, (3, 1), 1, (1, 0)),
        ),
    ),
    (
        _Unit("branch3x3dbl_1", 448),
        _Unit("branch3x3dbl_2", 384, 3, 1, 1),
        (
            _Unit("branch3x3dbl_3a", 384, (1, 3), 1, (0, 1)),
            _Unit("branch3x3dbl_3b", 384, (3, 1), 1, (1, 0)),
        ),
    ),
    (_AVERAGE, _Unit("branch_pool", 192)),
)
# In front of the blocks; None is 3x3 max-pooling of stride 2.
_STEM: tuple[_Unit | None, ...] = (
    _Unit("Conv2d_1a_3x3", 32, 3, 2),
    _Unit("Conv2d_2a_3x3", 32, 3),
    _Unit("Conv2d_2b_3x3", 64, 3, 1, 1),
    None,
    _Unit("Conv2d_3b_1x1", 80),
    _Unit("Conv2d_4a_3x3", 192, 3),
    None,
)
_BLOCKS: dict[str, tuple[_Branch, ...]] = {
    "Mixed_5b": _grid_35(32),
    "Mixed_5c": _grid_35(64),
    "Mixed_5d": _grid_35(64),
    "Mixed_6a": _REDUCTION_35,
    "Mixed_6b": _grid_17(128),
    "Mixed_6c": _grid_17(160),
    "Mixed_6d": _grid_17(160),
    "Mixed_6e": _grid_17(192),
    "Mixed_7a": _REDUCTION_17,
    "Mixed_7b": _GRID_8,
    "Mixed_7c": _GRID_8,
}
_HEAD_BEHIND = "Mixed_6e"
# Of the images: for Mixed_7a a grid of 3, and for the 5x5 filter of the auxiliary head one of 17.
_SMALLEST, _SMALLEST_WITH_HEAD = 75, 299


class _Block(nn.Module):
    """Branches joined along the channels."""

    def __init__(self, channels: int, branches: tuple[_Branch, ...], dtype: Any) -> None:
        super().__init__()
        self._branches = branches
        self.out_channels = sum(self._add(channels, branch, dtype) for branch in branches)

    def _add(self, channels: int, branch: _Branch, dtype: Any) -> int:
        """Make a branch's units; the channels at its end."""
        for step in branch:
            if isinstance(step, str):
                continue
            units = (step,) if isinstance(step, _Unit) else step
            for unit in units:
                self.add_module(unit.name, _made(channels, unit, dtype))
            channels = sum(unit.channels for unit in units)
        return channels

    def _run(self, step: _Step, x: Any) -> Any:
        if step == _AVERAGE:
            return F.avg_pool2d(x, 3, 1, 1)
        if step == _MAXIMUM:
            return F.max_pool2d(x, 3, 2)
        if isinstance(step, _Unit):
            return getattr(self, step.name)(x)
        return F.cat([self._run(part, x) for part in step], 1)

    def forward(self, input: Any) -> Any:
        results = []
        for branch in self._branches:
            x = input
            for step in branch:
                x = self._run(step, x)
            results.append(x)
        return F.cat(results, 1)


class _Head(nn.Module):
    """A classifier on features from the middle, for training."""

    def __init__(self, channels: int, classes: int, dtype: Any) -> None:
        super().__init__()
        self.conv0 = ConvNorm(channels, 128, 1, dtype=dtype)
        self.conv1 = ConvNorm(128, 768, 5, dtype=dtype)
        self.fc = nn.Linear(768, classes, dtype=dtype)

    def forward(self, input: Any) -> Any:
        y = self.conv1(self.conv0(F.avg_pool2d(input, 5, 3)))
        return self.fc(F.flatten(F.adaptive_avg_pool2d(y, 1), 1))


def _made(channels: int, unit: _Unit, dtype: Any) -> ConvNorm:
    return ConvNorm(
        channels,
        unit.channels,
        unit.kernel_size,
        stride=unit.stride,
        padding=unit.padding,
        dtype=dtype,
    )


class InceptionV3(nn.Module):
    """Eleven blocks of branches behind five convolutions; see `inception_v3`."""

    AuxLogits: _Head | None

    @draw_once
    def __init__(
        self,
        num_classes: int = 1000,
        in_channels: int = 3,
        *,
        aux_logits: bool = True,
        transform_input: bool = False,
        dropout: float = 0.5,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        classes = integer("inception_v3", "num_classes", num_classes, 1)
        self.in_channels = channels = integer("inception_v3", "in_channels", in_channels, 1)
        self.aux_logits = flag("inception_v3", "aux_logits", aux_logits)
        self.transform_input = flag("inception_v3", "transform_input", transform_input)
        for unit in _STEM:
            if unit is not None:
                self.add_module(unit.name, _made(channels, unit, dtype))
                channels = unit.channels
        head: _Head | None = None
        for name, branches in _BLOCKS.items():
            block = _Block(channels, branches, dtype)
            self.add_module(name, block)
            channels = block.out_channels
            if name == _HEAD_BEHIND:  # here for the order of the state dict
                head = _Head(channels, classes, dtype) if self.aux_logits else None
                self.AuxLogits = head
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(channels, classes, dtype=dtype)
        draw = partial(init.trunc_normal_, std=0.1)
        fill(self, convolution=draw, linear=draw, biases=False)
        if head is not None:
            init.trunc_normal_(head.conv1.conv.weight, std=0.01)
            init.trunc_normal_(head.fc.weight, std=0.001)

    def forward(self, input: Any) -> Any:
        head = self.AuxLogits if self.training else None
        owner = "inception_v3" + (" with its auxiliary head" if head else "")
        smallest = _SMALLEST_WITH_HEAD if head else _SMALLEST
        check_images(owner, input, self.in_channels, smallest)
        y = half_range("inception_v3", input) if self.transform_input else input
        for unit in _STEM:
            y = F.max_pool2d(y, 3, 2) if unit is None else getattr(self, unit.name)(y)
        side: Any = None
        for name in _BLOCKS:
            y = getattr(self, name)(y)
            if name == _HEAD_BEHIND and head is not None:
                side = head(y)
        logits = self.fc(F.flatten(self.dropout(self.avgpool(y)), 1))
        return logits if head is None else InceptionV3Outputs(logits, side)


@register(
    input_shape=(3, 299, 299),
    source="Szegedy et al., Rethinking the Inception architecture for computer vision (2016)",
    smallest=_SMALLEST_WITH_HEAD,
)
def inception_v3(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> InceptionV3:
    """Inception v3: (N, in_channels, H, W), H and W at least 75, -> (N, num_classes) logits.

    In training mode, with the auxiliary head, images must have at least 299 x 299 pixels and the
    result is `InceptionV3Outputs`, (logits, aux_logits); `models.auxiliary_cross_entropy` is a loss
    for it. State dict and initialisation are torchvision's; 27,161,264 parameters.

    Args:
        num_classes, in_channels: width of the last layer, channels of the images.
        aux_logits: whether there is an auxiliary head.
        transform_input: take images standardised by ImageNet's mean and deviation, as torchvision's
            checkpoint of this network is used.
        dropout: in front of the last layer.
        dtype: element type of the parameters, float32 by default.

    Raises:
        ShapeError, DTypeError: arguments out of range or of the wrong type, images too small.

    Source: Szegedy et al., "Rethinking the Inception architecture for computer vision" (2016).
    """
    return InceptionV3(num_classes, in_channels, **options)
