// The kernels of scatter.h.
#include "ops/conv2d/scatter.h"

#include "cpu/layout/transpose.h"
#include "cpu/parallel.h"
#include "cpu/simd/unrolled.h"
#include "ops/conv2d/cpu/common.h"

namespace fastconv::FC_ISA_NS {
namespace {

// Sums of a tile, vectors of a filter's row, rows of a tile.
constexpr int kSums = VL == 16 ? 24 : VL == 8 ? 12 : 8;
constexpr int kMostVectors = 4, kMostRows = 8;

// Pixels of dy and where what they give is added: R rows of `row` floats each.
struct ScatterTile {
    const float* dy[2];
    int64_t depth;
    const float* weights;
    int64_t step;  // floats from channel to channel
    float* to[2];
    int64_t row;
    Tail last;  // of a row's vectors: behind it lie other pixels, and zero times infinity is no zero
};

template <int R, int V, int Q>
void tile(const ScatterTile& t) {
    vf acc[Q][R][V];
    unrolled<Q>([&](auto q)
                    FC_INLINE { unrolled<R, V>([&](auto r, auto v) FC_INLINE { acc[q][r][v] = zero(); }); });
    const float* w = t.weights;
    for (int64_t k = 0; k < t.depth; ++k, w += t.step) {
        vf x[Q];
        unrolled<Q>([&](auto q) FC_INLINE { x[q] = set1(t.dy[q][k]); });
        unrolled<R, V>([&](auto r, auto v) FC_INLINE {
            const vf b = load(w + (r * V + v) * VL);
            unrolled<Q>([&](auto q) FC_INLINE { accumulate(acc[q][r][v], x[q], b); });
        });
    }
    unrolled<Q>([&](auto q) FC_INLINE {
        unrolled<R>([&](auto r) FC_INLINE {
            float* const to = t.to[q] + r * t.row;
            unrolled<V>([&](auto v) FC_INLINE {
                if constexpr (v + 1 < V)
                    store(to + v * VL, load(to + v * VL) + acc[q][r][v]);
                else
                    store(to + v * VL, load(to + v * VL, t.last) + acc[q][r][v], t.last);
            });
        });
    });
}

using Tile = void (*)(const ScatterTile&);

// Pixels that a tile of so many sums takes at a time.
constexpr int pixels_of(int64_t sums) { return 2 * sums <= kSums ? 2 : 1; }
constexpr int rows_of(int vectors) { return kSums / vectors > kMostRows ? kMostRows : kSums / vectors; }

template <int R, int V>
Tile pick_rows(int64_t rows, bool two) {
    if constexpr (R > 1)
        if (rows < R) return pick_rows<R - 1, V>(rows, two);
    if constexpr (pixels_of(R * V) == 2)
        if (two) return &tile<R, V, 2>;
    return &tile<R, V, 1>;
}
Tile pick(int64_t rows, int64_t vectors, bool two) {
    switch (vectors) {
        case 1:
            return pick_rows<rows_of(1), 1>(rows, two);
        case 2:
            return pick_rows<rows_of(2), 2>(rows, two);
        case 3:
            return pick_rows<rows_of(3), 3>(rows, two);
        default:
            return pick_rows<rows_of(4), 4>(rows, two);
    }
}

struct Sizes {
    int64_t pitch, frame, panel;
    explicit Sizes(const ScatterConv& g) {
        pitch = ceil_div(g.cols() * g.c, 16) * 16 + kMostVectors * VL;
        frame = g.band * pitch;
        // dy's rows under a band with their channels side by side, and the band without its frame.
        const int64_t rows = least(g.p, (g.band + (g.r - 1) * g.dilation_h) / g.stride_h + 1);
        panel = g.nchw ? rows * g.q * g.k + ceil_div(g.band * g.w * g.c, 16) * 16 + 16 : 0;
    }
};

// Rows [h0, h1) of dx of image n.
void run_band(const ScatterConv& g, const Sizes& sizes, int64_t n, int64_t h0, int64_t h1, float* frame) {
    const int64_t vectors = scatter_vectors(g.run()), most_rows = rows_of(static_cast<int>(vectors));
    float* const rows = frame + sizes.frame;  // of dx, with nchw
    float* const panel = rows + ceil_div(g.band * g.w * g.c, 16) * 16;
    // The first and the last row of dy that reach the band.
    const int64_t reach = (g.r - 1) * g.dilation_h;
    const int64_t lowest = h0 + g.pad_h - reach;
    const int64_t p0 = lowest <= 0 ? 0 : ceil_div(lowest, g.stride_h);
    const int64_t p1 = least(g.p, (h1 - 1 + g.pad_h) / g.stride_h + 1);
    zero_floats(frame, (h1 - h0) * sizes.pitch);
    if (g.bias)
        for (int64_t i = 0; i < h1 - h0; ++i)
            for (int64_t j = 0; j < g.w; ++j)
                copy_floats(frame + i * sizes.pitch + (g.pad_w + j) * g.c, g.bias, g.c);
    const float* dy = g.dy + (n * g.p + p0) * g.q * g.k;
    if (g.nchw && p0 < p1) {
        transpose_f32(g.dy + (n * g.k * g.p + p0) * g.q, g.p * g.q, panel, g.k, g.k, (p1 - p0) * g.q);
        dy = panel;
    }
    for (int64_t p = p0; p < p1; ++p, dy += g.q * g.k) {
        // Filter rows that reach the band from here.
        const int64_t base = p * g.stride_h - g.pad_h - h0;
        const int64_t r0 = base >= 0 ? 0 : ceil_div(-base, g.dilation_h);
        const int64_t room = h1 - h0 - 1 - base;
        const int64_t r1 = room < 0 ? r0 : least(g.r, room / g.dilation_h + 1);
        for (int64_t r = r0; r < r1;) {
            const int64_t count = least(most_rows, r1 - r);
            ScatterTile t{};
            t.depth = g.k;
            t.weights = g.packed + r * vectors * VL;
            t.step = g.r * vectors * VL;
            t.row = g.dilation_h * sizes.pitch;
            t.last = tail(g.run() - (vectors - 1) * VL);
            float* const to = frame + (base + r * g.dilation_h) * sizes.pitch;
            const int64_t step = g.stride_w * g.c;
            const auto at = [&](int slot, int64_t q) {
                t.dy[slot] = dy + q * g.k;
                t.to[slot] = to + q * step;
            };
            // Two pixels far from one another: what one adds the next must not wait for.
            const bool two = pixels_of(count * vectors) == 2;
            const int64_t half = two ? g.q / 2 : 0;
            const Tile both = pick(count, vectors, true), one = pick(count, vectors, false);
            for (int64_t q = 0; q < half; ++q) {
                at(0, q), at(1, q + half);
                both(t);
            }
            for (int64_t q = 2 * half; q < g.q; ++q) {
                at(0, q);
                one(t);
            }
            r += count;
        }
    }
    for (int64_t i = 0; i < h1 - h0; ++i)
        copy_floats(g.nchw ? rows + i * g.w * g.c : g.dx + ((n * g.h + h0 + i) * g.w) * g.c,
                    frame + i * sizes.pitch + g.pad_w * g.c, g.w * g.c);
    if (g.nchw) transpose_f32(rows, g.c, g.dx + (n * g.c * g.h + h0) * g.w, g.h * g.w, (h1 - h0) * g.w, g.c);
}

}  // namespace

int64_t scatter_lanes() { return VL; }
int64_t scatter_vectors(int64_t run) {
    const int64_t vectors = ceil_div(run, VL);
    return vectors <= kMostVectors ? vectors : 0;
}

int64_t scatter_scratch(const ScatterConv& g) {
    const Sizes sizes(g);
    return sizes.frame + sizes.panel;
}

void scatter_run(const ScatterConv& g, float* scratch, int team) {
    const Sizes sizes(g);
    const int64_t bands = g.bands(), mine = ceil_div(scatter_scratch(g), 16) * 16;
    const int64_t work = g.p * g.q * g.k * g.r * g.run() / bands + 1;
    parallel_for(
        g.n * bands, 100000 / work + 1,
        [&](int64_t begin, int64_t end, int worker) {
            for (int64_t item = begin; item < end; ++item) {
                const int64_t h0 = item % bands * g.band;
                run_band(g, sizes, item / bands, h0, least(g.h, h0 + g.band), scratch + worker * mine);
            }
        },
        team);
}

}  // namespace fastconv::FC_ISA_NS
