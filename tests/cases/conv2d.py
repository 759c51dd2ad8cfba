"""Convolution cases: geometry that is small enough for plain loops, each with the corner that it covers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Conv2dCase:
    name: str
    x: tuple[int, int, int, int]  # N, C, H, W
    k: int
    kernel: tuple[int, int]
    stride: Any = 1
    padding: Any = 0
    dilation: Any = 1
    groups: int = 1
    bias: bool = True

    @property
    def weight(self) -> tuple[int, int, int, int]:
        return (self.k, self.x[1] // self.groups, *self.kernel)

    @property
    def geometry(self) -> tuple[Any, Any, Any, int]:
        return (self.stride, self.padding, self.dilation, self.groups)

    def __str__(self) -> str:
        return self.name


C = Conv2dCase
CASES = [
    C("lenet_c1", (3, 1, 28, 28), 6, (5, 5), padding=2),
    C("lenet_c2", (3, 6, 14, 14), 16, (5, 5)),
    C("one_pixel", (1, 1, 1, 1), 1, (1, 1)),
    C("one_channel_in_many_out", (2, 1, 9, 8), 70, (3, 3), padding=1, bias=False),
    C("weights_beyond_l2", (1, 256, 5, 6), 70, (3, 3), padding=1),
    C("weights_beyond_l2_strided", (2, 300, 5, 5), 66, (3, 3), stride=2, padding=2, bias=False),
    C("stem_7x7", (2, 3, 23, 23), 64, (7, 7), stride=2, padding=3, bias=False),
    C("alexnet_c1", (1, 3, 47, 47), 20, (11, 11), stride=4, padding=2),
    C("3x3", (2, 16, 10, 10), 16, (3, 3), padding=1),
    C("3x3_c32_k64", (1, 32, 14, 14), 64, (3, 3), padding=1, bias=False),
    C("3x3_c64_k130", (1, 64, 7, 7), 130, (3, 3), padding=1),
    C("3x3_odd_channels", (2, 19, 11, 9), 37, (3, 3), padding=1),
    C("3x3_stride2", (2, 17, 15, 15), 33, (3, 3), stride=2, padding=1),
    C("3x3_stride3", (1, 16, 14, 13), 16, (3, 3), stride=3, padding=1),
    C("stride_beyond_kernel", (2, 18, 13, 13), 5, (2, 2), stride=3),
    C("1x1", (2, 24, 9, 9), 40, (1, 1)),
    C("1x1_many", (1, 96, 12, 12), 160, (1, 1), bias=False),
    C("1x1_tiles_of_seven", (1, 37, 7, 7), 60, (1, 1)),
    C("1x1_tiles_of_seven_stride2", (1, 66, 13, 13), 190, (1, 1), stride=2, bias=False),
    C("1x1_many_tiles_of_seven", (2, 259, 28, 28), 113, (1, 1)),
    C("1x1_stride2", (2, 20, 11, 12), 36, (1, 1), stride=2),
    C("1x1_padding", (1, 20, 6, 6), 8, (1, 1), padding=1),
    C("1x1_few_channels", (2, 3, 8, 8), 5, (1, 1)),
    C("1x1_groups", (2, 12, 7, 7), 20, (1, 1), groups=4),
    C("1x1_many_groups", (2, 96, 5, 7), 416, (1, 1), groups=32),
    C("1x1_many_groups_back", (1, 416, 5, 7), 96, (1, 1), groups=32, bias=False),
    C("1x1_groups_stride2", (2, 24, 9, 7), 40, (1, 1), stride=2, groups=8),
    C("1x1_one_vector", (2, 45, 7, 9), 13, (1, 1)),
    C("1x1_one_vector_stride2", (1, 45, 8, 9), 16, (1, 1), stride=2, bias=False),
    C("groups_of_many_taps", (2, 48, 11, 13), 33, (5, 5), stride=2, padding=1, groups=3),
    C("groups_of_three", (2, 18, 12, 11), 66, (7, 7), padding=3, dilation=1, groups=6),
    C("few_pixels_long_odd_filters", (2, 37, 4, 5), 22, (3, 3), stride=2, padding=1),
    C("one_pixel_a_picture", (6, 30, 3, 3), 19, (3, 3)),
    C("few_pixels_dilated", (1, 130, 5, 4), 24, (3, 2), padding=2, dilation=2, stride=(2, 1)),
    C("tall_kernel", (1, 18, 12, 9), 10, (5, 1), padding=(2, 0)),
    C("wide_kernel", (1, 4, 9, 14), 10, (1, 7), padding=(0, 3)),
    C("uneven_stride", (1, 16, 13, 16), 12, (3, 3), stride=(1, 2), padding=(0, 1)),
    C("dilation2", (2, 17, 13, 13), 12, (3, 3), padding=2, dilation=2),
    C("dilation_uneven", (1, 5, 14, 15), 6, (3, 2), padding=(3, 1), dilation=(3, 2)),
    C("dilation_stride", (1, 20, 16, 16), 9, (3, 3), stride=2, padding=3, dilation=3),
    C("groups2", (2, 8, 9, 9), 6, (3, 3), padding=1, groups=2),
    C("groups_wide", (1, 40, 8, 8), 48, (3, 3), padding=1, groups=2),
    C("groups_32x4", (1, 128, 7, 7), 128, (3, 3), padding=1, groups=32),
    C("depthwise", (2, 21, 10, 10), 21, (3, 3), padding=1, groups=21),
    C("depthwise_stride2", (1, 32, 11, 11), 32, (3, 3), stride=2, padding=1, groups=32),
    C("depthwise_5x5_dilated", (1, 18, 13, 12), 18, (5, 5), padding=4, dilation=2, groups=18),
    C("depth_multiplier", (2, 6, 9, 9), 18, (3, 3), padding=1, groups=6),
    C("depthwise_wide_row", (2, 33, 9, 58), 33, (3, 3), padding=1, groups=33),
    C("depthwise_tiles_and_rest", (2, 40, 9, 23), 40, (3, 3), padding=1, groups=40),
    C("depthwise_tiles_unpadded", (1, 19, 8, 16), 19, (3, 3), groups=19, bias=False),
    C("depthwise_tiles_stride2", (2, 33, 13, 28), 33, (3, 3), stride=2, padding=1, groups=33),
    C("depthwise_rest_stride2", (1, 16, 10, 31), 16, (3, 3), stride=2, padding=1, groups=16),
    C("depthwise_past_caches", (1, 1024, 46, 46), 1024, (3, 3), padding=1, groups=1024),
    C(
        "depthwise_past_caches_stride2",
        (1, 1024, 46, 46),
        1024,
        (3, 3),
        stride=2,
        padding=1,
        groups=1024,
    ),
    C("depthwise_5x5", (2, 48, 14, 15), 48, (5, 5), padding=2, groups=48),
    C("depthwise_5x5_stride2", (2, 40, 15, 14), 40, (5, 5), stride=2, padding=2, groups=40),
    C("depthwise_3x3_stride2_even", (2, 32, 16, 18), 32, (3, 3), stride=2, groups=32, bias=False),
    C(
        "depthwise_uneven_stride",
        (1, 19, 13, 17),
        19,
        (3, 5),
        stride=(1, 2),
        padding=(2, 3),
        groups=19,
    ),
    C("depthwise_stride3", (1, 32, 17, 16), 32, (3, 3), stride=3, padding=1, groups=32),
    C("depthwise_7x7", (1, 35, 12, 9), 35, (7, 7), padding=3, groups=35),
    C("depthwise_tall", (1, 20, 40, 3), 20, (33, 1), padding=(16, 0), groups=20),
    C("depthwise_padding_beyond", (1, 17, 4, 5), 17, (3, 3), padding=4, groups=17),
    C("depthwise_few_channels", (3, 5, 8, 8), 5, (3, 3), padding=1, groups=5),
    C(
        "depthwise_bands",
        (1, 16, 70, 66),
        16,
        (3, 3),
        stride=(2, 1),
        padding=1,
        groups=16,
        bias=False,
    ),
    C("depth_multiplier_5x5_stride2", (1, 12, 11, 12), 36, (5, 5), stride=2, padding=2, groups=12),
    C("vgg_c1", (1, 3, 20, 21), 64, (3, 3), padding=1),
    C("mobilenet_c1", (2, 3, 22, 23), 32, (3, 3), stride=2, padding=1, bias=False),
    C("alexnet_c1_64", (1, 3, 47, 47), 64, (11, 11), stride=4, padding=2),
    C("mnist_c1", (3, 1, 28, 28), 24, (5, 5), padding=2),
    C("cifar_c1", (2, 3, 32, 32), 16, (3, 3), padding=1),
    C("four_channels_stride3", (2, 4, 31, 34), 19, (5, 4), stride=3, padding=2),
    C(
        "few_channels_dilated",
        (1, 2, 24, 25),
        13,
        (3, 3),
        stride=(2, 1),
        padding=3,
        dilation=(2, 3),
    ),
    C("few_outputs", (2, 20, 14, 15), 7, (3, 3), padding=1),
    C("few_outputs_groups", (2, 24, 13, 14), 10, (3, 3), padding=1, groups=2),
    C("padding_beyond_kernel", (1, 16, 4, 4), 16, (3, 3), padding=5),
    C("kernel_is_input", (2, 17, 6, 5), 11, (6, 5)),
    C("kernel_larger_than_input", (1, 16, 3, 3), 8, (5, 5), padding=2),
    C("large_kernel", (1, 2, 12, 12), 3, (9, 9), padding=4),
    C("same_odd", (1, 17, 8, 9), 6, (3, 5), padding="same"),
    C("same_even", (1, 16, 8, 9), 6, (4, 2), padding="same"),
    C("same_dilated", (1, 3, 11, 9), 6, (4, 3), padding="same", dilation=2),
    C("valid", (1, 16, 8, 8), 6, (3, 3), padding="valid"),
    C("dilation_beyond_input", (1, 3, 5, 6), 4, (3, 3), padding=40, dilation=40),
    C("strips_vectors", (2, 8, 12, 13), 48, (3, 3), padding=1, groups=4),
    C("strips_flat", (2, 6, 13, 14), 9, (4, 4), stride=2, padding=1, groups=3),
    C("strips_gathered", (1, 96, 9, 8), 6, (3, 3), padding=1, groups=3, bias=False),
    C("strips_tail", (2, 10, 11, 12), 35, (3, 2), stride=(2, 1), dilation=(1, 2), groups=5),
    C("strips_bands", (1, 4, 62, 41), 4, (5, 5), padding=2, groups=2),
    C("strips_columns", (2, 8, 9, 29), 48, (3, 3), padding=1, groups=4),
    C("strips_columns_13", (1, 12, 6, 13), 33, (2, 2), padding=(1, 0), groups=3),
    C("strips_phases_of_seven", (1, 9, 17, 45), 33, (7, 7), stride=2, padding=3, groups=3),
    C("strips_fourteen_lanes", (2, 14, 9, 23), 14, (6, 6), padding=2, groups=14),
    C("strips_fourteen_stride3", (1, 14, 19, 51), 14, (5, 5), stride=3, padding=2, groups=14),
    C("strips_skip", (2, 32, 13, 14), 32, (1, 1), stride=3, padding=1, groups=16),
    C("multiplier_dilated", (1, 7, 15, 14), 14, (6, 6), stride=2, padding=5, dilation=2, groups=7),
    C("multiplier_1x1", (2, 5, 6, 7), 25, (1, 1), stride=2, groups=5),
    C("depthwise_4x4_stride2", (2, 20, 13, 15), 20, (4, 4), stride=2, padding=1, groups=20),
    C("depthwise_6x6", (1, 19, 14, 13), 19, (6, 6), padding=3, groups=19),
    C("depthwise_2x2_stride2", (2, 17, 9, 10), 17, (2, 2), stride=2, groups=17, bias=False),
    C(
        "depthwise_stride_dilated",
        (1, 17, 19, 18),
        17,
        (5, 5),
        stride=2,
        padding=4,
        dilation=3,
        groups=17,
    ),
    C("depthwise_pixels_1x1_stride3", (2, 75, 10, 31), 75, (1, 1), stride=3, groups=75, bias=False),
    C(
        "depthwise_pixels_dilated_stride3",
        (1, 150, 14, 37),
        150,
        (5, 5),
        stride=3,
        padding=3,
        dilation=2,
        groups=150,
    ),
    C(
        "depthwise_pixels_stride11",
        (1, 40, 25, 60),
        40,
        (3, 13),
        stride=11,
        padding=(1, 6),
        groups=40,
    ),
    C(
        "depthwise_pixels_stride_of_dilation",
        (1, 33, 20, 30),
        33,
        (3, 4),
        stride=(4, 2),
        padding=(3, 7),
        dilation=(6, 4),
        groups=33,
    ),
    C("depthwise_stride4_bands", (1, 16, 112, 112), 16, (4, 4), stride=4, groups=16),
    C("depthwise_stride7_bands", (1, 16, 100, 100), 16, (7, 7), stride=7, groups=16, bias=False),
    C(
        "depthwise_far_padding",
        (1, 16, 3, 1),
        16,
        (2, 1),
        stride=(5, 1),
        padding=(8, 200),
        dilation=(4, 1),
        groups=16,
    ),
    C("depthwise_two_channels", (3, 2, 12, 11), 2, (4, 4), padding=3, dilation=2, groups=2),
    C("dots_one", (2, 37, 9, 8), 1, (3, 3), padding=1),
    C("dots_eight", (1, 80, 8, 9), 8, (3, 3), padding=1),
    C("half_a_vector", (1, 70, 8, 9), 12, (3, 3), padding=1),
    C("dots_stride2", (2, 40, 9, 11), 9, (2, 2), stride=2),
    C("few_deep", (2, 29, 7, 6), 13, (1, 1)),
    C("few_wide_stride2", (1, 9, 8, 9), 70, (1, 1), stride=2, bias=False),
    C("taps_many_channels", (2, 18, 10, 9), 40, (3, 3), padding=1),
    C("taps_groups", (2, 6, 12, 13), 60, (3, 3), stride=2, padding=1, groups=3),
    C("batch_17", (17, 16, 5, 5), 16, (3, 3), padding=1),
    C("stride_beyond_image", (2, 3, 7, 9), 6, (2, 2), stride=(40, 50), padding=1),
    C("only_padding", (1, 3, 3, 3), 4, (1, 1), stride=5, padding=1),
    C("long_row", (1, 2, 2, 1300), 26, (1, 3), padding=(0, 1)),
    C("long_row_stride2", (1, 33, 1, 1101), 5, (1, 2), stride=(1, 2), bias=False),
    C("long_row_dilated", (1, 33, 1, 1101), 30, (1, 2), padding=(0, 600), dilation=(1, 1100)),
    # dgrad by rows of the filter: a full last vector, three vectors, more rows than a tile, bands, gaps.
    C("row_of_64", (2, 16, 7, 9), 5, (3, 4), padding=(1, 2), bias=False),
    C("row_of_33_stride4", (1, 3, 31, 26), 7, (11, 11), stride=4, padding=2),
    C("row_of_17_tall", (1, 17, 19, 4), 3, (13, 1), padding=(6, 0)),
    C("row_of_12_bands", (1, 4, 90, 61), 3, (3, 3), padding=1),
    C("row_of_10_gaps", (2, 5, 17, 19), 4, (2, 2), stride=(3, 5), padding=(0, 1), dilation=(4, 1)),
    C("row_beyond_outputs", (1, 2, 5, 30), 3, (3, 3), stride=(1, 9), padding=(2, 0)),
    # wgrad by runs of taps: two pieces of a row, three rows, two, and one that is left over.
    C("taps_run_21", (2, 3, 15, 14), 16, (7, 7), stride=2, padding=3),
    C("taps_run_5", (2, 1, 12, 11), 13, (5, 5), padding=2),
    C("taps_run_6", (1, 2, 9, 9), 12, (3, 3), padding=1, dilation=(2, 1)),
    C("taps_run_groups", (1, 12, 9, 8), 45, (5, 5), padding=2, groups=3),
    # 1x1 wgrad with few outputs, in place, and in blocks that pass together.
    C("1x1_swapped", (2, 70, 9, 7), 20, (1, 1), bias=False),
    C("1x1_swapped_one_vector", (1, 40, 5, 5), 16, (1, 1)),
    C("1x1_blocks", (3, 200, 8, 9), 80, (1, 1), bias=False),
    C("1x1_in_place_stride3", (2, 37, 10, 8), 67, (1, 1), stride=3),
    C("1x1_small_images", (9, 66, 3, 3), 70, (1, 1), bias=False),
    C("1x1_blocks_together", (1, 520, 6, 6), 80, (1, 1)),
    C("1x1_swapped_few_inputs", (2, 5, 9, 7), 40, (1, 1)),
    # Depthwise tiles that are cut on both sides, and on the right alone.
    C("depthwise_one_tile", (2, 20, 7, 7), 20, (3, 3), padding=1, groups=20),
    C("depthwise_one_tile_stride2", (2, 20, 13, 13), 20, (3, 3), stride=2, padding=1, groups=20),
    C("depthwise_5x5_one_tile", (1, 20, 7, 7), 20, (5, 5), padding=2, groups=20),
    # Groups whose inputs span two pairs of vectors, four, and more.
    C("groups_span_54", (1, 54, 6, 7), 18, (3, 3), padding=1, groups=6),
    C("groups_span_120", (1, 120, 5, 6), 18, (2, 2), groups=6),
    C("groups_span_150", (1, 150, 5, 6), 18, (2, 2), groups=6, bias=False),
]


@dataclass(frozen=True)
class ConvTranspose2dCase:
    name: str
    x: tuple[int, int, int, int]  # N, C, H, W
    k: int
    kernel: tuple[int, int]
    stride: Any = 1
    padding: Any = 0
    output_padding: Any = 0
    groups: int = 1
    dilation: Any = 1

    @property
    def weight(self) -> tuple[int, int, int, int]:
        return (self.x[1], self.k // self.groups, *self.kernel)

    @property
    def geometry(self) -> tuple[Any, Any, Any, int, Any]:
        return (self.stride, self.padding, self.output_padding, self.groups, self.dilation)

    def __str__(self) -> str:
        return self.name


T = ConvTranspose2dCase
TRANSPOSED = [
    T("unit", (2, 5, 6, 7), 4, (3, 3)),
    T("stride2", (2, 16, 5, 5), 8, (4, 4), stride=2, padding=1),
    T("stride2_output_padding", (1, 17, 5, 6), 9, (3, 3), stride=2, padding=1, output_padding=1),
    T("kernel_below_stride", (1, 16, 4, 4), 6, (2, 2), stride=3, output_padding=(2, 1)),
    T("groups", (2, 8, 5, 5), 12, (3, 3), stride=2, groups=4),
    T("depthwise", (1, 20, 5, 5), 20, (3, 3), stride=2, padding=1, groups=20),
    T("dilation", (1, 6, 5, 5), 6, (3, 3), stride=2, padding=2, output_padding=1, dilation=2),
    T("1x1", (2, 24, 6, 6), 10, (1, 1)),
    T("stride_far_beyond_kernel", (1, 3, 2, 2), 5, (2, 1), stride=(21, 30), padding=(0, 4)),
    T("uneven", (1, 3, 4, 6), 5, (3, 5), stride=(2, 1), padding=(1, 2), output_padding=(1, 0)),
]
