// Depthwise convolution of channels-last arrays, lanes along the channels. A tile is seven (dgrad of stride
// 2: eight) output columns of one or two rows; each input vector is loaded once a row and multiplied with
// every tap that meets it. Columns and rows outside the input are skipped.
#include "cpu/parallel.h"
#include "cpu/simd/unrolled.h"
#include "ops/conv2d/cpu/depthwise_kernels.h"

namespace fastconv::FC_ISA_NS {
namespace {

// Seven divides the rows of ImageNet's maps: 7, 14, 28, 56, 112.
constexpr int kTile = 7;
constexpr int kPairs = 4;  // pairs of columns of a dgrad tile of stride 2
constexpr int kMostRows = 32;
constexpr int kFewTaps = 4;
constexpr int64_t kFewSets = 512;  // channels
constexpr int kMostTaps = 7;       // of a filter's row with kernels of its own
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
    int64_t at;      // offset of the tile's first input column from `in`
    int64_t c;       // channels, and elements between taps' weights
    int64_t start;   // of the first vector, see Lanes
    int64_t column;  // and between columns
    int64_t lo, hi;  // columns of the tile that lie inside the input
    const float* bias;
    float* out[2];
    int64_t first, last;  // columns of the tile that are stored
    int64_t s, stride, dilation;
    Ahead<true>* ahead;
    bool streaming;
    bool clamp;
    float low, high;
    // 3x3 filters: the input row of the first output row and tap, from one to the next, and which of them lie
    // inside; null for others.
    const float* top;
    int64_t in_row, first_row, last_row;
    const float* packed;
    int64_t next;  // 3x3: from this tile's input to the next one's; 0: nothing is fetched
};

// body(channel) for every vector of channels. One after the other they are runs of memory; a column of a
// vector alone is lines that share few sets of L1.
template <class Body>
inline void each_vector(const Tile& t, const Body& body) {
    for (int64_t c = t.start; c < t.c; c += VL) {
        t.ahead->step();
        body(most(0, least(c, t.c - VL)));
    }
}

// Results that no cache holds until they are read need not be fetched to be overwritten.
FC_INLINE inline void put(const Tile& t, float* to, vf v) {
    if (t.streaming)
        store_streaming(to, v);
    else
        store(to, v);
}
// The second operand of max and min wins where v is NaN.
FC_INLINE inline vf bounded(const Tile& t, vf v) { return min(set1(t.high), max(set1(t.low), v)); }
template <int ROWS, int OUT>
FC_INLINE inline void bound(const Tile& t, vf (&acc)[2][OUT]) {
    if (!t.clamp) return;
    unrolled<ROWS, OUT>([&](auto p, auto v) FC_INLINE { acc[p][v] = bounded(t, acc[p][v]); });
}
// Whether each vector stored is one whole line.
inline bool streams(const DepthwiseNhwc& g, const float* out, int64_t pixels) {
    return pixels * g.c >= g.stream_from && g.c % VL == 0 &&
           reinterpret_cast<uintptr_t>(out) % (VL * sizeof(float)) == 0;
}

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

// Which columns of a tile lie inside the input: all; all but those of a filter's overhang to the left, to the
// right or to both, as with padding of half a filter; or what the tile says.
enum Cut { kNone, kLeft, kRight, kBoth, kAny };

// One input row into one (A or B) or both rows of sums.
template <int S, int ST, bool TR, Cut CUT, bool A, bool B, int OUT>
FC_INLINE inline void add_row(const Tile& t, const InputRow& row, int64_t channel, vf (&acc)[2][OUT]) {
    constexpr int in = Shape<S, ST, TR>::in, over = (S - 1) / 2;
    constexpr int lo = CUT == kLeft || CUT == kBoth ? over : 0;
    constexpr int hi = CUT == kRight || CUT == kBoth ? in - over : in;
    vf w0[S], w1[S];
    unrolled<S>([&](auto s) FC_INLINE {
        if constexpr (A) w0[s] = load(row.weight[0] + channel + s * t.c);
        if constexpr (B) w1[s] = load(row.weight[1] + channel + s * t.c);
    });
    const float* from = row.in + t.at + channel;
    unrolled<in>([&](auto j) FC_INLINE {
        if constexpr (j >= lo && j < hi) {
            if (CUT == kAny && (j < t.lo || j >= t.hi)) return;
            const vf x = once(load(from + j * t.column));
            unrolled<S>([&](auto s) FC_INLINE {
                constexpr int v = column_of<S, ST, TR, OUT>(decltype(j)::value, decltype(s)::value);
                if constexpr (v >= 0 && A) accumulate(acc[0][v], x, w0[s]);
                if constexpr (v >= 0 && B) accumulate(acc[1][v], x, w1[s]);
            });
        }
    });
}

template <int S, int ST, bool TR, Cut CUT, bool TWO>
void tile(const Tile& t) {
    constexpr int out = Shape<S, ST, TR>::out;
    each_vector(t, [&](int64_t channel) FC_INLINE {
        vf acc[2][out];
        const vf start = t.bias ? load(t.bias + channel) : zero();
        unrolled<out>([&](auto v) FC_INLINE {
            acc[0][v] = start;
            if constexpr (TWO) acc[1][v] = start;
        });
        for (int64_t e = 0; e < t.row_count; ++e) {
            const InputRow& row = t.rows[e];
            if (!TWO || !row.weight[1])
                add_row<S, ST, TR, CUT, true, false>(t, row, channel, acc);
            else if (!row.weight[0])
                add_row<S, ST, TR, CUT, false, TWO>(t, row, channel, acc);
            else
                add_row<S, ST, TR, CUT, true, TWO>(t, row, channel, acc);
        }
        bound<TWO ? 2 : 1>(t, acc);
        unrolled<out>([&](auto v) FC_INLINE {
            if (CUT == kAny && (v < t.first || v >= t.last)) return;
            put(t, t.out[0] + v * t.column + channel, acc[0][v]);
            if constexpr (TWO) put(t, t.out[1] + v * t.column + channel, acc[1][v]);
        });
    });
}

// 3x3 of the same stride both ways: all nine weights stay in registers, and nothing is asked from row to row.
template <int ST, Cut CUT, bool TWO, bool FETCH>
void square_tile(const Tile& t) {
    const int64_t step = least(kVectorsAhead * VL, t.c), near = t.c - step, turn = t.next - near;
    constexpr int in = Shape<3, ST, false>::in, rows = TWO ? 3 + ST : 3;
    constexpr int lo = CUT == kLeft || CUT == kBoth ? 1 : 0, hi = CUT == kRight || CUT == kBoth ? in - 1 : in;
    each_vector(t, [&](int64_t channel) FC_INLINE {
        vf weight[3][3], acc[2][kTile];
        unrolled<3, 3>([&](auto r, auto s)
                           FC_INLINE { weight[r][s] = load(t.packed + (r * 3 + s) * t.c + channel); });
        const int64_t ahead = channel < near ? step : turn;
        const vf start = t.bias ? load(t.bias + channel) : zero();
        unrolled<TWO ? 2 : 1, kTile>([&](auto p, auto v) FC_INLINE { acc[p][v] = start; });
        unrolled<rows>([&](auto i) FC_INLINE {
            constexpr int r = decltype(i)::value, second = r - ST;
            if (r < t.first_row || r >= t.last_row) return;
            const float* from = t.top + r * t.in_row + t.at + channel + lo * t.column;
            unrolled<in>([&](auto j) FC_INLINE {
                if constexpr (j >= lo && j < hi) {
                    const vf x = once(load(from));
                    if constexpr (FETCH && j >= 3 - ST && r >= rows - (TWO ? 2 : 1) * ST)
                        __builtin_prefetch(from + ahead, 0, 3);
                    from += t.column;
                    __asm__("" : "+r"(from));  // one pointer, not as many distances as columns
                    unrolled<3>([&](auto s) FC_INLINE {
                        constexpr int v =
                            column_of<3, ST, false, kTile>(decltype(j)::value, decltype(s)::value);
                        if constexpr (v >= 0 && r < 3) accumulate(acc[0][v], x, weight[r][s]);
                        if constexpr (v >= 0 && TWO && second >= 0)
                            accumulate(acc[1][v], x, weight[second][s]);
                    });
                }
            });
        });
        bound<TWO ? 2 : 1>(t, acc);
        unrolled<TWO ? 2 : 1>([&](auto p) FC_INLINE {
            float* to = t.out[p] + channel;
            unrolled<kTile>([&](auto v) FC_INLINE {
                put(t, to, acc[p][v]);
                to += t.column;
                __asm__("" : "+r"(to));
            });
        });
    });
}

// Any width and stride: an input vector is loaded for every tap.
template <bool EDGE>
void any_tile(const Tile& t) {
    each_vector(t, [&](int64_t channel) FC_INLINE {
        vf acc[kTile];
        const vf start = t.bias ? load(t.bias + channel) : zero();
        unrolled<kTile>([&](auto v) FC_INLINE { acc[v] = start; });
        for (int64_t e = 0; e < t.row_count; ++e)
            for (int64_t s = 0; s < t.s; ++s) {
                const vf w = load(t.rows[e].weight[0] + channel + s * t.c);
                const float* in = t.rows[e].in + t.at + channel + s * t.dilation * t.column;
                unrolled<kTile>([&](auto v) FC_INLINE {
                    const int64_t j = v * t.stride + s * t.dilation;
                    if (EDGE && (j < t.lo || j >= t.hi)) return;
                    acc[v] = fma(load(in + v * t.stride * t.column), w, acc[v]);
                });
            }
        unrolled<kTile>([&](auto v) FC_INLINE {
            if (!EDGE || (v >= t.first && v < t.last))
                put(t, t.out[0] + v * t.column + channel, t.clamp ? bounded(t, acc[v]) : acc[v]);
        });
    });
}

struct Kernel {
    using Run = void (*)(const Tile&);
    Run run[2][5];        // [two rows][cut]; null: kAny does it
    Run square[2][2][4];  // the same, for 3x3, without and with fetches
    int64_t out, in;      // columns of a tile
    int64_t over;         // columns that a cut leaves out
    bool two;
    int64_t stride;
    bool apart;  // takes a dilation as columns that lie as far apart

