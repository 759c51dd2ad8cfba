// Implicit GEMM for fprop and dgrad: tiles of pixels by output channels, the pixels read through pointers
// (one per tap and pixel, zeros where the tap falls outside) or from copied patches.
#include <cmath>
#include <optional>

#include "cpu/gemm/narrow.h"
#include "cpu/layout/transpose.h"
#include "cpu/parallel.h"
#include "ops/conv2d/cpu/epilogue.h"
#include "ops/conv2d/cpu/gather_cut.h"
#include "ops/conv2d/cpu/gather_pack.h"
#include "ops/conv2d/cpu/gradient_sums.h"
#include "ops/conv2d/cpu/statistics.h"
#include "ops/conv2d/gather.h"

namespace fastconv::FC_ISA_NS {
namespace {

// Floats of input and output that all groups of few channels pass over before the next: they stay in L1. A
// group at a time would write pieces of lines that lie whole pixels apart, a stream for nobody.
constexpr int64_t kGroupFloats = 4 << 10;

// What the tiles of an item read: the pixels' own places, and for tiles at the image's edge, where some taps
// fall into the padding, a pointer for every tap.
struct Pixels {
    const float** bases;
    const float** table;  // [tile][tap][mr]
    // Of each tile at the edge, the taps from the first to the last that any of its pixels finds inside: a
    // row of tiles at the top or bottom need not multiply zeros. [0, -1): not at the edge.
    struct Taps {
        int32_t first, last;
    } edge[kMostTiles];
    bool at_edge(int64_t tile) const { return edge[tile].last >= 0; }
};

// Calls body(e, run, n, i, j) for every run of output pixels that are neighbours in a row: pixels [m0 + e,
// m0 + e + run), the first of them (n, i, j).
template <class Body>
FC_INLINE inline void each_run(const GatherConv& g, int64_t m0, int64_t m1, const Body& body) {
    PixelWalk at(m0, g.rows, g.cols);
    for (int64_t m = m0; m < m1;) {
        const int64_t run = least(m1 - m, g.cols - at.j);
        body(m - m0, run, at.n, at.i, at.j);
        m += run;
        at.j = g.cols - 1;
        at.next();
    }
}

void point_at_pixels(const GatherConv& g, const Cut& cut, const Source& source, int64_t m0, int64_t m1,
                     Pixels& px, const float* zeros) {
    each_run(g, m0, m1, [&](int64_t e, int64_t run, int64_t n, int64_t i, int64_t j) FC_INLINE {
        const float* from = source.base + n * source.in_n + i * g.step_h * source.in_h;
        const int64_t step = g.step_w * source.in_w;
        for (int64_t k = 0; k < run; ++k) px.bases[e + k] = from + (j + k) * step;
    });
    if (source.in_t || source.in_e)
        for (int64_t m = m0; m < m1; ++m) {
            const int64_t tile = (m - m0) / cut.mr;
            px.bases[m - m0] += tile * source.in_t + (m - m0 - tile * cut.mr) * source.in_e;
        }
    const int64_t tiles = ceil_div(m1 - m0, cut.mr);
    for (int64_t tile = 0; tile < tiles; ++tile) px.edge[tile] = {0, -1};
    if (g.offsets || (g.tap_count == 1 && Cut::inside(g))) return;
    PixelWalk at(m0, g.rows, g.cols);
    // Pixels all of whose taps are inside (the first and last tap are the extremes).
    const Tap first = g.taps[0], last = g.taps[g.tap_count - 1];
    const int64_t low_h = -first.dh, high_h = g.h - last.dh, low_w = -first.dw, high_w = g.w - last.dw;
    for (int64_t m = m0; m < m1;) {
        const int64_t tile = (m - m0) / cut.mr, end = least(m1, m0 + (tile + 1) * cut.mr);
        const PixelWalk start = at;
        bool inside = true;
        for (int64_t e = m; e < end; ++e, at.next()) {
            const int64_t h0 = at.i * g.step_h, w0 = at.j * g.step_w;
            inside &= h0 >= low_h && h0 < high_h && w0 >= low_w && w0 < high_w;
        }
        if (!inside) {
            int64_t low = g.tap_count, high = 0;
            PixelWalk walk = start;
            for (int64_t e = m; e < end; ++e, walk.next()) {
                const float** slot = px.table + tile * cut.taps * cut.mr + (e - m);
                const int64_t h0 = walk.i * g.step_h, w0 = walk.j * g.step_w;
                for (int64_t t = 0; t < g.tap_count; ++t, slot += cut.mr) {
                    const int64_t h = h0 + g.taps[t].dh, w = w0 + g.taps[t].dw;
                    const bool there = h >= 0 && h < g.h && w >= 0 && w < g.w;
                    const int64_t distance = g.taps[t].dh * source.in_h + g.taps[t].dw * source.in_w;
                    *slot = there ? px.bases[e - m0] + distance : zeros;
                    if (there) low = least(low, t), high = most(high, t + 1);
                }
            }
            px.edge[tile] = {static_cast<int32_t>(least(low, high)), static_cast<int32_t>(high)};
        }
        m = end;
    }
}

// Writes a block of NHWC results to an output of another layout.
void scatter(const GatherConv& g, const float* block, int64_t ld, int64_t channel, int64_t columns,
             int64_t m0, int64_t m1) {
    const bool dense = g.out_w == 1 && g.out_h == g.cols;
    PixelWalk at(m0, g.rows, g.cols);
    for (int64_t m = m0; m < m1;) {
        // A run of pixels whose results are neighbours in the output: to the image's end, or to the row's.
        const int64_t left = dense ? (g.rows - at.i) * g.cols - at.j : g.cols - at.j;
        const int64_t run = least(m1 - m, left);
        float* to = g.out + at.n * g.out_n + channel * g.out_c + at.i * g.out_h + at.j * g.out_w;
        const float* from = block + (m - m0) * ld;
        if (g.out_w == 1)
            transpose_f32(from, ld, to, g.out_c, run, columns);
        else
            for (int64_t c = 0; c < columns; ++c)
                for (int64_t e = 0; e < run; ++e) to[c * g.out_c + e * g.out_w] = from[e * ld + c];
        if (!g.finish.nothing())
            for (int64_t c = 0; c < columns; ++c)
                for (int64_t e = 0; e < (g.out_w == 1 ? 1 : run); ++e)
                    finish(g.finish, to + c * g.out_c + e * g.out_w, g.out_w == 1 ? run : 1);
        m += run;
        at = PixelWalk(m < m1 ? m : m0, g.rows, g.cols);
    }
}

// One run of pixels for the kernels that go over rows, `narrow` apart: `count` of them, a_step floats apart.
struct RunOfPixels {
    const float* from;
    int64_t a_step, count;
    const float* weights;
    float* to;
    int64_t c_step, columns;
    const float* bias;
};

void run_pixels(const GatherConv& g, const Cut& cut, int nv, const RunOfPixels& r, bool far) {
    if (cut.few)
        return few_kernel(g.depth,
                          nv)({r.from, r.a_step, r.count, r.weights, r.to, r.c_step, r.columns, r.bias});
    if (r.count >= dot_rows_for(nv))
        return dot_rows_kernel(nv)(
            {r.from, r.a_step, r.count, g.depth, r.weights, r.to, r.c_step, r.bias, far});
    const float* a[kMaxMR];
    float* c[kMaxMR];
    for (int64_t i = 0; i < r.count; ++i) a[i] = r.from + i * r.a_step, c[i] = r.to + i * r.c_step;
    dot_kernel(static_cast<int>(r.count), nv)({a, 0, 1, g.depth, r.weights, 0},
                                              {c, r.columns, r.bias, nullptr, false});
}

// Whether all pixels of both arrays lie as one run.
bool one_run(const GatherConv& g, bool to_block) {
    return g.rows == g.h && g.cols == g.w && g.step_h == 1 && g.step_w == 1 && g.in_h == g.w * g.in_w &&
           g.in_n == g.h * g.in_h &&
           (to_block || (g.out_h == g.cols * g.out_w && g.out_n == g.rows * g.out_h));
}

bool from_beyond_l2(const GatherConv& g) { return g.n * g.h * g.w * g.groups * g.depth > kInputInL2; }

// Pixels [m0, m1) of all groups, straight to their places: a stretch of pixels at a time.
void run_groups(const GatherConv& g, const Cut& cut, int64_t m0, int64_t m1, int64_t block0, int64_t block1,
                const float* packed) {
    const Tap tap = g.taps[0];
    const bool whole = one_run(g, false), far = from_beyond_l2(g);
    const int64_t stretch = most(8, kGroupFloats / (g.groups * (g.depth + g.width)));
    PixelWalk at(m0, g.rows, g.cols);
    const auto in = [&] {
        return g.in + at.n * g.in_n + (at.i * g.step_h + tap.dh) * g.in_h +
               (at.j * g.step_w + tap.dw) * g.in_w;
    };
    const auto out = [&] { return g.out + at.n * g.out_n + at.i * g.out_h + at.j * g.out_w; };
    RunOfPixels r{in(), g.step_w * g.in_w, 0, nullptr, out(), g.out_w, 0, nullptr};
    const int64_t share_in = ceil_div(stretch * r.a_step, g.groups);
    const int64_t share_out = ceil_div(stretch * r.c_step, g.groups);
    for (int64_t m = m0; m < m1; m += r.count) {
        r.count = least(stretch, m1 - m);
        if (!whole) r.count = least(r.count, g.cols - at.j);
        const float* const from = r.from;
        float* const to = r.to;
        // Lines of the next stretch, fetched meanwhile.
        const int64_t more = whole ? least(stretch, m1 - m - r.count) : 0;
        const float *next_in = from + r.count * r.a_step, *next_out = to + r.count * r.c_step;
        const float *const end_in = next_in + more * r.a_step, *const end_out = next_out + more * r.c_step;
        for (int64_t group = 0; group < g.groups; ++group)
            for (int64_t block = block0; block < block1; ++block) {
                const int64_t channel = group * g.width + cut.first_column(block);
                r.from = from + group * g.depth;
                r.to = to + channel;
                r.weights = packed + cut.packed_block(group, block);
                r.columns = cut.columns(g, block);
                r.bias = g.bias ? g.bias + channel : nullptr;
                for (int64_t e = 0; e < share_in && next_in < end_in; e += 16, next_in += 16)
                    __builtin_prefetch(next_in, 0, 3);
                for (int64_t e = 0; e < share_out && next_out < end_out; e += 16, next_out += 16)
                    fetch_for_write(next_out);
                run_pixels(g, cut, cut.nv(block), r, far);
            }
        at.j += r.count;
        r.from = from + r.count * r.a_step, r.to = to + r.count * r.c_step;
        if (whole || at.j < g.cols || m + r.count >= m1) continue;
        --at.j, at.next();
        r.from = in(), r.to = out();
    }
}

// Pixels [m0, m1) of a problem of few channels or few outputs, no tap of which falls into the padding: row by
// row, or in one go where neither array has gaps. `block`: rows of ld floats for results that do not go
// straight to their place.
void run_rows(const GatherConv& g, const Cut& cut, int nv, int64_t m0, int64_t m1, int64_t group,
              int64_t channel, const float* weights, int64_t columns, float* block, int64_t ld) {
    const Tap tap = cut.narrow ? Tap{0, 0, 0} : g.taps[0];
    const bool whole = one_run(g, block != nullptr);
    const float* bias = g.bias ? g.bias + channel : nullptr;
    const int64_t a_step = g.step_w * g.in_w, c_step = block ? ld : g.out_w;
    const bool far = from_beyond_l2(g);
    const auto place = [&](const PixelWalk& at, int64_t m) FC_INLINE {
        return block ? block + (m - m0) * ld
                     : g.out + at.n * g.out_n + at.i * g.out_h + at.j * g.out_w + channel;
    };
    PixelWalk at(m0, g.rows, g.cols);
    for (int64_t m = m0; m < m1;) {
        const int64_t run = whole ? m1 - m : least(m1 - m, g.cols - at.j);
        const float* from = g.in + at.n * g.in_n + (at.i * g.step_h + tap.dh) * g.in_h +
                            (at.j * g.step_w + tap.dw) * g.in_w + group * g.depth;
        float* to = place(at, m);
        m += run;
        if (m < m1) at.j = g.cols - 1, at.next();
        if (cut.narrow) {
            NarrowRows rows{from,    a_step, run,    g.offsets, cut.packed_rows,
                            weights, to,     c_step, columns,   bias};
            if (m < m1 && !block) rows.next = place(at, m), rows.next_count = least(m1 - m, g.cols);
            narrow_rows(rows);
        } else {
            run_pixels(g, cut, nv, {from, a_step, run, weights, to, c_step, columns, bias}, far);
        }
    }
}

// finish of `columns` values from `first` on in each row; rows that follow one another are one piece, or rows
// of 16 and 24 channels would take as long to finish as a third of their products.
void finish_rows(const Finish& f, float* const* rows, int64_t count, int64_t first, int64_t columns) {
    for (int64_t m = 0, end = 0; m < count; m = end) {
        for (end = m + 1; end < count && rows[end] == rows[end - 1] + columns;) ++end;
        finish(f, rows[m] + first, (end - m) * columns);
    }
}

// Whether tiles can finish their own sums: residual, ReLU and ReLU6, with nothing to be known of y before. A
// residual from memory is added by the pass, which has it fetched further ahead.
bool ends_in_tiles(const GatherConv& g, const Cut& cut) {
    const Finish& f = g.finish;
    const bool far = f.residual && g.n * g.rows * g.cols * g.groups * g.width > 1 << 20;
    const bool clamps = f.activation == Activation::relu || f.activation == Activation::relu6;
    return g.out_c == 1 && !cut.rows && !cut.dot && !f.nothing() && !f.saved && (!f.activate || clamps) &&
           !g.moments.wanted && !far;
}

void run_item(const GatherConv& g, const Cut& cut, const Scratch& layout, int64_t item, int64_t part,
              const float* packed, char* scratch, const float* zeros) {
    Pixels px;
    px.bases = reinterpret_cast<const float**>(scratch + layout.bases);
    px.table = reinterpret_cast<const float**>(scratch + layout.table);
    int64_t* distances = reinterpret_cast<int64_t*>(scratch + layout.distances);
    float* band = reinterpret_cast<float*>(scratch + layout.band);
    float** rows = reinterpret_cast<float**>(scratch + layout.rows);
    float* output = reinterpret_cast<float*>(scratch + layout.output);
    const bool direct = g.out_c == 1;
    const int64_t m0 = item * cut.block_pixels, m1 = least(cut.pixels, m0 + cut.block_pixels);
    const int64_t block0 = part * cut.blocks / cut.parts, block1 = (part + 1) * cut.blocks / cut.parts;
    const int64_t ld = ceil_div(g.width, VL) * VL;
    const bool stream = (g.cold && cut.items <= kFewItems) || g.groups * cut.packed_group() > kWeightsInL2;

    const auto from_output = [&](const float* array) {  // floats
        return array ? (reinterpret_cast<intptr_t>(array) - reinterpret_cast<intptr_t>(g.finish.out)) /
                           static_cast<intptr_t>(sizeof(float))
                     : 0;
    };
    const int64_t saved = from_output(g.finish.saved),
                  reads = g.finish.residual ? from_output(g.finish.residual) : saved;
    const bool straight = direct && cut.rows && g.finish.nothing() && !g.moments.wanted && !g.sums.wanted;
    const bool ends = ends_in_tiles(g, cut);
    TileEnd end;
    if (ends) {
        const bool bounded = g.finish.activation == Activation::relu6;
        end = {g.finish.residual ? reads : 0, g.finish.activate, 0, bounded ? 6.0f : HUGE_VALF};
    }
    if (straight && g.groups > 1 && !cut.narrow) return run_groups(g, cut, m0, m1, block0, block1, packed);
    if (direct && !straight) {
        each_run(g, m0, m1, [&](int64_t e, int64_t run, int64_t n, int64_t i, int64_t j) FC_INLINE {
            float* to = g.out + n * g.out_n + i * g.out_h;
            for (int64_t k = 0; k < run; ++k) rows[e + k] = to + (j + k) * g.out_w;
        });
    }
    std::optional<SummedRows> summed;
    if (g.sums.wanted) summed.emplace(g.sums, rows, g.out, m1 - m0);
    for (int64_t group = 0; group < g.groups; ++group) {
        const Source source =
            g.line.wanted ? normalised(g, group, m0, m1, cut.mr, cut.one_block(), band) : in_place(g, group);
        if (!g.offsets)
            for (int64_t t = 0; t < g.tap_count; ++t)
                distances[t] = g.taps[t].dh * source.in_h + g.taps[t].dw * source.in_w;
        if (!cut.rows) point_at_pixels(g, cut, source, m0, m1, px, zeros);
        for (int64_t block = block0; block < block1; ++block) {
            const int64_t column = cut.first_column(block), channel = group * g.width + column;
            const int nv = cut.nv(block);
            if (cut.rows)
                run_rows(g, cut, nv, m0, m1, group, channel, packed + cut.packed_block(group, block),
                         cut.columns(g, block), direct ? nullptr : output + column, ld);
            // Taps of weights that stay in L2 while all tiles pass over them; the tiles' sums wait in the
            // output.
            const int64_t chunk = cut.chunk(g, nv), step = g.depth * nv * VL;
            for (int64_t t0 = 0; t0 < cut.taps && !cut.rows; t0 += chunk) {
                const int64_t t1 = least(cut.taps, t0 + chunk);
                const bool begin = t0 == 0, last_taps = t1 == cut.taps;
                for (int64_t m = m0; m < m1; m += cut.mr) {
                    const int64_t count = least(cut.mr, m1 - m);
                    float* to[kMaxMR];
                    for (int64_t i = 0; i < count; ++i)
                        to[i] = direct ? rows[m - m0 + i] + channel : output + (m - m0 + i) * ld + column;
                    const float* const* from = px.bases + (m - m0);
                    const int64_t tile = (m - m0) / cut.mr;
                    const float* weights = packed + cut.packed_block(group, block);
                    TileOut out{to, cut.columns(g, block), g.bias && begin ? g.bias + channel : nullptr,
                                nullptr, !begin};
                    if (last_taps) out.end = end;
                    const int tile_rows = static_cast<int>(count);
                    if (g.line.wanted && one_each(g) && block == block0)
                        normalise_tile(g, group, m, count, band + tile * source.in_t);
                    if (summed && last_taps)
                        summed->fetch(m - m0, m - m0 + count, channel, channel + cut.columns(g, block));
                    const bool turn = m + count == m1;
                    if (direct && begin && (!turn || block + 1 < block1)) {
                        const int64_t at = turn ? m0 : m + count;
                        out.next = {rows + (at - m0), least(cut.mr, m1 - at),
                                    group * g.width + cut.first_column(turn ? block + 1 : block), reads,
                                    reads == saved ? 0 : saved};
                    }
                    if (g.offsets) {
                        offset_kernel(tile_rows, nv)({from, g.offsets, cut.packed_rows, weights, nv * VL},
                                                     out);
                        continue;
                    }
                    RowTile rows_in{from, 0, t1 - t0, g.depth, weights + t0 * step, nv * VL, distances + t0};
                    rows_in.whole = true;
                    if (px.at_edge(tile)) {
                        const Pixels::Taps taps = px.edge[tile];
                        const int64_t first = most(t0, taps.first), last = least(t1, taps.last);
                        if (first >= last && !begin && !(ends && last_taps)) continue;
                        rows_in.a = px.table + (tile * cut.taps + first) * cut.mr;
                        rows_in.a_step = cut.mr;
                        rows_in.taps = most(0, last - first);
                        rows_in.b = weights + first * (cut.dot ? dot_depth(g.depth) * nv : step);
                        rows_in.offsets = nullptr;
                    }
                    if (cut.dot) {
                        dot_kernel(tile_rows, nv)(rows_in, out);
                        continue;
                    }
                    // The pixels of a 1x1 are read once: the processor does not see a stream in a tile's
                    // rows.
                    if (g.tap_count == 1 && block == block0) {
                        if (!g.line.wanted)
                            rows_in.ahead =
                                px.bases[m - m0 + count - 1] + g.step_w * g.in_w - px.bases[m - m0];
                        else
                            rows_in.ahead = beyond_band(g, group * g.depth, m + count, px.bases[m - m0]);
                    }
                    const int64_t floats = (t1 - t0) * step;
                    if (stream && floats <= kMostFetched &&
                        (t1 < cut.taps || block + 1 < cut.blocks || group + 1 < g.groups)) {
                        // The next taps' or block's weights follow these.
                        const int64_t whole = ceil_div(cut.block_pixels, cut.mr), halves = cut.halves ? 2 : 1;
                        const int64_t tiles = cut.halves ? 2 * whole : ceil_div(m1 - m0, cut.mr);
                        const int64_t share = ceil_div(floats, 16 * tiles);
                        rows_in.next_b = weights + t1 * step + (item % halves * whole + tile) * share * 16;
                        rows_in.next_lines = share;
                    }
                    row_kernel(tile_rows, nv)(rows_in, out);
                }
            }
            if (g.moments.wanted) {
                const int64_t channels = g.groups * g.width;
                const auto row = [&](int64_t e) {
                    return direct ? rows[e] + channel : output + e * ld + column;
                };
                column_moments(row, m1 - m0, cut.columns(g, block),
                               piece_moments(g.moments, item, channels) + channel, channels);
            }
        }
        const int64_t from = cut.first_column(block0);
        const int64_t columns = least(g.width, cut.first_column(block1)) - from;
        if (!direct) {
            scatter(g, output + from, ld, group * g.width + from, columns, m0, m1);
        } else if (!g.finish.nothing() && !ends) {
            finish_rows(g.finish, rows, m1 - m0, group * g.width + from, columns);
        }
        if (summed)
            piece_sums(*summed, item, group * g.width + from, group * g.width + from + columns,
                       g.groups * g.width);
    }
}

struct Piece {
    const GatherConv& g;
    Cut cut;
    Scratch layout;
    const float* packed;
    explicit Piece(const GatherClass& c) : g(*c.g), cut(g), layout(g, cut), packed(c.packed) {}
    int64_t items() const { return cut.items * cut.parts; }
    int64_t work() const {  // multiply-adds of an item
        return cut.block_pixels * cut.packed_rows * g.width * g.groups / cut.parts;
    }
    void run(int64_t item, char* scratch, const float* zeros) const {
        // Both halves of a block read the same weights.
        const int64_t pixels = cut.halves ? item % 2 : item / cut.parts;
        const int64_t part = cut.halves ? item / 2 : item % cut.parts;
        run_item(g, cut, layout, pixels, part, packed, scratch, zeros);
    }
};

constexpr int64_t kTogether = 16;

// All classes pass over a stretch of pixels before the next, where their weights fit L2 together: one after
// the other over the batch they would read it, and find the lines of dx that they share, in memory.
void run_together(const GatherClass* classes, int64_t count, char* scratch, const float* zeros, int team) {
    std::optional<Piece> pieces[kTogether];
    size_t own = 0;  // scratch bytes of a worker
    int64_t units = INT64_MAX, weights = 0, work = 0;
    for (int64_t e = 0; e < count; ++e) {
        const Piece& p = pieces[e].emplace(classes[e]);
        own = p.layout.total > own ? p.layout.total : own;
        units = least(units, p.items());
        weights += p.g.groups * p.cut.packed_group();
        work += p.work();
    }
    const auto over = [&](const std::optional<Piece>* begin, const std::optional<Piece>* end, int64_t shares,
                          int64_t each) {
        parallel_for(
            shares, 100000 / (each + 1) + 1,  // smaller ones are not worth a hand-over
            [&](int64_t share, int64_t last, int worker) {
                char* const mine = scratch + static_cast<size_t>(worker) * own;
                for (; share < last; ++share)
                    for (const std::optional<Piece>* p = begin; p < end; ++p)
                        for (int64_t item = (*p)->items() * share / shares,
                                     stop = (*p)->items() * (share + 1) / shares;
                             item < stop; ++item)
                            (*p)->run(item, mine, zeros);
            },
            team);
    };
    if (count > 1 && units >= 16 && weights <= kWeightsInL2) return over(pieces, pieces + count, units, work);
    for (int64_t e = 0; e < count; ++e) {
        const Piece& p = *pieces[e];
        over(pieces + e, pieces + e + 1, p.items(), p.work());
        if (!p.g.moments.wanted) continue;
        const auto values = [&](int64_t item) {
            return least(p.cut.block_pixels, p.cut.pixels - item * p.cut.block_pixels);
        };
        add_moments(p.g.moments, p.cut.items, p.g.groups * p.g.width, values, team);
    }
}

}  // namespace

// In vectors' multiply-adds a pixel: adding the lanes of a sum costs as much as four; single vectors of
// outputs, whose every step is a load too, are a little slower over several taps. Nine to twelve outputs take
// two passes over the pixels, which win only where those are one run: with one tap.
bool gather_dots(int64_t depth, int64_t width, int64_t taps) {
    const int64_t dots = (dot_depth(depth) / VL * taps + 4) * width;
    if (width <= kMostDots) return 10 * dots < (taps > 1 ? 11 : 10) * depth * taps;
    return taps == 1 && width <= kMostDotsTwice && 10 * dots < 13 * depth;
}

// From beyond L2 the rows come too late: the microkernel asks for the next pixels.
bool gather_narrow_point(const GatherConv& g) {
    const Cut cut(g);
    return g.tap_count == 1 && cut.vectors == 1 && !cut.dot && !cut.rows && Cut::inside(g) &&
           !from_beyond_l2(g);
}

GatherSizes gather_sizes(const GatherConv& g) {
    const Cut cut(g);
    const auto floats = [](int64_t count) { return static_cast<size_t>(count) * sizeof(float); };
    return {floats(g.groups * cut.packed_group()), Scratch(g, cut).total, Scratch::band_bytes(g, cut),
            floats(g.depth),
            floats((g.moments.wanted ? 3
                    : g.sums.wanted  ? 2
                                     : 0) *
                   cut.items * g.groups * g.width)};
}

void gather_pack(const GatherConv& g, float* packed, int team) {
    const Cut cut(g);
    parallel_for(
        g.groups * cut.blocks, 65536 / (cut.packed_rows * kMaxNR) + 1,
        [&](int64_t begin, int64_t end, int) {
            for (int64_t item = begin; item < end; ++item) {
                const int64_t group = item / cut.blocks, block = item % cut.blocks;
                if (cut.dot) {
                    pack_dots(g, group, cut.first_column(block), cut.columns(g, block),
                              packed + cut.packed_block(group, block));
                    continue;
                }
                pack_block(g, group, cut.first_column(block), cut.columns(g, block), cut.nv(block) * VL,
                           packed + cut.packed_block(group, block));
            }
        },
        team);
}

void gather_run(const GatherClass* classes, int64_t count, char* scratch, float* zeros, int team) {
    if (!count) return;
    zero_floats(zeros, classes[0].g->depth);
    for (int64_t first = 0; first < count; first += kTogether)
        run_together(classes + first, least(kTogether, count - first), scratch, zeros, team);
    const GatherConv& g = *classes[0].g;
    if (!g.sums.wanted) return;
    int64_t pieces = 0;
    for (int64_t e = 0; e < count; ++e) pieces += Cut(*classes[e].g).items;
    add_sums(g.sums, pieces, g.groups * g.width, team);
}

}  // namespace fastconv::FC_ISA_NS
