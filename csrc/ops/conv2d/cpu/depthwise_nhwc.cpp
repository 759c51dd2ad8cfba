// Depthwise convolution of channels-last arrays, lanes along the channels. A tile is seven (dgrad of stride
// 2: eight) output columns of one or two rows; each input vector is loaded once a row and multiplied with
// every tap that meets it. Columns and rows outside the input are skipped.
#include "cpu/parallel.h"
#include "ops/conv2d/cpu/depthwise_kernels.h"

namespace fastconv::FC_ISA_NS {
namespace {

// Seven divides the rows of ImageNet's maps: 7, 14, 28, 56, 112.
constexpr int kTile = 7;
constexpr int kPairs = 4;  // pairs of columns of a dgrad tile of stride 2
constexpr int kMostRows = 32;
constexpr int kFewTaps = 4;
constexpr int kMostTaps = 7;  // of a filter's row with kernels of its own
// Two output rows share input rows where the registers suffice.
#if defined(FC_ISA_AVX512)
constexpr bool kTwoRows = true;
#else
constexpr bool kTwoRows = false;
#endif

// An input row and its filter rows for the first and the second output row; null where it meets none.
struct InputRow {
    const float* in;
    const float* weight[2];
};

struct Tile {
    const InputRow* rows;
    int64_t row_count;
    int64_t at;      // offset of the tile's first input column and channel from `in`
    int64_t c;       // elements between taps' weights
    int64_t column;  // and between columns
    int64_t lo, hi;  // columns of the tile that lie inside the input
    int64_t channel;
    const float* bias;
    float* out[2];
    int64_t first, last;  // columns of the tile that are stored
    int64_t s, stride, dilation;
};

// Which tile column tap `s` of input column `j` belongs to, or -1. A window of stride ST moves forward; TR:
// the adjoint of stride 2, where tile column v meets input column j = (v + 2 * ((S - 1) / 2) - s) / 2.
template <int S, int ST, bool TR, int OUT>
constexpr int column_of(int j, int s) {
    const int v = TR ? 2 * j + s - (S - 1) / 2 * 2 : (j - s) % ST ? -1 : (j - s) / ST;
    return (TR || j >= s) && v >= 0 && v < OUT ? v : -1;
}

template <int S, int ST, bool TR>
struct Shape {
    static constexpr int out = TR ? 2 * kPairs : kTile;
    static constexpr int in = TR ? kPairs + (S - 1) / 2 : (kTile - 1) * ST + S;
};

// One input row into one (A or B) or both rows of sums.
template <int S, int ST, bool TR, bool EDGE, bool A, bool B, int OUT>
inline __attribute__((always_inline)) void add_row(const Tile& t, const InputRow& row, vf (&acc)[2][OUT]) {
    vf w0[S], w1[S];
#pragma GCC unroll 8
    for (int s = 0; s < S; ++s) {
        if (A) w0[s] = load(row.weight[0] + t.channel + s * t.c);
        if (B) w1[s] = load(row.weight[1] + t.channel + s * t.c);
    }
    const float* in = row.in + t.at;
#pragma GCC unroll 32
    for (int j = 0; j < Shape<S, ST, TR>::in; ++j) {
        if (EDGE && (j < t.lo || j >= t.hi)) continue;
        const vf x = once(load(in + j * t.column));
#pragma GCC unroll 8
        for (int s = 0; s < S; ++s) {
            const int v = column_of<S, ST, TR, OUT>(j, s);
            if (v < 0) continue;
            if (A) acc[0][v] = fma(x, w0[s], acc[0][v]);
            if (B) acc[1][v] = fma(x, w1[s], acc[1][v]);
        }
    }
}

template <int S, int ST, bool TR, bool EDGE, bool TWO>
void tile(const Tile& t) {
    constexpr int out = Shape<S, ST, TR>::out;
    vf acc[2][out];
    const vf start = t.bias ? load(t.bias + t.channel) : zero();
#pragma GCC unroll 8
    for (int v = 0; v < out; ++v) {
        acc[0][v] = start;
        if (TWO) acc[1][v] = start;
    }
    for (int64_t e = 0; e < t.row_count; ++e) {
        const InputRow row = t.rows[e];
        if (!TWO || !row.weight[1])
            add_row<S, ST, TR, EDGE, true, false>(t, row, acc);
        else if (!row.weight[0])
            add_row<S, ST, TR, EDGE, false, TWO>(t, row, acc);
        else
            add_row<S, ST, TR, EDGE, true, TWO>(t, row, acc);
    }
#pragma GCC unroll 8
    for (int v = 0; v < out; ++v) {
        if (EDGE && (v < t.first || v >= t.last)) continue;
        store(t.out[0] + v * t.column + t.channel, acc[0][v]);
        if (TWO) store(t.out[1] + v * t.column + t.channel, acc[1][v]);
    }
}

// Any width and stride: an input vector is loaded for every tap.
template <bool EDGE>
void any_tile(const Tile& t) {
    vf acc[kTile];
    const vf start = t.bias ? load(t.bias + t.channel) : zero();
#pragma GCC unroll 8
    for (int v = 0; v < kTile; ++v) acc[v] = start;
    for (int64_t e = 0; e < t.row_count; ++e)
        for (int64_t s = 0; s < t.s; ++s) {
            const vf w = load(t.rows[e].weight[0] + t.channel + s * t.c);
            const float* in = t.rows[e].in + t.at + s * t.dilation * t.column;
#pragma GCC unroll 8
            for (int v = 0; v < kTile; ++v) {
                const int64_t j = v * t.stride + s * t.dilation;
                if (EDGE && (j < t.lo || j >= t.hi)) continue;
                acc[v] = fma(load(in + v * t.stride * t.column), w, acc[v]);
            }
        }
#pragma GCC unroll 8
    for (int v = 0; v < kTile; ++v)
        if (!EDGE || (v >= t.first && v < t.last)) store(t.out[0] + v * t.column + t.channel, acc[v]);
}

struct Kernel {
    void (*run[2][2])(const Tile&);  // [edge][two rows]
    int64_t out, in;                 // columns of a tile
    bool two;
    bool apart;  // takes a dilation as columns that lie as far apart
};

template <int S, int ST, bool TR>
constexpr Kernel make() {
    return {{{&tile<S, ST, TR, false, false>, &tile<S, ST, TR, false, kTwoRows>},
             {&tile<S, ST, TR, true, false>, &tile<S, ST, TR, true, kTwoRows>}},
            Shape<S, ST, TR>::out,
            Shape<S, ST, TR>::in,
            kTwoRows && !TR,
            true};
}

Kernel pick(const DepthwiseNhwc& g) {
    if (g.stride_w <= 2 && g.s <= kMostTaps) {
        static constexpr Kernel kernels[2][kMostTaps] = {
            {make<1, 1, false>(), make<2, 1, false>(), make<3, 1, false>(), make<4, 1, false>(),
             make<5, 1, false>(), make<6, 1, false>(), make<7, 1, false>()},
            {make<1, 2, false>(), make<2, 2, false>(), make<3, 2, false>(), make<4, 2, false>(),
             make<5, 2, false>(), make<6, 2, false>(), make<7, 2, false>()}};
        return kernels[g.stride_w - 1][g.s - 1];
    }
    return {{{&any_tile<false>, &any_tile<false>}, {&any_tile<true>, &any_tile<true>}},
            kTile,
            (kTile - 1) * g.stride_w + (g.s - 1) * g.dilation_w + 1,
            false,
            false};
}

// Rows of output whose input stays in L2 while one vector of channels after the other passes over them.
int64_t row_block(int64_t row_floats, int64_t rows) {
    const int64_t fit = (64 << 10) / row_floats;
    return fit < 2 ? 2 : least(rows, fit / 2 * 2);
}

// Every `apart`-th column of a row (or two) of output, which read every `apart`-th of the input: tiles from
// left to right; the last one is moved back to end with the row.
template <class Start>
void run_row(const Kernel& kernel, Tile& t, int rows, int64_t in_w, int64_t columns, int64_t apart,
             float* out0, float* out1, Ahead<true>& ahead, const Start& start) {
    t.column = apart * t.c;
    for (int64_t o = 0; o < columns; o += kernel.out) {
        const int64_t at = columns < kernel.out ? 0 : least(o, columns - kernel.out);
        const int64_t column = start(at);
        t.at = column * t.c + t.channel;
        t.lo = column < 0 ? ceil_div(-column, apart) : 0;
        t.hi = least(kernel.in, in_w <= column ? 0 : ceil_div(in_w - column, apart));
        t.first = 0;
        t.last = least(kernel.out, columns - at);
        t.out[0] = out0 + at * t.column;
        t.out[1] = rows == 2 ? out1 + at * t.column : nullptr;
        const bool edge = t.lo > 0 || t.hi < kernel.in || t.last < kernel.out;
        ahead.step();
        kernel.run[edge][rows - 1](t);
    }
}

int64_t fprop_block(const DepthwiseNhwc& g) { return row_block((g.w * g.stride_h + g.q) * g.c, g.p); }
int64_t dgrad_block(const DepthwiseNhwc& g) { return row_block(2 * g.w * g.c, g.h); }

}  // namespace

bool depthwise_fprop_tiled(const DepthwiseNhwc& g) {
    // Where few taps meet each input pixel once and others never, there is nothing to keep in registers, and
    // whole pixels are longer runs of memory than a vector of channels.
    const bool once_each = g.stride_w > g.s && g.r * g.s <= kFewTaps;
    return g.c >= VL && g.r + g.stride_h <= kMostRows && !once_each;
}

bool depthwise_dgrad_tiled(const DepthwiseNhwc& g) {
    return g.c >= VL && g.r <= kMostRows && g.stride_w == 2 && g.dilation_w == 1 && g.s <= kMostTaps;
}

int64_t depthwise_fprop_items(const DepthwiseNhwc& g) { return g.n * ceil_div(g.p, fprop_block(g)); }
int64_t depthwise_dgrad_items(const DepthwiseNhwc& g) { return g.n * ceil_div(g.h, dgrad_block(g)); }

// y = correlation of x with packed weights: also dgrad of stride 1, over dy with the taps turned round.
void depthwise_fprop_piece(const DepthwiseNhwc& g, const float* x, const float* packed, const float* bias,
                           float* y, int64_t begin, int64_t end, Ahead<true>* given) {
    const Kernel kernel = pick(g);
    const int64_t together = kernel.two && g.dilation_h == 1 ? 2 : 1;
    const int64_t block = fprop_block(g), blocks = ceil_div(g.p, block);
    // A stride beyond the filter leaves out most lines of a row.
    const bool far = g.n * (g.h * g.w + g.p * g.q) * g.c > kNear && g.stride_h <= g.r && g.stride_w <= g.s;
    InputRow rows[kMostRows];
    for (int64_t item = begin; item < end; ++item) {
        const int64_t n = item / blocks, p0 = item % blocks * block, p1 = least(g.p, p0 + block);
        // The next block's new input rows and its output, in the whole batch's row count.
        const int64_t row_in = n * g.h + (p1 - 1) * g.stride_h - g.pad_h + g.r, row_out = n * g.p + p1;
        Ahead<true> own{x + least(most(row_in, 0), g.n * g.h) * g.w * g.c,
                        x + least(most(row_in, 0) + block * g.stride_h, g.n * g.h) * g.w * g.c,
                        y + row_out * g.q * g.c, y + least(row_out + block, g.n * g.p) * g.q * g.c, 0};
        Ahead<true>& ahead = given ? *given : own;
        if (far || given)
            ahead.plan(ceil_div(g.c, VL) * ceil_div(p1 - p0, together) * ceil_div(g.q, kernel.out));
        for (int64_t c = 0; c < g.c; c += VL) {
            Tile t{};
            t.rows = rows;
            t.c = g.c;
            t.channel = least(c, g.c - VL);
            t.bias = bias;
            t.s = g.s, t.stride = g.stride_w, t.dilation = g.dilation_w;
            for (int64_t p = p0; p < p1;) {
                const int64_t count = least(together, p1 - p);
                const int64_t h0 = p * g.stride_h - g.pad_h, step = g.dilation_h;
                const int64_t reach = g.r + (count == 2 ? g.stride_h : 0);
                t.row_count = 0;
                for (int64_t i = 0; i < reach; ++i) {
                    const int64_t h = h0 + i * step, second = i - g.stride_h;
                    if (h < 0 || h >= g.h) continue;
                    const bool a = i < g.r, b = count == 2 && second >= 0 && second < g.r;
                    if (!a && !b) continue;
                    rows[t.row_count++] = {
                        x + (n * g.h + h) * g.w * g.c,
                        {a ? packed + i * g.s * g.c : nullptr, b ? packed + second * g.s * g.c : nullptr}};
                }
                float* out = y + (n * g.p + p) * g.q * g.c;
                // With a dilation, columns that lie so far apart are a convolution without one.
                const int64_t apart = kernel.apart ? g.dilation_w : 1;
                for (int64_t q = 0; q < least(apart, g.q); ++q)
                    run_row(kernel, t, static_cast<int>(count), g.w, ceil_div(g.q - q, apart), apart,
                            out + q * g.c, out + (g.q + q) * g.c, ahead,
                            [&](int64_t o) { return (q + o * apart) * g.stride_w - g.pad_w; });
                p += count;
            }
        }
    }
}

// dgrad of stride 2 along the row: column v = w + pad of dx meets column (v - s) / 2 of dy.
void depthwise_dgrad_piece(const DepthwiseNhwc& g, const float* packed, const float* dy, const float* bias,
                           float* dx, int64_t begin, int64_t end, Ahead<true>* given) {
    static constexpr Kernel kernels[kMostTaps] = {make<1, 2, true>(), make<2, 2, true>(), make<3, 2, true>(),
                                                  make<4, 2, true>(), make<5, 2, true>(), make<6, 2, true>(),
                                                  make<7, 2, true>()};
    const Kernel kernel = kernels[g.s - 1];
    const int64_t block = dgrad_block(g), blocks = ceil_div(g.h, block);
    const bool far = g.n * (g.h * g.w + g.p * g.q) * g.c > kNear;
    InputRow rows[kMostRows];
    for (int64_t item = begin; item < end; ++item) {
        const int64_t n = item / blocks, h0 = item % blocks * block, h1 = least(g.h, h0 + block);
        const int64_t row_in = n * g.p + (h1 + g.pad_h) / g.stride_h, row_out = n * g.h + h1;
        Ahead<true> own{dy + least(row_in, g.n * g.p) * g.q * g.c,
                        dy + least(row_in + block / g.stride_h, g.n * g.p) * g.q * g.c,
                        dx + row_out * g.w * g.c, dx + least(row_out + block, g.n * g.h) * g.w * g.c, 0};
        Ahead<true>& ahead = given ? *given : own;
        if (far || given) ahead.plan(ceil_div(g.c, VL) * (h1 - h0) * ceil_div(g.w, kernel.out));
        for (int64_t c = 0; c < g.c; c += VL) {
            Tile t{};
            t.rows = rows;
            t.c = t.column = g.c;
            t.channel = least(c, g.c - VL);
            t.bias = bias;
            for (int64_t h = h0; h < h1; ++h) {
                t.row_count = 0;
                for (int64_t r = 0; r < g.r; ++r) {
                    const int64_t v = h + g.pad_h - r * g.dilation_h;
                    if (v < 0 || v % g.stride_h || v / g.stride_h >= g.p) continue;
                    rows[t.row_count++] = {dy + (n * g.p + v / g.stride_h) * g.q * g.c,
                                           {packed + r * g.s * g.c, nullptr}};
                }
                // Tiles start at even v: columns before 0 are left out, or begin behind the padding.
                float* out = dx + (n * g.h + h) * g.w * g.c;
                const int64_t even = g.pad_w / 2 * 2;
                for (int64_t v = even; v < g.pad_w + g.w; v += kernel.out) {
                    const int64_t column = v / 2 - (g.s - 1) / 2;
                    t.at = column * g.c + t.channel;
                    t.lo = most(0, -column);
                    t.hi = least(kernel.in, g.q - column);
                    t.first = most(0, g.pad_w - v);
                    t.last = least(kernel.out, g.pad_w + g.w - v);
                    t.out[0] = out + (v - g.pad_w) * g.c;
                    const bool edge = t.lo > 0 || t.hi < kernel.in || t.first > 0 || t.last < kernel.out;
                    ahead.step();
                    kernel.run[edge][0](t);
                }
            }
        }
    }
}

void depthwise_fprop_run(const DepthwiseNhwc& g, const float* x, const float* packed, const float* bias,
                         float* y) {
    if (!depthwise_fprop_tiled(g)) return depthwise_pixels_fprop(g, x, packed, bias, y);
    parallel_for(
        depthwise_fprop_items(g), 65536 / (fprop_block(g) * g.w * g.c * g.r) + 1,
        [&](int64_t begin, int64_t end, int) { depthwise_fprop_piece(g, x, packed, bias, y, begin, end); });
}

void depthwise_dgrad_run(const DepthwiseNhwc& g, const float* packed, const float* dy, const float* bias,
                         float* dx) {
    if (!depthwise_dgrad_tiled(g)) return depthwise_pixels_dgrad(g, packed, dy, bias, dx);
    parallel_for(
        depthwise_dgrad_items(g), 65536 / (dgrad_block(g) * g.w * g.c * g.r) + 1,
        [&](int64_t begin, int64_t end, int) { depthwise_dgrad_piece(g, packed, dy, bias, dx, begin, end); });
}

}  // namespace fastconv::FC_ISA_NS