    void operator()(const Tile& t, int rows) const {
        const int64_t right = in - t.hi;
        int cut = kAny;
        if (t.first == 0 && t.last == out && (t.lo == 0 || t.lo == over) && (right == 0 || right == over))
            cut = (t.lo > 0 ? kLeft : kNone) + (right > 0 ? kRight : kNone);
        if (t.top && cut != kAny) return square[t.next != 0][rows - 1][cut](t);
        const auto fixed = run[rows - 1][cut];
        (fixed ? fixed : run[rows - 1][kAny])(t);
    }
};

template <int ST, bool FETCH>
constexpr void squares(Kernel::Run (&table)[2][4]) {
    table[0][kNone] = &square_tile<ST, kNone, false, FETCH>;
    table[0][kLeft] = &square_tile<ST, kLeft, false, FETCH>;
    table[0][kRight] = &square_tile<ST, kRight, false, FETCH>;
    table[0][kBoth] = &square_tile<ST, kBoth, false, FETCH>;
    table[1][kNone] = &square_tile<ST, kNone, true, FETCH>;
    table[1][kLeft] = &square_tile<ST, kLeft, true, FETCH>;
    table[1][kRight] = &square_tile<ST, kRight, true, FETCH>;
    table[1][kBoth] = &square_tile<ST, kBoth, true, FETCH>;
}

template <int S, int ST, bool TR>
constexpr Kernel make() {
    constexpr bool two = kTwoRows && !TR;
    Kernel k{};
    k.out = Shape<S, ST, TR>::out, k.in = Shape<S, ST, TR>::in, k.over = (S - 1) / 2;
    k.two = two;
    k.stride = ST;
    k.apart = true;
    k.run[0][kNone] = &tile<S, ST, TR, kNone, false>;
    k.run[0][kAny] = &tile<S, ST, TR, kAny, false>;
    if constexpr (two) {
        k.run[1][kNone] = &tile<S, ST, TR, kNone, true>;
        k.run[1][kAny] = &tile<S, ST, TR, kAny, true>;
    }
    if constexpr (S == 3 && two) {
        squares<ST, false>(k.square[0]);
        squares<ST, true>(k.square[1]);
    }
    if constexpr (S == 3 || S == 5) {
        k.run[0][kLeft] = &tile<S, ST, TR, kLeft, false>;
        k.run[0][kRight] = &tile<S, ST, TR, kRight, false>;
        k.run[0][kBoth] = &tile<S, ST, TR, kBoth, false>;
        if constexpr (two) {
            k.run[1][kLeft] = &tile<S, ST, TR, kLeft, true>;
            k.run[1][kRight] = &tile<S, ST, TR, kRight, true>;
            k.run[1][kBoth] = &tile<S, ST, TR, kBoth, true>;
        }
    }
    return k;
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
    Kernel any{};
    any.run[0][kNone] = &any_tile<false>;
    any.run[0][kAny] = &any_tile<true>;
    any.out = kTile;
    any.in = (kTile - 1) * g.stride_w + (g.s - 1) * g.dilation_w + 1;
    return any;
}

// Rows of output whose input stays in L2 while the rows of a filter pass over it.
int64_t row_block(int64_t row_floats, int64_t rows) {
    const int64_t fit = (64 << 10) / row_floats;
    return fit < 2 ? 2 : least(rows, fit / 2 * 2);
}

// Every `apart`-th column of a row (or two) of output, which read every `apart`-th of the input: tiles from
// left to right; the last one is moved back to end with the row.
template <class Start>
void run_row(const Kernel& kernel, Tile& t, int rows, int64_t in_w, int64_t columns, int64_t apart,
             float* out0, float* out1, const Start& start) {
    t.column = apart * t.c;
    const int64_t span = ceil_div(columns, kernel.out) * kernel.out;
    const int64_t later = least(span, kernel.out * ceil_div(kVectorsAhead * VL, t.c));
    for (int64_t o = 0; o < columns; o += kernel.out) {
        const int64_t at = columns < kernel.out ? 0 : least(o, columns - kernel.out);
        const int64_t column = start(at);
        t.at = column * t.c;
        t.lo = column < 0 ? ceil_div(-column, apart) : 0;
        t.hi = least(kernel.in, in_w <= column ? 0 : ceil_div(in_w - column, apart));
        t.first = 0;
        t.last = least(kernel.out, columns - at);
        t.out[0] = out0 + at * t.column;
        t.out[1] = rows == 2 ? out1 + at * t.column : nullptr;
        if (t.top && t.next) {
            const int64_t to = o + later, turn = to < columns ? 0 : span;  // in the next rows then
            const int64_t there = most(0, least(to - turn, columns - kernel.out));
            t.next = (start(there) - column) * t.c + (turn ? rows * kernel.stride * t.in_row : 0);
        }
        kernel(t, rows);
    }
}

int64_t fprop_block(const DepthwiseNhwc& g) { return row_block((g.w * g.stride_h + g.q) * g.c, g.p); }
int64_t dgrad_block(const DepthwiseNhwc& g) { return row_block(2 * g.w * g.c, g.h); }

// How the rows of a problem are computed.
struct Manner {
    Kernel kernel;
    int64_t together;  // rows
    bool square, streaming, fetches;
    Lanes lanes;
    Manner(const DepthwiseNhwc& g, const float* x, bool streaming_)
        : kernel(pick(g)),
          together(kernel.two && g.dilation_h == 1 ? 2 : 1),
          square(kernel.square[0][0][kNone] && g.r == 3 && g.stride_h == g.stride_w && g.dilation_h == 1),
          streaming(streaming_),
          fetches(false),
          // Streaming stores want whole lines of the result.
          lanes(streaming ? Lanes(g.c) : lanes_of(g.c, x)) {}
};

// Output rows [p0, p1) of image n.
void fprop_rows(const DepthwiseNhwc& g, const Manner& how, const float* x, const float* packed,
                const float* bias, float* y, int64_t n, int64_t p0, int64_t p1, Ahead<true>& ahead) {
    InputRow rows[kMostRows];
    Tile t{};
    t.start = how.lanes.start;
    t.rows = rows;
    t.c = g.c;
    t.bias = bias;
    t.ahead = &ahead;
    t.streaming = how.streaming;
    t.clamp = g.clamp, t.low = g.low, t.high = g.high;
    t.s = g.s, t.stride = g.stride_w, t.dilation = g.dilation_w;
    for (int64_t p = p0; p < p1;) {
        const int64_t count = least(how.together, p1 - p);
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
        if (how.square) {
            t.top = x + (n * g.h + h0) * g.w * g.c;
            t.in_row = g.w * g.c, t.first_row = most(0, -h0), t.last_row = g.h - h0;
            t.packed = packed;
            t.next = how.fetches;
        }
        float* out = y + (n * g.p + p) * g.q * g.c;
        // With a dilation, columns that lie so far apart are a convolution without one.
        const int64_t apart = how.kernel.apart ? g.dilation_w : 1;
        for (int64_t q = 0; q < least(apart, g.q); ++q)
            run_row(how.kernel, t, static_cast<int>(count), g.w, ceil_div(g.q - q, apart), apart,
                    out + q * g.c, out + (g.q + q) * g.c,
                    [&](int64_t o) { return (q + o * apart) * g.stride_w - g.pad_w; });
        p += count;
    }
}

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
    const int64_t block = fprop_block(g), blocks = ceil_div(g.p, block);
    // A stride beyond the filter leaves out most lines of a row.
    const bool far = g.n * (g.h * g.w + g.p * g.q) * g.c > kNear && g.stride_h <= g.r && g.stride_w <= g.s;
    Manner how(g, x, streams(g, y, g.n * g.p * g.q));
    // These tiles fetch what they read themselves. Columns of many channels share few sets of L1, which lose
    // it before its turn.
    how.fetches = far && how.square && !given && g.c < kFewSets;
    for (int64_t item = begin; item < end; ++item) {
        const int64_t n = item / blocks, p0 = item % blocks * block, p1 = least(g.p, p0 + block);
        // The next block's new input rows and its output, in the whole batch's row count.
        const int64_t row_in = n * g.h + (p1 - 1) * g.stride_h - g.pad_h + g.r, row_out = n * g.p + p1;
        Ahead<true> own{x + least(most(row_in, 0), g.n * g.h) * g.w * g.c,
                        x + least(most(row_in, 0) + block * g.stride_h, g.n * g.h) * g.w * g.c,
                        y + row_out * g.q * g.c, y + least(row_out + block, g.n * g.p) * g.q * g.c, 0};
        if (how.streaming) own.out = own.out_end;
        if (how.fetches) own.in = own.in_end;
        Ahead<true>& ahead = given ? *given : own;
        if (far || given)
            ahead.plan(how.lanes.count * ceil_div(p1 - p0, how.together) * ceil_div(g.q, how.kernel.out));
        fprop_rows(g, how, x, packed, bias, y, n, p0, p1, ahead);
    }
}

