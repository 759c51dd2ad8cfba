// wgrad of depthwise convolution on channels-last arrays: 3x3 in tiles of two output rows where there are
// registers for that; else, for one vector of channels, a block of filter rows is held in registers while the
// pixels of an output row pass. With aligned channels a product is one instruction that reads x from memory,
// so that loads and multiply-adds keep step.
#include "cpu/layout/transpose.h"
#include "cpu/parallel.h"
#include "cpu/simd/unrolled.h"
#include "ops/conv2d/cpu/depthwise_kernels.h"

namespace fastconv::FC_ISA_NS {
namespace {

struct RowPass {
    const float* x;   // the first filter row's input row at output column 0, tap 0
    const float* dy;  // the output row
    int64_t x_row;    // elements between the input rows of neighbouring filter rows
    int64_t x_step, dy_step, tap_step;
    int64_t q0, q1;                         // output columns all of whose taps lie inside
    int64_t q;                              // output columns
    int64_t s, stride, dilation, start, w;  // start: input column of output column 0, tap 0
    float* sums;                            // [row][tap][VL]
};

// Output columns of a tile.
constexpr int kColumns = VL == 16 ? 6 : 4;

// RG filter rows of S taps each, stride ST (0: any). Tiles of columns load each vector of x once for all taps
// that meet it: rows of an array need not start at a line, and a load across two takes twice as long.
template <int S, int RG, int ST>
void pass(const RowPass& t) {
    vf acc[RG][S];
    unrolled<RG, S>([&](auto r, auto s) FC_INLINE { acc[r][s] = load(t.sums + (r * S + s) * VL); });
    const auto edge = [&](int64_t q) FC_INLINE {
        const vf dy = load(t.dy + q * t.dy_step);
        const float* x = t.x + q * t.x_step;
        const int64_t column = t.start + q * t.stride;
        unrolled<S>([&](auto s) FC_INLINE {
            const int64_t w = column + s * t.dilation;
            if (w < 0 || w >= t.w) return;
            unrolled<RG>(
                [&](auto r) FC_INLINE { accumulate(acc[r][s], load(x + r * t.x_row + s * t.tap_step), dy); });
        });
    };
    int64_t q = 0;
    for (; q < t.q0; ++q) edge(q);
    if constexpr (ST > 0) {
        for (; q + kColumns <= t.q1; q += kColumns) {
            vf dy[kColumns];
            unrolled<kColumns>([&](auto v) FC_INLINE { dy[v] = load(t.dy + (q + v) * t.dy_step); });
            const float* x = t.x + q * t.x_step;
            unrolled<(kColumns - 1) * ST + S, RG>([&](auto j, auto r) FC_INLINE {
                const vf in = once(load(x + r * t.x_row + j * t.tap_step));
                unrolled<S>([&](auto s) FC_INLINE {
                    constexpr int from = decltype(j)::value - decltype(s)::value;
                    if constexpr (from >= 0 && from % ST == 0 && from / ST < kColumns)
                        accumulate(acc[r][s], in, dy[from / ST]);
                });
            });
        }
    }
    for (; q < t.q1; ++q) {
        const vf dy = load(t.dy + q * t.dy_step);
        const float* x = t.x + q * t.x_step;
        unrolled<RG, S>([&](auto r, auto s) FC_INLINE {
            acc[r][s] = fma(load(x + r * t.x_row + s * t.tap_step), dy, acc[r][s]);
        });
    }
    for (; q < t.q; ++q) edge(q);
    unrolled<RG, S>([&](auto r, auto s) FC_INLINE { store(t.sums + (r * S + s) * VL, acc[r][s]); });
}

// 3x3 of stride 1 or 2, for instruction sets of 32 registers: tiles of seven output columns in two rows, one
// vector of channels after the other, dy and the nine sums in registers. A row of one vector alone is lines
// that lie channels apart and share few sets of L1, so that each filter row read it anew from L2.
#if defined(FC_ISA_AVX512)
constexpr bool kTiles = true;
#else
constexpr bool kTiles = false;
#endif
constexpr int kTile = 7;

struct SumTile {
    const float* x;   // input of the first output row and column, first tap, channel 0
    const float* dy;  // of the first row and column
    int64_t c;        // channels, and elements between columns
    int64_t x_row, dy_row;
    int64_t first, last;  // input rows from `x` on that lie inside
    Lanes lanes{0};
    int64_t v0, v1;  // vectors of them
    float* sums;     // [vector][tap][VL]
    // From this tile's input and dy to the next one's; next_x 0: nothing is fetched.
    int64_t next_x, next_dy;
};

// Input columns [LO, HI) of a tile lie inside.
template <int ST, bool TWO, int LO, int HI, bool FETCH>
void sum_tile(const SumTile& t, Ahead<false>& ahead) {
    constexpr int in = (kTile - 1) * ST + 3, rows = TWO ? 3 + ST : 3;
    const int64_t step = least(kVectorsAhead, t.v1 - t.v0), back = (step - (t.v1 - t.v0)) * VL;
    for (int64_t v = t.v0; v < t.v1; ++v) {
        const int64_t channel = t.lanes.channel(v);
        const bool same = v + step < t.v1;
        const int64_t ahead_x = same ? step * VL : t.next_x + back;
        const int64_t ahead_dy = same ? step * VL : t.next_dy + back;
        float* const sums = t.sums + v * 9 * VL;
        ahead.step();
        vf acc[3][3], g[2][kTile];
        unrolled<3, 3>([&](auto r, auto s) FC_INLINE { acc[r][s] = load(sums + (r * 3 + s) * VL); });
        unrolled<TWO ? 2 : 1>([&](auto p) FC_INLINE {
            const float* from = t.dy + p * t.dy_row + channel;
            unrolled<kTile>([&](auto q) FC_INLINE {
                g[p][q] = once(load(from));
                if constexpr (FETCH) __builtin_prefetch(from + ahead_dy, 0, 3);
                from += t.c;
            });
        });
        unrolled<rows>([&](auto i) FC_INLINE {
            constexpr int r = decltype(i)::value, second = r - ST;
            if (r < t.first || r >= t.last) return;
            const float* from = t.x + r * t.x_row + channel + LO * t.c;
            unrolled<in>([&](auto j) FC_INLINE {
                if constexpr (j >= LO && j < HI) {
                    const vf x = once(load(from));
                    if constexpr (FETCH && j >= 3 - ST && r >= rows - (TWO ? 2 : 1) * ST)
                        __builtin_prefetch(from + ahead_x, 0, 3);
                    from += t.c;
                    __asm__("" : "+r"(from));  // one pointer, not as many distances as columns
                    unrolled<3>([&](auto s) FC_INLINE {
                        constexpr int from_left = decltype(j)::value - decltype(s)::value;
                        constexpr int q = from_left / ST;
                        if constexpr (from_left >= 0 && from_left % ST == 0 && q < kTile) {
                            if constexpr (r < 3) accumulate(acc[r][s], x, g[0][q]);
                            if constexpr (TWO && second >= 0) accumulate(acc[second][s], x, g[1][q]);
                        }
                    });
                }
            });
        });
        unrolled<3, 3>([&](auto r, auto s) FC_INLINE { store(sums + (r * 3 + s) * VL, acc[r][s]); });
    }
}

// Columns that no tile takes are left to the passes over rows.
int64_t tiled_columns(const DepthwiseNhwc& g) {
    const int64_t right = (g.q - 1) * g.stride_w + 3 - g.w - g.pad_w;
    const bool takes = kTiles && g.r == 3 && g.s == 3 && g.stride_h == g.stride_w && g.stride_w <= 2 &&
                       g.dilation_h == 1 && g.dilation_w == 1 && g.c >= VL && g.pad_w >= 0 && g.pad_w <= 1 &&
                       right <= 1;
    return takes ? g.q / kTile * kTile : 0;
}

template <int ST, bool TWO, bool FETCH>
void run_tile(const SumTile& t, bool left, bool right, Ahead<false>& ahead) {
    if constexpr (kTiles) {
        constexpr int in = (kTile - 1) * ST + 3;
        if (left && right) return sum_tile<ST, TWO, 1, in - 1, FETCH>(t, ahead);
        if (left) return sum_tile<ST, TWO, 1, in, FETCH>(t, ahead);
        if (right) return sum_tile<ST, TWO, 0, in - 1, FETCH>(t, ahead);
        sum_tile<ST, TWO, 0, in, FETCH>(t, ahead);
    }
}
template <int ST>
void run_tile(const SumTile& t, bool two, bool left, bool right, Ahead<false>& ahead) {
    if (t.next_x)
        two ? run_tile<ST, true, true>(t, left, right, ahead)
            : run_tile<ST, false, true>(t, left, right, ahead);
    else
        two ? run_tile<ST, true, false>(t, left, right, ahead)
            : run_tile<ST, false, false>(t, left, right, ahead);
}

// The first `columns` of `count` (1 or 2) output rows from row p of image n on.
void sum_rows(const DepthwiseNhwc& g, const float* x, const float* dy, int64_t n, int64_t p, int64_t count,
              int64_t columns, SumTile& t, Ahead<false>& ahead) {
    const int64_t h0 = p * g.stride_h - g.pad_h;
    t.c = g.c, t.x_row = g.w * g.c, t.dy_row = g.q * g.c;
    t.first = most(0, -h0), t.last = g.h - h0;
    const bool fetches = t.next_x != 0;
    const int64_t later = least(columns, kTile * ceil_div(kVectorsAhead, t.v1 - t.v0));
    for (int64_t q = 0; q < columns; q += kTile) {
        if (fetches) {
            const int64_t to = q + later, turn = to < columns ? 0 : columns;  // in the next rows then
            t.next_x = (to - turn - q) * g.stride_w * g.c + (turn ? count * g.stride_h * t.x_row : 0);
            t.next_dy = (to - turn - q) * g.c + (turn ? count * t.dy_row : 0);
        }
        const int64_t column = q * g.stride_w - g.pad_w;
        t.x = x + ((n * g.h + h0) * g.w + column) * g.c;
        t.dy = dy + ((n * g.p + p) * g.q + q) * g.c;
        const bool left = column<0, right = column + (kTile - 1) * g.stride_w + 3> g.w;
        if (g.stride_w == 1)
            run_tile<1>(t, count == 2, left, right, ahead);
        else
            run_tile<2>(t, count == 2, left, right, ahead);
    }
}

// One filter row of any length, tap by tap; masked where there are fewer channels than lanes.
void pass_any(const RowPass& t, Tail lanes) {
    for (int64_t s = 0; s < t.s; ++s) {
        // Output columns whose input column lies inside.
        const int64_t d = t.start + s * t.dilation;
        const int64_t q0 = d < 0 ? (-d + t.stride - 1) / t.stride : 0;
        const int64_t q1 = t.w - 1 - d < 0 ? 0 : least(t.q, (t.w - 1 - d) / t.stride + 1);
        vf acc = load(t.sums + s * VL);
        for (int64_t q = q0; q < q1; ++q)
            acc =
                fma(load(t.x + q * t.x_step + s * t.tap_step, lanes), load(t.dy + q * t.dy_step, lanes), acc);
        store(t.sums + s * VL, acc);
    }
}

// The most filter rows whose sums fit the registers.
constexpr int kMostRows3 = VL == 16 ? 5 : 3, kMostRows5 = VL == 16 ? 5 : 2;

using Pass = void (*)(const RowPass&);

template <int S, int ST>
Pass pick(int64_t rows) {
    static constexpr Pass passes[] = {&pass<S, 1, ST>, &pass<S, 2, ST>, &pass<S, 3, ST>, &pass<S, 4, ST>,
                                      &pass<S, 5, ST>};
    return passes[rows - 1];
}
Pass pick(const DepthwiseNhwc& g, int64_t rows) {
    const int64_t stride = g.dilation_w == 1 && g.stride_w <= 2 ? g.stride_w : 0;
    if (g.s == 3) return stride == 1 ? pick<3, 1>(rows) : stride ? pick<3, 2>(rows) : pick<3, 0>(rows);
    return stride == 1 ? pick<5, 1>(rows) : stride ? pick<5, 2>(rows) : pick<5, 0>(rows);
}

}  // namespace

void depthwise_wgrad_piece(const DepthwiseNhwc& g, const float* x, const float* dy, int64_t row0,
                           int64_t row1, const Lanes& lanes, int64_t v0, int64_t v1, float* sums,
                           Ahead<false>* given) {
    const int64_t filter = g.r * g.s * VL;
    const bool fixed = (g.s == 3 || g.s == 5) && g.c >= VL;
    const int64_t together = !fixed ? 1 : g.s == 3 ? kMostRows3 : kMostRows5;
    const int64_t columns = tiled_columns(g), rest = g.q - columns;
    // Output rows that stay in L2 while one vector of channels after the other passes over them.
    const int64_t fit = (64 << 10) / ((g.w * g.stride_h + g.q) * g.c) + 1;
    const bool far = g.n * (g.h * g.w + g.p * g.q) * g.c > kNear;
    const bool fetches = far && columns && !given;  // the tiles, what they read themselves
    // Columns all of whose taps are inside.
    const int64_t last = (g.s - 1) * g.dilation_w - g.pad_w;
    const int64_t q0 = least(g.q, ceil_div(g.pad_w, g.stride_w));
    const int64_t q1 = g.w - 1 < last ? q0 : most(q0, least(g.q, (g.w - 1 - last) / g.stride_w + 1));
    for (int64_t block = row0; block < row1; block += fit) {
        const int64_t end_row = least(row1, block + fit), next = least(row1, end_row + fit);
        const auto x_row = [&](int64_t row) {
            return x + least(row / g.p * g.h + row % g.p * g.stride_h, g.n * g.h) * g.w * g.c;
        };
        Ahead<false> own{x_row(end_row), x_row(next), dy + end_row * g.q * g.c, dy + next * g.q * g.c, 0};
        if (fetches) own.in = own.in_end, own.out = own.out_end;
        Ahead<false>& ahead = given ? *given : own;
        if (far || given)
            ahead.plan((v1 - v0) *
                       ((end_row - block + 1) / 2 * (columns / kTile) + (rest ? end_row - block : 0)));
        if (columns) {
            SumTile t{};
            t.lanes = lanes, t.v0 = v0, t.v1 = v1, t.sums = sums;
            t.next_x = fetches;
            for (int64_t row = block; row < end_row;) {
                const int64_t n = row / g.p, p = row % g.p, count = p + 1 < g.p && row + 1 < end_row ? 2 : 1;
                sum_rows(g, x, dy, n, p, count, columns, t, ahead);
                row += count;
            }
            if (!rest) continue;
        }
        for (int64_t v = v0; v < v1; ++v) {
            const int64_t c = lanes.channel(v);
            RowPass t{};
            t.x_row = g.dilation_h * g.w * g.c;
            t.x_step = g.stride_w * g.c, t.dy_step = g.c, t.tap_step = g.dilation_w * g.c;
            t.q0 = most(0, q0 - columns), t.q1 = most(0, q1 - columns), t.q = rest;
            t.s = g.s, t.stride = g.stride_w, t.dilation = g.dilation_w;
            t.start = columns * g.stride_w - g.pad_w, t.w = g.w;
            for (int64_t row = block; row < end_row; ++row) {
                ahead.step();
                const int64_t n = row / g.p, h0 = row % g.p * g.stride_h - g.pad_h;
                int64_t r0 = h0 < 0 ? ceil_div(-h0, g.dilation_h) : 0;
                const int64_t room = g.h - 1 - h0;
                const int64_t r1 = room < 0 ? 0 : least(g.r, room / g.dilation_h + 1);
                t.dy = dy + (row * g.q + columns) * g.c + c;
                for (; r0 < r1; r0 += together) {
                    const int64_t rows = least(together, r1 - r0);
                    t.x = x + ((n * g.h + h0 + r0 * g.dilation_h) * g.w + t.start) * g.c + c;
                    t.sums = sums + v * filter + r0 * g.s * VL;
                    if (fixed)
                        pick(g, rows)(t);
                    else
                        pass_any(t, tail(g.c));
                }
            }
        }
    }
}

int64_t depthwise_wgrad_partial(const DepthwiseNhwc& g) {
    return g.splits * (ceil_div(g.c, VL) + 1) * g.r * g.s * VL;
}

void depthwise_wgrad_run(const DepthwiseNhwc& g, const float* x, const float* dy, float* partial,
                         float* dweight) {
    const Lanes lanes = lanes_of(g.c, x);
    const int64_t vectors = lanes.count, filter = g.r * g.s * VL, size = vectors * filter;
    const int64_t parts = least(vectors, ceil_div(16, g.splits));
    parallel_for(g.splits * parts, 1, [&](int64_t begin, int64_t end, int) {
        for (int64_t item = begin; item < end; ++item) {
            const int64_t split = item / parts, part = item % parts;
            const int64_t v0 = part * vectors / parts, v1 = (part + 1) * vectors / parts;
            float* sums = partial + split * size;
            zero_floats(sums + v0 * filter, (v1 - v0) * filter);
            depthwise_wgrad_piece(g, x, dy, split * g.n * g.p / g.splits, (split + 1) * g.n * g.p / g.splits,
                                  lanes, v0, v1, sums);
        }
    });
    for (int64_t at = 0; at < size; at += VL) {
        vf sum = load(partial + at);
        for (int64_t split = 1; split < g.splits; ++split) sum = sum + load(partial + split * size + at);
        store(partial + at, sum);
    }
    for (int64_t v = 0; v < vectors; ++v) {
        const int64_t first = lanes.channel(v);
        transpose_f32(partial + v * filter, VL, dweight + first * g.r * g.s, g.r * g.s, g.r * g.s,
                      least(VL, g.c));
    }
}

}  // namespace fastconv::FC_ISA_NS
