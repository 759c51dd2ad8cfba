// Winograd's weight gradient: dW = G'[sum over tiles of (A dY A') . (B'dB)]G. Block by block of tiles, both
// operands are transformed; then one GEMM a component, whose reduction runs over the tiles, adds to the sums
// S: [component][output channel][input channel].
#include "cpu/parallel.h"
#include "cpu/simd/nine.h"
#include "ops/conv2d/cpu/winograd_block.h"

namespace fastconv::FC_ISA_NS {
namespace {

// s[i][j] (+)= sum over t < rows of a(t)[k0 + i] * b(t)[c0 + j], for MR output channels and NV vectors of
// input channels; both operands as TileBlock lays them.
struct Operands {
    const float* a[kMR];     // tile 0 of each output channel
    const float* b;          // tile 0 of the first vector
    int64_t a_tile, b_tile;  // floats from row tile to row tile
    int64_t rows;
    bool fetch;  // b is not in L1 yet
};

template <int P, int MR, int NV>
void reduce_tile(const Operands& o, float* s, int64_t lds, bool add) {
    vf acc[MR][NV];
    unrolled<MR, NV>([&](auto i, auto j)
                         FC_INLINE { acc[i][j] = add ? load(s + i * lds + j * VL) : zero(); });
    const float* a[MR];
    unrolled<MR>([&](auto i) FC_INLINE { a[i] = o.a[i]; });
    const float* b = o.b;
    const auto step = [&](auto t) FC_INLINE {
        vf v[NV];
        unrolled<NV>([&](auto j) FC_INLINE { v[j] = load(b + j * kVChunk<P> + t * VL); });
        unrolled<MR>([&](auto i) FC_INLINE {
            const vf x = set1(a[i][t * VL]);
            unrolled<NV>([&](auto j) FC_INLINE { accumulate(acc[i][j], x, v[j]); });
        });
    };
    int64_t rows = o.rows;
    for (; rows >= kMR; rows -= kMR, b += o.b_tile) {
        // The next row tile is as far as the whole channels of this one: no stream that the processor would
        // see.
        if (o.fetch) {
            for (int j = 0; j < NV; ++j)
                for (int t = 0; t < kMR; ++t)
                    __builtin_prefetch(b + o.b_tile + j * kVChunk<P> + t * VL, 0, 3);
        }
        unrolled<kMR>(step);
        unrolled<MR>([&](auto i) FC_INLINE { a[i] += o.a_tile; });
    }
    for (; rows > 0; --rows, b += VL) {
        step(Index<0>{});
        unrolled<MR>([&](auto i) FC_INLINE { a[i] += VL; });
    }
    unrolled<MR, NV>([&](auto i, auto j) FC_INLINE { store(s + i * lds + j * VL, acc[i][j]); });
}

using ReduceTile = void (*)(const Operands&, float*, int64_t, bool);

template <int P, int NV>
inline ReduceTile reduce_of_rows(int64_t rows) {
    switch (rows) {
        case 1:
            return &reduce_tile<P, 1, NV>;
        case 2:
            return &reduce_tile<P, 2, NV>;
        case 3:
            return &reduce_tile<P, 3, NV>;
        case 4:
            return &reduce_tile<P, 4, NV>;
        case 5:
            return &reduce_tile<P, (kMR < 5 ? kMR : 5), NV>;
        default:
            return &reduce_tile<P, kMR, NV>;
    }
}
template <int P>
inline ReduceTile reduce_for(int64_t rows, int nv) {
    switch (nv) {
        case 1:
            return reduce_of_rows<P, 1>(rows);
#if defined(FC_ISA_AVX512)
        case 3:
            return reduce_of_rows<P, 3>(rows);
        case 4:
            return reduce_of_rows<P, 4>(rows);
#endif
        default:
            return reduce_of_rows<P, 2>(rows);
    }
}

// dW's taps of one vector of input channels from the sums, G'SG.
template <class F>
FC_INLINE inline void weight_tile(const float* s, int64_t step, vf (&w)[F::kTaps * F::kTaps]) {
    constexpr int P = F::kPoints, R = F::kTaps;
    vf half[R][P];
    unrolled<P>([&](auto j) FC_INLINE {
        vf m[P], y[R];
        unrolled<P>([&](auto i) FC_INLINE {
            const float* const from = s + (i * P + j) * step;
            m[i] = load(from);
            // Of the next vector but one: so many streams are more than the processor follows.
            __builtin_prefetch(from + 2 * VL, 0, 3);
        });
        weight_1d<F>(m, y);
        unrolled<R>([&](auto r) FC_INLINE { half[r][j] = y[r]; });
    });
    unrolled<R>([&](auto r) FC_INLINE {
        vf y[R];
        weight_1d<F>(half[r], y);
        unrolled<R>([&](auto t) FC_INLINE { w[r * R + t] = y[t]; });
    });
}

// The taps of `lanes` input channels from d on to the filter that they belong to, `dw`.
template <int R, class E>
void scatter_taps(const WinogradPhases& p, const vf (&w)[R * R], int64_t d, int64_t lanes, E* dw) {
    float taps[R * R * VL];
    unrolled<R * R>([&](auto t) FC_INLINE { store(taps + t * VL, w[t]); });
    for (int64_t lane = 0; lane < lanes; ++lane) {
        const PhaseChannel at = phase_channel(p, d + lane);
        E* const filter = dw + at.channel * p.rows * p.cols;
        for (int64_t i = 0, r = at.row; i < R && r < p.rows; ++i, r += p.down)
            for (int64_t j = 0, s = at.col; j < R && s < p.cols; ++j, s += p.across)
                filter[r * p.cols + s] = narrow<E>(taps[(i * R + j) * VL + lane]);
    }
}

// The same of one input channel and `lanes` filters, which are `step` floats apart.
template <int R, class E>
void scatter_filters(const WinogradPhases& p, const vf (&w)[R * R], int64_t d, int64_t lanes, E* dw,
                     int64_t step) {
    float taps[R * R * VL];
    unrolled<R * R>([&](auto t) FC_INLINE { store(taps + t * VL, w[t]); });
    const PhaseChannel at = phase_channel(p, d);
    dw += at.channel * p.rows * p.cols;
    for (int64_t i = 0, r = at.row; i < R && r < p.rows; ++i, r += p.down)
        for (int64_t j = 0, s = at.col; j < R && s < p.cols; ++j, s += p.across)
            for (int64_t lane = 0; lane < lanes; ++lane)
                dw[lane * step + r * p.cols + s] = narrow<E>(taps[(i * R + j) * VL + lane]);
}

// The sums of input channels [k0, k1), output channels along the lanes, to dW, the group's; `sums` is the row
// of k0.
template <class F, class E>
void finish_swapped(const WinogradWgrad& p, const float* sums, int64_t component, int64_t k0, int64_t k1,
                    E* dw) {
    constexpr int R = F::kTaps;
    const int64_t vectors = vectors_of(p.width), filter = p.phases.channels * p.phases.rows * p.phases.cols;
    for (int64_t d = k0; d < k1; ++d)
        for (int64_t at = 0; at < vectors; ++at) {
            vf w[R * R];
            weight_tile<F>(sums + ((d - k0) * vectors + at) * VL, component, w);
            scatter_filters<R>(p.phases, w, d, least(VL, p.width - at * VL), dw + at * VL * filter, filter);
        }
}

// The sums of output channels [k0, k1) to their rows of dW.
template <class F, class E>
void finish_rows(const WinogradWgrad& p, const float* sums, int64_t component, int64_t k0, int64_t k1,
                 E* dw) {
    constexpr int R = F::kTaps;
    const int64_t vectors = vectors_of(p.depth), filter = p.phases.channels * p.phases.rows * p.phases.cols;
    for (int64_t k = k0; k < k1; ++k)
        for (int64_t at = 0; at < vectors; ++at) {
            vf w[R * R];
            weight_tile<F>(sums + ((k - k0) * vectors + at) * VL, component, w);
            if (R != 3 || several(p.phases)) {
                scatter_taps<R>(p.phases, w, at * VL, least(VL, p.depth - at * VL), dw + k * filter);
                continue;
            }
            if constexpr (R == 3) {
                const int64_t count = least(VL, p.depth - at * VL) * 9;
                E* const to = dw + k * filter + at * VL * 9;
                if (count == 9 * VL) {
                    filters_of_taps(w, to);
                    continue;
                }
                float filters[9 * VL];
                filters_of_taps(w, filters);
                for (int64_t i = 0; i < count; i += VL) store(to + i, load(filters + i), tail(count - i));
            }
        }
}

// Whether one block takes all tiles and the sums are made and used up a few output channels at a time. x's
// operand is read again for each of them, so it must be small; the sums, which need not go through memory,
// large.
template <class F>
inline bool in_pieces(const WinogradWgrad& p, int64_t tiles) {
    return tiles <= 256 && 2 * v_floats<F>(tiles, p.depth) <= 3 * kL2Floats &&
           F::kComponents * p.depth * p.width > 2 * kL2Floats;
}

// Whether lanes run along the output channels because few input channels would leave them empty. (The taps of
// a 3x3 are turned into filters by lanes of input channels.)
template <class F>
inline bool swaps(const WinogradWgrad& p) {
    return (F::kTaps != 3 || several(p.phases)) &&
           p.depth * vectors_of(p.width) < p.width * vectors_of(p.depth);
}

// Whether sums that are of no tap are left out.
inline bool skips(const WinogradWgrad& p) { return several(p.phases) && p.phases.channels % VL == 0; }

// Products of channels up to which the next block's pixels are fetched into L2 during this one's products: of
// more channels both operands and sums fill it.
constexpr int64_t kFetched = 128 * 128;
// Output channels of such a piece.
constexpr int64_t kPieceRows = 2 * kMR;
// Tiles a part of a block's transforms.
constexpr int64_t kPart = 2 * kMR;

template <class F>
struct Run {
    static constexpr int P = F::kPoints;
    const WinogradWgrad& p;
    TileGrid<F> g;
    bool swapped, skipping;
    WidthBlocks c;  // blocks of the channels along the lanes: input channels, unless swapped
    int64_t blocks, x_vectors, y_vectors;
    int64_t channels, vectors;  // the others, and how many vectors those along the lanes are
    bool pieces;
    int64_t x_floats, y_floats, places, rows, component, patch;