void depthwise_fprop_rows(const DepthwiseNhwc& g, const float* x, const float* packed, const float* bias,
                          float* y, int64_t n, int64_t p0, int64_t p1) {
    Manner how(g, x, false);
    how.fetches = how.square && g.c < kFewSets;
    Ahead<true> nothing{};
    fprop_rows(g, how, x, packed, bias, y, n, p0, p1, nothing);
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
    const bool streaming = streams(g, dx, g.n * g.h * g.w);
    const Lanes lanes(g.c);
    InputRow rows[kMostRows];
    for (int64_t item = begin; item < end; ++item) {
        const int64_t n = item / blocks, h0 = item % blocks * block, h1 = least(g.h, h0 + block);
        const int64_t row_in = n * g.p + (h1 + g.pad_h) / g.stride_h, row_out = n * g.h + h1;
        Ahead<true> own{dy + least(row_in, g.n * g.p) * g.q * g.c,
                        dy + least(row_in + block / g.stride_h, g.n * g.p) * g.q * g.c,
                        dx + row_out * g.w * g.c, dx + least(row_out + block, g.n * g.h) * g.w * g.c, 0};
        if (streaming) own.out = own.out_end;
        Ahead<true>& ahead = given ? *given : own;
        if (far || given) ahead.plan(lanes.count * (h1 - h0) * ceil_div(g.w, kernel.out));
        Tile t{};
        t.start = lanes.start;
        t.rows = rows;
        t.c = t.column = g.c;
        t.bias = bias;
        t.ahead = &ahead;
        t.streaming = streaming;
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
                t.at = column * g.c;
                t.lo = most(0, -column);
                t.hi = least(kernel.in, g.q - column);
                t.first = most(0, g.pad_w - v);
                t.last = least(kernel.out, g.pad_w + g.w - v);
                t.out[0] = out + (v - g.pad_w) * g.c;
                kernel(t, 1);
            }
        }
    }
}

