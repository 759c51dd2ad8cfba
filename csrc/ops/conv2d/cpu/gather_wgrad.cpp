// Implicit GEMM for wgrad: dW[o, (t, c)] = sum over pixels of dy[pixel, o] * x[pixel moved by t, c].
#include "cpu/gemm/microkernel.h"
#include "cpu/layout/transpose.h"
#include "cpu/parallel.h"
#include "ops/conv2d/cpu/common.h"
#include "ops/conv2d/gather.h"

namespace fastconv::FC_ISA_NS {
namespace {

// partial[split][group][slice][width][columns]: a slice is one or more runs of taps, whose columns are (tap,
// channel); the last slice may have fewer.
struct Cut {
    int64_t run_columns;  // of one run of taps
    int64_t slices;
    int64_t panel_columns;  // of x's panel
    int64_t taps;           // of the group's filter
    int64_t parts;          // of the output channels
    bool swapped;           // lanes along the output channels: slices are [columns][width]
    int64_t dy_stride;      // between pixels of the panel of dy
    int64_t most_pixels;    // of a reduction block
    int64_t block;          // size of one (split, group) partial

    explicit Cut(const GatherWgrad& g) {
        run_columns = g.runs[0].count * g.depth;
        slices = ceil_div(g.run_count, g.slice_runs);
        parts = g.parts();
        const auto waste = [](int64_t width) { return ceil_div(width, VL) * VL * 100 / width; };
        swapped = !g.packed && !g.planar && waste(g.slice_runs * run_columns) > waste(g.width) * 6 / 5;
        // A cache line more than the widest part: no power of two, whose lines would share one set of L1.
        dy_stride = ceil_div(g.width, parts) / 16 * 16 + 32;
        panel_columns = g.slice_runs == 1 ? kMaxNR : most(kMaxNR, g.slice_runs * run_columns);
        most_pixels = g.planar ? kReductionBlock : most(kReductionBlock, least(g.cols, kReductionRow));
        block = g.width * g.run_count * run_columns;
    }
    int64_t slice_columns(const GatherWgrad& g, int64_t slice) const {
        return (least(g.run_count, (slice + 1) * g.slice_runs) - slice * g.slice_runs) * run_columns;
    }
    int64_t slice_start(const GatherWgrad& g, int64_t slice) const {
        return slice * g.slice_runs * run_columns * g.width;
    }
};

// One slice's result: `columns` wide, cut into blocks of about equally many vectors.
struct Slice {
    int64_t columns, vectors, blocks;
    float* partial;
    bool first;  // overwrite, or add to what is there
    int64_t first_column(int64_t b) const { return b * vectors / blocks * VL; }
};

// Adds one reduction block to the tiles of output channels [o0, o1): dy's column 0 is channel o0. `x_of(b)`
// gives the base and row stride of the block's columns.
template <class XOf, class Meanwhile>
void accumulate(const Slice& s, int64_t o0, int64_t o1, const float* dy, int64_t lda, const Segment* segments,
                int64_t count, const XOf& x_of, const Meanwhile& meanwhile) {
    for (int64_t b = 0; b < s.blocks; ++b) {
        const int64_t c0 = s.first_column(b), c1 = least(s.columns, s.first_column(b + 1));
        const int nv = static_cast<int>(ceil_div(c1 - c0, VL));
        const int64_t mr = rows_for(nv);
        int64_t ldb = 0;
        const float* x = x_of(c0, c1, ldb);
        for (int64_t o = o0; o < o1; o += mr) {
            const int64_t rows = least(mr, o1 - o);
            float* to[kMaxMR];
            for (int64_t i = 0; i < rows; ++i) to[i] = s.partial + (o + i) * s.columns + c0;
            meanwhile(s.blocks * ceil_div(o1 - o0, mr));
            column_kernel(static_cast<int>(rows), nv)({dy + (o - o0), lda, x, ldb, segments, count},
                                                      {to, c1 - c0, nullptr, nullptr, !s.first});
        }
    }
}

template <class XOf>
void accumulate(const Slice& s, int64_t o0, int64_t o1, const float* dy, int64_t lda, const Segment* segments,
                int64_t count, const XOf& x_of) {
    accumulate(s, o0, o1, dy, lda, segments, count, x_of, [](int64_t) {});
}

// The runs of pixels of output rows [row0, row1), columns [col0, col1), that `tap` finds inside the input.
int64_t find_segments(const GatherWgrad& g, const TapRun& tap, int64_t row0, int64_t row1, int64_t col0,
                      int64_t col1, Segment* segments) {
    // First and last column whose input pixel j * step + dw lies in [0, w).
    const int64_t j0 = most(col0, tap.dw < 0 ? ceil_div(-tap.dw, g.step_w) : 0);
    const int64_t room = g.w - 1 - tap.dw;
    const int64_t j1 = room < 0 ? 0 : least(col1, room / g.step_w + 1);
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

// Copies `columns` values of each pixel of the segments (at `from`, `ld` apart) into rows `ldo` apart.
void pack_rows(const float* from, int64_t ld, const Segment* segments, int64_t count, bool of_dy,
               int64_t columns, float* to, int64_t ldo) {
    for (int64_t s = 0; s < count; ++s) {
        const float* row = from + (of_dy ? segments[s].a : segments[s].b);
        for (int64_t k = 0; k < segments[s].depth; ++k, row += ld, to += ldo) copy_floats(to, row, columns);
    }
}

// Pixels [m0, m1) of channels [c0, c1) of an NCHW array of `channels` x `plane`, as rows of `ld` values.
void rows_of_pixels(const float* from, int64_t channels, int64_t plane, int64_t c0, int64_t c1, int64_t m0,
                    int64_t m1, float* to, int64_t ld) {
    while (m0 < m1) {
        const int64_t n = m0 / plane, at = m0 % plane, count = least(m1 - m0, plane - at);
        transpose_f32(from + (n * channels + c0) * plane + at, plane, to, ld, c1 - c0, count);
        to += count * ld;
        m0 += count;
    }
}

void run_rows(const GatherWgrad& g, const Cut& cut, int64_t group, int64_t slice, int64_t o0, int64_t o1,
              int64_t row0, int64_t row1, float* scratch, Slice s) {
    constexpr int64_t kMostRows = kReductionBlock;
    Segment segments[kMostRows];
    const int64_t step = least(kMostRows, most(1, kReductionBlock / g.cols));
    const int64_t channels = g.groups * g.width, ldb = g.step_w * g.in_w;
    const float *x = g.x + group * g.depth, *dy = g.dy + group * g.width + o0;
    float *x_panel = scratch, *dy_panel = scratch + cut.most_pixels * cut.panel_columns;
    // Blocks of whole rows, or pieces of one row that is too long.
    const int64_t pieces = ceil_div(g.cols, kReductionRow);
    for (int64_t at = 0; at < ceil_div(row1 - row0, step) * pieces; ++at) {
        // A slice of several runs is in a padded input, where all of them find the same pixels.
        const TapRun* run = g.runs + slice * g.slice_runs;
        const int64_t row = row0 + at / pieces * step, piece = at % pieces;
        const int64_t col0 = piece * g.cols / pieces, col1 = (piece + 1) * g.cols / pieces;
        int64_t count = find_segments(g, *run, row, least(row1, row + step), col0, col1, segments);
        if (count == 0 && at != 0) continue;
        s.first = at == 0;
        if (cut.swapped) {
            // The same product with the operands' roles exchanged: rows of the tile are the run's columns.
            for (int64_t i = 0; i < count; ++i) {
                const int64_t a = segments[i].a;
                segments[i].a = segments[i].b;
                segments[i].b = a;
            }
            const int64_t vectors = ceil_div(g.width, VL);
            accumulate(Slice{g.width, vectors, ceil_div(vectors, kMaxNV), s.partial, s.first}, 0, s.columns,
                       x, ldb, segments, count, [&](int64_t c0, int64_t, int64_t& ld) {
                           ld = channels;
                           return dy + c0;
                       });
            continue;
        }
        if (!g.packed) {
            accumulate(s, o0, o1, dy, channels, segments, count, [&](int64_t c0, int64_t, int64_t& ld) {
                ld = ldb;
                return x + c0;
            });
            continue;
        }
        int64_t pixels = 0;
        for (int64_t i = 0; i < count; ++i) {
            if (g.dy_planar)
                rows_of_pixels(g.dy, channels, g.rows * g.cols, group * g.width + o0, group * g.width + o1,
                               segments[i].a / channels, segments[i].a / channels + segments[i].depth,
                               dy_panel + pixels * cut.dy_stride, cut.dy_stride);
            pixels += segments[i].depth;
        }
        if (!g.dy_planar) pack_rows(dy, channels, segments, count, true, o1 - o0, dy_panel, cut.dy_stride);
        const Segment all{0, 0, pixels};
        if (g.slice_runs == 1) {
            accumulate(s, o0, o1, dy_panel, cut.dy_stride, &all, 1, [&](int64_t c0, int64_t c1, int64_t& ld) {
                ld = kMaxNR;
                pack_rows(x + c0, ldb, segments, count, false, c1 - c0, x_panel, ld);
                return x_panel;
            });
            continue;
        }
        for (int64_t r = 0; r * cut.run_columns < s.columns; ++r) {
            const int64_t shift = (run[r].dh - run->dh) * g.in_h + (run[r].dw - run->dw) * g.in_w;
            pack_rows(x + shift, ldb, segments, count, false, cut.run_columns, x_panel + r * cut.run_columns,
                      s.columns);
        }
        accumulate(s, o0, o1, dy_panel, cut.dy_stride, &all, 1, [&](int64_t c0, int64_t, int64_t& ld) {
            ld = s.columns;
            return x_panel + c0;
        });
    }
}

void run_planar(const GatherWgrad& g, const Cut& cut, int64_t group, int64_t o0, int64_t o1, int64_t m0,
                int64_t m1, float* scratch, Slice s) {
    const int64_t plane = g.rows * g.cols;
    float *x_panel = scratch, *dy_panel = scratch + cut.most_pixels * cut.panel_columns;
    for (int64_t m = m0; m < m1; m += kReductionBlock) {
        const int64_t end = least(m1, m + kReductionBlock);
        rows_of_pixels(g.dy, g.groups * g.width, plane, group * g.width + o0, group * g.width + o1, m, end,
                       dy_panel, cut.dy_stride);
        const Segment all{0, 0, end - m};
        s.first = m == m0;
        // The next block's pixels, as far as they lie in one image.
        const int64_t next = least(end, m1 - 1), at = next % plane,
                      ahead = least(kReductionBlock, plane - at);
        const int64_t dy_channels = g.groups * g.width, x_channels = g.groups * g.depth;
        RowPrefetch next_dy{g.dy + (next / plane * dy_channels + group * g.width + o0) * plane + at, plane,
                            o1 - o0, ahead};
        RowPrefetch next_x{g.x + (next / plane * x_channels + group * g.depth) * plane + at, plane, g.depth,
                           ahead};
        accumulate(
            s, o0, o1, dy_panel, cut.dy_stride, &all, 1,
            [&](int64_t c0, int64_t c1, int64_t& ld) {
                ld = kMaxNR;
                rows_of_pixels(g.x, x_channels, plane, group * g.depth + c0, group * g.depth + c1, m, end,
                               x_panel, ld);
                return x_panel;
            },
            [&](int64_t tiles) {
                next_dy.advance(ceil_div(next_dy.lines(), tiles));
                next_x.advance(ceil_div(next_x.lines(), tiles));
            });
    }
}

// dweight[group, o, c, index] = the sum of the splits' partials, in order.
void combine(const GatherWgrad& g, const Cut& cut, const float* partial, float* dweight, int team) {
    const int64_t stride = g.groups * cut.block;
    const int64_t slice_taps = g.slice_runs * g.runs[0].count;
    parallel_for(
        g.groups * g.width, 16384 / (g.depth * g.weight_taps) + 1,
        [&](int64_t begin, int64_t end, int) {
            for (int64_t item = begin; item < end; ++item) {
                const int64_t group = item / g.width, o = item % g.width;
                float* to = dweight + item * g.depth * g.weight_taps;
                for (int64_t t = 0; t < g.tap_count; ++t) {
                    const int64_t slice = t / slice_taps;
                    const float* base = partial + group * cut.block + cut.slice_start(g, slice);
                    const int64_t column = t % slice_taps * g.depth;
                    const float* from = cut.swapped ? base + column * g.width + o
                                                    : base + o * cut.slice_columns(g, slice) + column;
                    const int64_t next = cut.swapped ? g.width : 1;
                    for (int64_t c = 0; c < g.depth; ++c) {
                        float sum = from[c * next];
                        for (int64_t split = 1; split < g.splits; ++split)
                            sum += from[c * next + split * stride];
                        to[c * g.weight_taps + g.taps[t].index] = sum;
                    }
                }
            }
        },
        team);
}

}  // namespace

WgradSizes wgrad_sizes(const GatherWgrad& g) {
    const Cut cut(g);
    const int64_t floats = g.packed || g.planar ? cut.most_pixels * (cut.panel_columns + cut.dy_stride) : 0;
    return {static_cast<size_t>(g.splits * g.groups * cut.block) * sizeof(float),
            (static_cast<size_t>(floats) * sizeof(float) + 63) / 64 * 64};
}

void wgrad_run(const GatherWgrad& g, float* partial, char* scratch, float* dweight, int team) {
    const Cut cut(g);
    const size_t mine = wgrad_sizes(g).scratch;
    const int64_t items = g.splits * g.groups * cut.slices * cut.parts;
    const int64_t units = g.planar ? g.n * g.rows * g.cols : g.n * g.rows;  // pixels, or rows of pixels
    const int64_t work = g.n * g.rows * g.cols * cut.block / (g.splits * cut.parts * cut.slices) + 1;
    parallel_for(
        items, 100000 / work + 1,
        [&](int64_t begin, int64_t end, int worker) {
            for (int64_t item = begin; item < end; ++item) {
                const int64_t part = item % cut.parts, slice = item / cut.parts % cut.slices;
                const int64_t group = item / (cut.parts * cut.slices) % g.groups;
                const int64_t split = item / (cut.parts * cut.slices * g.groups);
                const int64_t o0 = part * g.width / cut.parts, o1 = (part + 1) * g.width / cut.parts;
                const int64_t u0 = split * units / g.splits, u1 = (split + 1) * units / g.splits;
                const int64_t columns = cut.slice_columns(g, slice), vectors = ceil_div(columns, VL);
                const Slice s{columns, vectors, ceil_div(vectors, kMaxNV),
                              partial + (split * g.groups + group) * cut.block + cut.slice_start(g, slice),
                              true};
                float* own = reinterpret_cast<float*>(scratch + static_cast<size_t>(worker) * mine);
                if (g.planar)
                    run_planar(g, cut, group, o0, o1, u0, u1, own, s);
                else
                    run_rows(g, cut, group, slice, o0, o1, u0, u1, own, s);
            }
        },
        team);
    combine(g, cut, partial, dweight, team);
}

}  // namespace fastconv::FC_ISA_NS