    Run(const WinogradWgrad& conv, int64_t tiles, bool whole = true)
        : p(conv),
          g(conv.n, conv.output.h, conv.output.w),
          swapped(swaps<F>(conv)),
          skipping(skips(conv)),
          c(swapped ? conv.width : conv.depth,
            !swapped && skips(conv) ? conv.phases.down * conv.phases.across : 1),
          blocks(ceil_div(g.count, tiles)),
          x_vectors(vectors_of(conv.depth)),
          y_vectors(vectors_of(conv.width)),
          channels(swapped ? conv.depth : conv.width),
          vectors(swapped ? y_vectors : x_vectors) {
        x_floats = v_floats<F>(tiles, p.depth), y_floats = v_floats<F>(tiles, p.width);
        places = ceil_div(tiles, 16) * 16;
        pieces = whole && in_pieces<F>(p, g.count) && blocks == 1 && !swapped;
        rows = pieces ? least(kPieceRows, channels) : channels;
        component = rows * vectors * VL + 80;  // components must not be a power of two apart
        patch = patch_floats(g, p.input.step_c != 1);
        if (several(p.phases)) patch = most(patch, phase_patch_floats(g, kPart, p.depth));
    }
    int64_t sums() const { return F::kComponents * component; }
    int64_t shared() const { return x_floats + y_floats + places + (pieces ? 0 : sums()); }
    int64_t worker() const { return patch + (pieces ? sums() : 0); }