void depthwise_fprop_run(const DepthwiseNhwc& g, const float* x, const float* packed, const float* bias,
                         float* y) {
    if (!depthwise_fprop_tiled(g)) {
        depthwise_pixels_fprop(g, x, packed, bias, y);
        if (!g.clamp) return;
        return parallel_for(g.n * g.p * g.q, 32768 / g.c + 1, [&](int64_t begin, int64_t end, int) {
            const vf low = set1(g.low), high = set1(g.high);
            for (int64_t i = begin * g.c; i < end * g.c; i += VL) {
                const Tail t = tail(end * g.c - i);
                store(y + i, min(high, max(low, load(y + i, t))), t);
            }
        });
    }
    parallel_for(depthwise_fprop_items(g), 65536 / (fprop_block(g) * g.w * g.c * g.r) + 1,
                 [&](int64_t begin, int64_t end, int) {
                     depthwise_fprop_piece(g, x, packed, bias, y, begin, end);
                     streaming_fence();
                 });
}

void depthwise_dgrad_run(const DepthwiseNhwc& g, const float* packed, const float* dy, const float* bias,
                         float* dx) {
    if (!depthwise_dgrad_tiled(g)) return depthwise_pixels_dgrad(g, packed, dy, bias, dx);
    parallel_for(depthwise_dgrad_items(g), 65536 / (dgrad_block(g) * g.w * g.c * g.r) + 1,
                 [&](int64_t begin, int64_t end, int) {
                     depthwise_dgrad_piece(g, packed, dy, bias, dx, begin, end);
                     streaming_fence();
                 });
}

}  // namespace fastconv::FC_ISA_NS
