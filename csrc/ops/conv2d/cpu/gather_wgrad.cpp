// Implicit GEMM for wgrad: dW[o, (t, c)] = sum over pixels of dy[pixel, o] * x[pixel moved by t, c].
#include "cpu/gemm/microkernel.h"
#include "cpu/layout/transpose.h"
#include "cpu/parallel.h"
#include "ops/conv2d/cpu/common.h"
#include "ops/conv2d/gather.h"

namespace fastconv::FC_ISA_NS {
namespace {

// partial[split][group][slice][width][columns]: a slice is a run of taps, whose columns are (tap, channel).
struct Cut {
    int64_t slices, columns;
    int64_t vectors, blocks;  // of the columns
    int64_t parts;            // of the output channels
    int64_t block;            // size of one (split, group) partial

    explicit Cut(const GatherWgrad& g) {
        slices = g.run_count;
        columns = g.runs[0].count * g.depth;
        vectors = ceil_div(columns, VL);
        blocks = ceil_div(vectors, kMaxNV);
        parts = ceil_div(g.width, kWgradRows);
        block = slices * g.width * columns;
    }
    int64_t first_column(int64_t b) const { return b * vectors / blocks * VL; }
};

// Adds one reduction block to the tiles of output channels [o0, o1).
void accumulate_block(const Cut& cut, int64_t o0, int64_t o1, const float* dy, int64_t lda, const float* x,
                      int64_t ldb, const Segment* segments, int64_t count, float* partial, bool first) {
    for (int64_t b = 0; b < cut.blocks; ++b) {
        const int64_t c0 = cut.first_column(b), c1 = least(cut.columns, cut.first_column(b + 1));
        const int nv = static_cast<int>(ceil_div(c1 - c0, VL));
        const int64_t mr = rows_for(nv);
        for (int64_t o = o0; o < o1; o += mr) {
            const int64_t rows = least(mr, o1 - o);
            float* to[kMaxMR];
            for (int64_t i = 0; i < rows; ++i) to[i] = partial + (o + i) * cut.columns + c0;
            column_kernel(static_cast<int>(rows), nv)({dy + o, lda, x + c0, ldb, segments, count},
                                                      {to, c1 - c0, nullptr, nullptr, !first});
        }
    }
}

// The runs of pixels of output rows [row0, row1) that `tap` finds inside the input.
int64_t find_segments(const GatherWgrad& g, const TapRun& tap, int64_t row0, int64_t row1,
                      Segment* segments) {
    // First and last column whose input pixel j * step + dw lies in [0, w).
    const int64_t j0 = tap.dw < 0 ? ceil_div(-tap.dw, g.step_w) : 0;
    const int64_t room = g.w - 1 - tap.dw;
    const int64_t j1 = room < 0 ? 0 : least(g.cols, room / g.step_w + 1);
    if (j0 >= j1) return 0;
    const int64_t channels = g.groups * g.width;
    int64_t count = 0;
    for (int64_t row = row0; row < row1; ++row) {
        const int64_t n = row / g.rows, h = row % g.rows * g.step_h + tap.dh;
        if (h < 0 || h >= g.h) continue;
        const Segment s{(row * g.cols + j0) * channels,
                        n * g.in_n + h * g.in_h + (j0 * g.step_w + tap.dw) * g.in_w, j1 - j0};
        Segment* before = count ? &segments[count - 1] : nullptr;
        if (before && before->a + before->depth * channels == s.a &&
            before->b + before->depth * g.step_w * g.in_w == s.b)
            before->depth += s.depth;
        else
            segments[count++] = s;
    }
    return count;
}

void run_rows(const GatherWgrad& g, const Cut& cut, int64_t group, int64_t slice, int64_t o0, int64_t o1,
              int64_t row0, int64_t row1, float* partial) {
    constexpr int64_t kMostRows = 256;
    Segment segments[kMostRows];
    int64_t step = kReductionBlock / g.cols;
    step = step < 1 ? 1 : step;
    step = step > kMostRows ? kMostRows : step;
    const int64_t channels = g.groups * g.width;
    for (int64_t row = row0; row < row1; row += step) {
        const int64_t count = find_segments(g, g.runs[slice], row, least(row1, row + step), segments);
        if (count == 0 && row != row0) continue;
        accumulate_block(cut, o0, o1, g.dy + group * g.width, channels, g.x + group * g.depth,
                         g.step_w * g.in_w, segments, count, partial, row == row0);
    }
}

// Pixels [m0, m1) of channels [c0, c1) of an NCHW array of `channels` x `plane`, as rows of c1 - c0 values.
void rows_of_pixels(const float* from, int64_t channels, int64_t plane, int64_t c0, int64_t c1, int64_t m0,
                    int64_t m1, float* to) {
    while (m0 < m1) {
        const int64_t n = m0 / plane, at = m0 % plane, count = least(m1 - m0, plane - at);
        transpose_f32(from + (n * channels + c0) * plane + at, plane, to, c1 - c0, c1 - c0, count);
        to += count * (c1 - c0);
        m0 += count;
    }
}

void run_planar(const GatherWgrad& g, const Cut& cut, int64_t group, int64_t o0, int64_t o1, int64_t m0,
                int64_t m1, float* scratch, float* partial) {
    const int64_t plane = g.rows * g.cols;
    float *x = scratch, *dy = scratch + kReductionBlock * g.depth;
    for (int64_t m = m0; m < m1; m += kReductionBlock) {
        const int64_t end = least(m1, m + kReductionBlock);
        rows_of_pixels(g.x, g.groups * g.depth, plane, group * g.depth, (group + 1) * g.depth, m, end, x);
        rows_of_pixels(g.dy, g.groups * g.width, plane, group * g.width + o0, group * g.width + o1, m, end,
                       dy);
        const Segment all{0, 0, end - m};
        accumulate_block(cut, 0, o1 - o0, dy, o1 - o0, x, g.depth, &all, 1, partial + o0 * cut.columns,
                         m == m0);
    }
}

// dweight[group, o, c, index] = the sum of the splits' partials, in order.
void combine(const GatherWgrad& g, const Cut& cut, const float* partial, float* dweight, int team) {
    const int64_t stride = g.groups * cut.block;
    parallel_for(
        g.groups * g.width, 16384 / (g.depth * g.weight_taps) + 1,
        [&](int64_t begin, int64_t end, int) {
            for (int64_t item = begin; item < end; ++item) {
                const int64_t group = item / g.width, o = item % g.width;
                const float* from = partial + group * cut.block;
                float* to = dweight + item * g.depth * g.weight_taps;
                const int64_t run = g.runs[0].count;
                for (int64_t t = 0; t < g.tap_count; ++t)
                    for (int64_t c = 0; c < g.depth; ++c) {
                        const int64_t at = (t / run * g.width + o) * cut.columns + t % run * g.depth + c;
                        float sum = from[at];
                        for (int64_t s = 1; s < g.splits; ++s) sum += from[at + s * stride];
                        to[c * g.weight_taps + g.taps[t].index] = sum;
                    }
            }
        },
        team);
}

}  // namespace

WgradSizes wgrad_sizes(const GatherWgrad& g) {
    const Cut cut(g);
    const int64_t floats = g.planar ? kReductionBlock * (g.depth + kWgradRows) : 0;
    return {static_cast<size_t>(g.splits * g.groups * cut.block) * sizeof(float),
            (static_cast<size_t>(floats) * sizeof(float) + 63) / 64 * 64};
}

void wgrad_run(const GatherWgrad& g, float* partial, char* scratch, float* dweight, int team) {
    const Cut cut(g);
    const size_t mine = wgrad_sizes(g).scratch;
    const int64_t items = g.splits * g.groups * cut.slices * cut.parts;
    const int64_t units = g.planar ? g.n * g.rows * g.cols : g.n * g.rows;  // pixels, or rows of pixels
    const int64_t work = g.n * g.rows * g.cols * g.width * cut.columns / (g.splits * cut.parts) + 1;
    parallel_for(
        items, 100000 / work + 1,
        [&](int64_t begin, int64_t end, int worker) {
            for (int64_t item = begin; item < end; ++item) {
                const int64_t part = item % cut.parts, slice = item / cut.parts % cut.slices;
                const int64_t group = item / (cut.parts * cut.slices) % g.groups;
                const int64_t split = item / (cut.parts * cut.slices * g.groups);
                const int64_t o0 = part * g.width / cut.parts, o1 = (part + 1) * g.width / cut.parts;
                const int64_t u0 = split * units / g.splits, u1 = (split + 1) * units / g.splits;
                float* to = partial + (split * g.groups + group) * cut.block + slice * g.width * cut.columns;
                float* own = reinterpret_cast<float*>(scratch + static_cast<size_t>(worker) * mine);
                if (g.planar)
                    run_planar(g, cut, group, o0, o1, u0, u1, own, to);
                else
                    run_rows(g, cut, group, slice, o0, o1, u0, u1, to);
            }
        },
        team);
    combine(g, cut, partial, dweight, team);
}

}  // namespace fastconv::FC_ISA_NS