    // Both operands of a block, in so many items.
    static int64_t transforms(const TileBlock<F>& block) { return 2 * ceil_div(block.count, kPart); }
    template <class E>  // one copy of what three schedules call: tens of KB each
    [[gnu::noinline]] void transform(const TileBlock<F>& block, int64_t group, int64_t item, float* x,
                                     float* y, float* scratch) const {
        const int64_t from = item / 2 * kPart;
        const TileBlock<F> part = block.part(from, least(kPart, block.count - from));
        if (item % 2) {
            const TileReader<E> reader{static_cast<const E*>(p.dy) + group * p.width * p.output.step_c,
                                       p.output, p.width, scratch};
            transform_block<GradientTile<F, kVStep>>(reader, g, part, 0, 0, y);
        } else {
            using Pick = InputTile<F, kVStep>;
            const E* const in = static_cast<const E*>(p.x) + group * p.phases.channels * p.input.step_c;
            if (several(p.phases))
                transform_phases<Pick>(PhaseReader<E>{in, p.input, p.phases, p.top, p.left, x_vectors * VL},
                                       g, part, scratch, x);
            else
                transform_block<Pick>(TileReader<E>{in, p.input, p.depth, scratch}, g, part, p.top, p.left,
                                      x);
        }
    }

    // Whether the sums of a component are of no tap of a phase: of infinity, which is the last tap's alone.
    bool lacks(int64_t phase, int xi) const {
        if (!skipping) return false;
        const PhaseChannel at = phase_channel(p.phases, phase * p.phases.channels);
        constexpr int last = F::kTaps - 1;
        return (xi / P == 1 && phase_row(p.phases, at.row, last) >= p.phases.rows) ||
               (xi % P == 1 && phase_col(p.phases, at.col, last) >= p.phases.cols);
    }
    int64_t items() const { return F::kComponents * c.count; }
    int64_t first_tile(int64_t block) const { return g.count * block / blocks; }

    // Lines of both arrays that the transforms of a later block read from memory, fetched a few at a time
    // during the products of this one.
    template <class E, bool kApart = false>
    struct Next {
        LineWalk<F, E> x, y;
        int64_t x_lines, y_lines;  // each time
        // Those of tiles [first, last) of a group, in so many times.
        Next(const Run& r, int64_t group, int64_t first, int64_t last, int64_t times)
            : x(static_cast<const E*>(r.p.x) + group * r.p.phases.channels * r.p.input.step_c, r.p.input,
                several(r.p.phases) ? r.p.phases.channels : r.p.depth, r.g, first, last - first, 0, r.p.top,
                r.p.left, r.p.phases.down, r.p.phases.across, kApart),
              y(static_cast<const E*>(r.p.dy) + group * r.p.width * r.p.output.step_c, r.p.output, r.p.width,
                r.g, first, last - first, 0, 0, 0, 1, 1, kApart),
              x_lines(ceil_div(x.lines(), times)),
              y_lines(ceil_div(y.lines(), times)) {}
        void fetch() {
            x.template fetch<false, kApart>(x_lines);
            y.template fetch<false, kApart>(y_lines);
        }
    };

    // Sums of one component, channels [k0, k1), one block of those along the lanes. `s` is the row of k0.
    template <class E = float, bool kApart = false>
    [[gnu::noinline]] void reduce(const TileBlock<F>& block, int xi, int64_t b, int64_t k0, int64_t k1,
                                  const float* x, const float* y, float* s, bool add,
                                  Next<E, kApart>* next = nullptr) const {
        Operands o{};
        const float* const rows_of = swapped ? x : y;
        o.b = (swapped ? y : x) + c.first(b) * kVChunk<P> + xi * kVStep;
        o.a_tile = (swapped ? x_vectors : y_vectors) * kVChunk<P>;
        o.b_tile = vectors * kVChunk<P>;
        o.rows = block.rows(xi);
        s += xi * component + c.first(b) * VL;
        if (!swapped && lacks(b / c.of_phase, xi)) return;
        for (int64_t k = k0, end; k < k1; k = end, s += kMR * vectors * VL) {
            end = least(k + kMR, k1);
            if (swapped && lacks(k / p.phases.channels, xi) && lacks((end - 1) / p.phases.channels, xi))
                continue;
            const int64_t count = end - k;
            o.fetch = k == k0;
            if (next) next->fetch();
            for (int64_t i = 0; i < count; ++i)
                o.a[i] = rows_of + (k + i) / VL * kVChunk<P> + xi * kVStep + (k + i) % VL;
            reduce_for<P>(count, c.nv(b))(o, s, vectors * VL, add);
        }
    }
};

// Parts of the tiles with sums of their own, so that workers meet once a call instead of twice a block: of
// few channels a block's products take 10 us, and what one processor writes the other reads.
constexpr int64_t kPartProduct = 64 * 64;  // of more channels the sums of several parts leave L2
constexpr int64_t kPartBlocks = 8;         // that pay for adding a part's sums to the others
template <class F>
int64_t parts_of_tiles(const WinogradWgrad& p, const Run<F>& r) {
    if (p.groups > 1 || r.pieces || p.depth * p.width > kPartProduct) return 1;
    const int64_t limit = p.depth * p.width > 32 * 32 ? 4 : 8;
    int64_t parts = 1;  // a power of two: as many for each worker
    while (2 * parts <= limit && 2 * parts * kPartBlocks <= r.blocks) parts *= 2;
    return parts;
}

// Cuts the channels of the larger operand into pieces, each of which one worker does alone. What all read is
// written by one, read by the others and written anew for the next block: two processors without a common
// cache took as long for that as for the arithmetic. But the smaller operand is transformed for each piece.
constexpr int64_t kOnceMore = 3;  // that must be so many times smaller than all pieces
template <class F>
void cut_channels(const WinogradWgrad& p, const Run<F>& r, int team, WinogradWgradPlan& plan) {
    plan.down = plan.across = 1;
    if (team == 1 || p.groups > 1 || several(p.phases) || r.pieces || plan.parts > 1 ||
        p.depth * p.width > kFetched)
        return;
    const int64_t larger = most(r.x_vectors, r.y_vectors), smaller = least(r.x_vectors, r.y_vectors);
    const int64_t piece = ceil_div(larger, team);
    // As even as pieces of whole vectors can be.
    if (kOnceMore * (team - 1) * smaller > larger || 8 * piece * team > 9 * larger) return;
    (r.x_vectors > r.y_vectors ? plan.across : plan.down) = team;
}

// A piece of the channels as a problem of its own.
template <class E>
WinogradWgrad piece_of(const WinogradWgrad& p, const WinogradWgradPlan& plan, int64_t piece) {
    const int64_t down = piece / plan.across, across = piece % plan.across;
    const auto cut = [](int64_t channels, int64_t at, int64_t of) {
        return least(channels, vectors_of(channels) * at / of * VL);
    };
    const int64_t c = cut(p.depth, across, plan.across), k = cut(p.width, down, plan.down);
    WinogradWgrad some = p;
    some.depth = cut(p.depth, across + 1, plan.across) - c,
    some.width = cut(p.width, down + 1, plan.down) - k;
    some.x = static_cast<const E*>(p.x) + c * p.input.step_c;
    some.dy = static_cast<const E*>(p.dy) + k * p.output.step_c;
    some.dw = static_cast<E*>(p.dw) + (k * p.depth + c) * p.phases.rows * p.phases.cols;
    return some;
}

template <class F>
WinogradWgradPlan plan_for(const WinogradWgrad& p, int team) {
    const TileGrid<F> g(p.n, p.output.h, p.output.w);
    WinogradWgradPlan plan{};
    // A block's reduction must be long enough to pay for reading and writing the sums (24 vectors of either
    // for 24 of each of 12 cycles), which are the larger the more channels there are.
    const int64_t product = p.depth * p.width;
    plan.tiles = in_pieces<F>(p, g.count) ? g.count
                                          : least(g.count, product <= 128 * 128   ? 48
                                                           : product <= 256 * 256 ? 96
                                                                                  : 192);
    plan.tiles = most(1, plan.tiles);
    const auto bytes = [](int64_t floats) {
        return static_cast<size_t>(ceil_div(floats, 16) * 16) * sizeof(float);
    };
    const Run<F> r(p, plan.tiles);
    plan.parts = parts_of_tiles<F>(p, r);
    cut_channels<F>(p, r, team, plan);
    if (plan.parts > 1) {
        plan.shared = static_cast<size_t>(plan.parts * r.sums()) * sizeof(float);
        plan.scratch = bytes(r.shared() - r.sums() + r.worker());
        return plan;
    }
    if (plan.down * plan.across > 1) {
        // As large as the largest of them.
        WinogradWgrad some = p;
        some.depth = least(p.depth, ceil_div(r.x_vectors, plan.across) * VL);
        some.width = least(p.width, ceil_div(r.y_vectors, plan.down) * VL);
        const Run<F> piece(some, plan.tiles, false);
        plan.scratch = bytes(piece.shared() + piece.worker());
        return plan;
    }
    plan.shared = static_cast<size_t>(r.shared()) * sizeof(float);
    plan.scratch = bytes(r.worker());
    return plan;
}

// A block's memory.
template <class F>
struct Memory {
    float *x, *y;
    int32_t* places;
    float* sums;
    Memory(const Run<F>& r, char* from)
        : x(reinterpret_cast<float*>(from)),
          y(x + r.x_floats),
          places(reinterpret_cast<int32_t*>(y + r.y_floats)),
          sums(y + r.y_floats + r.places) {}
};

// Pieces of the channels, each by one worker.
template <class F, class E>
void run_pieces(const WinogradWgrad& p, const WinogradWgradPlan& plan, char* scratch, int team) {
    parallel_for(
        plan.down * plan.across, 1,
        [&](int64_t begin, int64_t end, int worker) {
            for (int64_t item = begin; item < end; ++item) {
                const WinogradWgrad piece = piece_of<E>(p, plan, item);
                const Run<F> r(piece, plan.tiles, false);
                const Memory<F> m(r, scratch + plan.scratch * static_cast<size_t>(worker));
                float* const patch = m.sums + r.sums();
                for (int64_t at = 0; at < r.blocks; ++at) {
                    const int64_t tile = r.first_tile(at), end_tile = r.first_tile(at + 1);
                    const TileBlock<F> block(r.g, tile, end_tile - tile, m.places);
                    for (int64_t i = 0; i < r.transforms(block); ++i)
                        r.template transform<E>(block, 0, i, m.x, m.y, patch);
                    typename Run<F>::template Next<E, true> next(r, 0, end_tile, r.first_tile(at + 2),
                                                                 r.items() * ceil_div(r.channels, kMR));
                    for (int64_t i = 0; i < r.items(); ++i)
                        r.template reduce<E, true>(block, static_cast<int>(i / r.c.count), i % r.c.count, 0,
                                                   r.channels, m.x, m.y, m.sums, at > 0,
                                                   at + 1 < r.blocks ? &next : nullptr);
                }
                (r.swapped ? finish_swapped<F, E> : finish_rows<F, E>)(piece, m.sums, r.component, 0,
                                                                       r.channels, static_cast<E*>(piece.dw));
            }
        },
        team);
}

// Parts of the tiles, each by one worker; then their sums are added in order.
template <class F, class E>
void run_parts(const WinogradWgrad& p, const WinogradWgradPlan& plan, char* shared, char* scratch, int team) {
    const Run<F> r(p, plan.tiles);
    float* const sums = reinterpret_cast<float*>(shared);
    parallel_for(
        plan.parts, 1,
        [&](int64_t begin, int64_t end, int worker) {
            const Memory<F> m(r, scratch + plan.scratch * static_cast<size_t>(worker));
            float* const patch = m.sums;  // the sums lie elsewhere
            for (int64_t part = begin; part < end; ++part) {
                float* const own = sums + part * r.sums();
                const int64_t first = r.blocks * part / plan.parts, last = r.blocks * (part + 1) / plan.parts;
                for (int64_t at = first; at < last; ++at) {
                    const int64_t tile = r.first_tile(at), end_tile = r.first_tile(at + 1);
                    const TileBlock<F> block(r.g, tile, end_tile - tile, m.places);
                    for (int64_t i = 0; i < r.transforms(block); ++i)
                        r.template transform<E>(block, 0, i, m.x, m.y, patch);
                    typename Run<F>::template Next<E, true> next(
                        r, 0, end_tile, at + 1 < last ? r.first_tile(at + 2) : end_tile,
                        r.items() * ceil_div(r.channels, kMR));
                    for (int64_t i = 0; i < r.items(); ++i)
                        r.template reduce<E, true>(block, static_cast<int>(i / r.c.count), i % r.c.count, 0,
                                                   r.channels, m.x, m.y, own, at > first,
                                                   at + 1 < last ? &next : nullptr);
                }
            }
        },
        team);
    const int64_t row = r.vectors * VL;
    parallel_for(
        r.channels, 8,
        [&](int64_t begin, int64_t end, int) {
            for (int xi = 0; xi < F::kComponents; ++xi) {
                float* const to = sums + xi * r.component;
                for (int64_t part = 1; part < plan.parts; ++part) {
                    const float* const from = to + part * r.sums();
                    for (int64_t i = begin * row; i < end * row; i += VL)
                        store(to + i, load(to + i) + load(from + i));
                }
            }
            (r.swapped ? finish_swapped<F, E> : finish_rows<F, E>)(p, sums + begin * row, r.component, begin,
                                                                   end, static_cast<E*>(p.dw));
        },
        team);
}

template <class F, class E>
void run(const WinogradWgrad& p, const WinogradWgradPlan& plan, char* shared, char* scratch, int team) {
    if (plan.parts > 1) return run_parts<F, E>(p, plan, shared, scratch, team);
    if (plan.down * plan.across > 1) return run_pieces<F, E>(p, plan, scratch, team);
    const Run<F> r(p, plan.tiles);
    const Memory<F> m(r, shared);
    const bool fetches = p.depth * p.width <= kFetched;
    for (int64_t group = 0; group < p.groups; ++group) {
        E* const dw =
            static_cast<E*>(p.dw) + group * p.width * p.phases.channels * p.phases.rows * p.phases.cols;
        for (int64_t at = 0; at < r.blocks; ++at) {
            const int64_t tile = r.first_tile(at);
            const TileBlock<F> block(r.g, tile, r.first_tile(at + 1) - tile, m.places);
            parallel_for(
                r.transforms(block), 1,
                [&](int64_t begin, int64_t end, int worker) {
                    float* const mine =
                        reinterpret_cast<float*>(scratch + plan.scratch * static_cast<size_t>(worker));
                    for (int64_t item = begin; item < end; ++item)
                        r.template transform<E>(block, group, item, m.x, m.y, mine);
                },
                team);
            if (r.pieces) {
                parallel_for(
                    ceil_div(p.width, kPieceRows), 1,
                    [&](int64_t begin, int64_t end, int worker) {
                        float* const own =
                            reinterpret_cast<float*>(scratch + plan.scratch * static_cast<size_t>(worker)) +
                            r.patch;
                        for (int64_t k = begin * kPieceRows; k < least(p.width, end * kPieceRows);
                             k += kPieceRows) {
                            const int64_t last = least(p.width, k + kPieceRows);
                            for (int xi = 0; xi < F::kComponents; ++xi)
                                for (int64_t b = 0; b < r.c.count; ++b)
                                    r.reduce(block, xi, b, k, last, m.x, m.y, own, false);
                            finish_rows<F>(p, own, r.component, k, last, dw);
                        }
                    },
                    team);
                continue;
            }
            parallel_for(
                r.items(), 1,
                [&](int64_t begin, int64_t end, int) {
                    // Their share of the next block's tiles.
                    const int64_t first = r.first_tile(at + 1), count = r.first_tile(at + 2) - first;
                    typename Run<F>::template Next<E> next(r, group, first + count * begin / r.items(),
                                                           first + count * end / r.items(),
                                                           (end - begin) * ceil_div(r.channels, kMR));
                    for (int64_t item = begin; item < end; ++item)
                        r.template reduce<E>(block, static_cast<int>(item / r.c.count), item % r.c.count, 0,
                                             r.channels, m.x, m.y, m.sums, at > 0,
                                             fetches && at + 1 < r.blocks ? &next : nullptr);
                },
                team);
        }
        if (!r.pieces)
            parallel_for(
                r.channels, 8,
                [&](int64_t begin, int64_t end, int) {
                    (r.swapped ? finish_swapped<F, E> : finish_rows<F, E>)(p, m.sums + begin * r.vectors * VL,
                                                                           r.component, begin, end, dw);
                },
                team);
    }
}

}  // namespace

WinogradWgradPlan winograd_wgrad_plan(const WinogradWgrad& p, int team) {
    return visit_form(p.form, [&](auto form) { return plan_for<decltype(form)>(p, team); });
}

void winograd_wgrad_run(const WinogradWgrad& p, const WinogradWgradPlan& plan, char* shared, char* scratch,
                        int team) {
    visit_form(p.form, p.dtype, [&](auto form, auto element) {
        run<decltype(form), decltype(element)>(p, plan, shared, scratch, team);
    });
}

}  // namespace fastconv::FC_ISA_NS
