// Blocks of Winograd tiles, and how the transformed data lie.
//
// V of a block is cut into row tiles of kMR image tiles: [row tile][vector of channels][component][kMR][VL],
// so that a transform writes within a few pages and the microkernel reads kMR neighbouring vectors. M is
// [output block][row tile][component][kMR][kNR].
#pragma once

#include "ops/conv2d/cpu/winograd_phases.h"

namespace fastconv::FC_ISA_NS {
namespace {

// The microkernel's tile, as in cpu/gemm/blocking.h; one height, since V is cut by it.
#if defined(FC_ISA_AVX512)
inline constexpr int kMR = 6, kNV = 4;
inline constexpr int64_t kL2Floats = (1 << 20) / 4;  // of V and M that should stay in L2
#elif defined(FC_ISA_AVX2)
inline constexpr int kMR = 6, kNV = 2;
inline constexpr int64_t kL2Floats = (384 << 10) / 4;
#else
inline constexpr int kMR = 4, kNV = 2;
inline constexpr int64_t kL2Floats = (384 << 10) / 4;
#endif
inline constexpr int kNR = kNV * VL;
inline constexpr int kVStep = kMR * VL;  // from component to component of V
// P points are P * P components. With 64 of them, steps would be multiples of 64 lines, so that all that is
// used at a time would share a few sets of L1: a line or a component more spreads it.
template <int P>  // from vector to vector of channels
inline constexpr int64_t kVChunk = (P * P + (P == 8 ? 1 : 0)) * kVStep;
template <int P>  // from component to component of M
inline constexpr int kMStep = kMR * kNR + (P == 8 ? 16 : 0);
template <int P>  // from row tile to row tile
inline constexpr int64_t kMChunk = P * P * kMStep<P>;

// Elements of a line of memory.
template <class E>
inline constexpr int64_t kLine = 64 / sizeof(E);

inline int64_t vectors_of(int64_t channels) { return ceil_div(channels, VL); }

// The output tiles of an image batch: those at the bottom and right edge perhaps smaller.
template <class F>
struct TileGrid {
    static constexpr int T = F::kTile;
    int64_t rows, cols;           // outputs
    int64_t down, across, count;  // tiles
    int64_t last_h, last_w;       // outputs of the last tile of an axis
    int split_h, split_w;         // points that the last tile has: all where it is whole
    TileGrid(int64_t n, int64_t rows_, int64_t cols_) : rows(rows_), cols(cols_) {
        down = ceil_div(rows, T), across = ceil_div(cols, T), count = n * down * across;
        last_h = rows - (down - 1) * T, last_w = cols - (across - 1) * T;
        split_h = static_cast<int>(last_h) + F::kTaps - 1, split_w = static_cast<int>(last_w) + F::kTaps - 1;
    }
    int64_t height(int64_t ty) const { return ty + 1 < down ? T : last_h; }
    int64_t width(int64_t tx) const { return tx + 1 < across ? T : last_w; }
};

// One tile of a walk in memory order.
template <class F>
struct TileWalk {
    TileGrid<F> grid;
    int64_t n, ty, tx;
    TileWalk(const TileGrid<F>& g, int64_t tile)
        : grid(g), n(tile / (g.down * g.across)), ty(tile / g.across % g.down), tx(tile % g.across) {}
    void next() {
        if (++tx < grid.across) return;
        tx = 0;
        if (++ty < grid.down) return;
        ty = 0;
        ++n;
    }
    // 0: whole, 1: narrow, 2: low, 3: both.
    int kind() const { return (grid.height(ty) < F::kTile ? 2 : 0) + (grid.width(tx) < F::kTile ? 1 : 0); }
};

// Which row of V and M a tile of a block has. Tiles are sorted by kind, so that the tiles that have a
// component are rows 0 .. rows(component) - 1: whole and narrow ones come first; for the columns of
// components that narrow tiles lack, the low ones move up behind the whole ones.
template <class F>
struct TileBlock {
    int64_t begin, count;
    int64_t of_kind[4] = {0, 0, 0, 0};
    int split_h, split_w;
    int32_t* place;  // of each tile
    TileBlock(const TileGrid<F>& g, int64_t begin_, int64_t count_, int32_t* place_)
        : begin(begin_), count(count_), split_h(g.split_h), split_w(g.split_w), place(place_) {
        TileWalk<F> walk(g, begin);
        for (int64_t t = 0; t < count; ++t, walk.next())
            place[t] = static_cast<int32_t>(of_kind[walk.kind()]++);
        const int64_t first[4] = {0, of_kind[0], of_kind[0] + of_kind[1], count - of_kind[3]};
        walk = TileWalk<F>(g, begin);
        for (int64_t t = 0; t < count; ++t, walk.next()) place[t] += static_cast<int32_t>(first[walk.kind()]);
    }
    // Tiles [from, from + some) of this block, in its rows.
    TileBlock part(int64_t from, int64_t some) const {
        TileBlock b = *this;
        b.begin += from, b.count = some, b.place += from;
        return b;
    }
    int64_t rows(int component) const {
        const bool tall = component / F::kPoints >= split_h, wide = component % F::kPoints >= split_w;
        if (tall) return of_kind[0] + (wide ? 0 : of_kind[1]);
        return wide ? of_kind[0] + of_kind[2] : count;
    }
    // The row in the columns of components from split_w on; meaningless for a narrow tile.
    int64_t late_row(int64_t t, int kind) const { return place[t] - (kind == 2 ? of_kind[1] : 0); }
};

template <class F>
inline int64_t v_floats(int64_t tiles, int64_t channels) {
    return ceil_div(tiles, kMR) * vectors_of(channels) * kVChunk<F::kPoints>;
}
template <class F>
inline float* v_row(float* v, int64_t vectors, int64_t row) {
    return v + row / kMR * vectors * kVChunk<F::kPoints> + row % kMR * VL;
}

// The output channels cut into blocks of at most kNV vectors, as even as can be; where they are several
// phases, each of them.
struct WidthBlocks {
    int64_t vectors, count, of_phase;
    explicit WidthBlocks(int64_t width, int64_t phases = 1)
        : vectors(vectors_of(width)),
          count(phases * ceil_div(vectors / phases, kNV)),
          of_phase(count / phases) {}
    explicit WidthBlocks(const WinogradWeight& w)
        : WidthBlocks(w.width, writes_phases(w.phases) ? w.phases.down * w.phases.across : 1) {}
    int64_t first(int64_t block) const { return vectors * block / count; }
    int nv(int64_t block) const { return static_cast<int>(first(block + 1) - first(block)); }
};

// Floats from component to component of U. Five lines more than the data: components a power of two apart
// would share one set of L1 and L2 while they are written.
inline int64_t u_component(int64_t vectors, int64_t depth) { return vectors * VL * depth + 80; }

// Reads tiles of an image in a frame of zeros: straight from the array where a tile lies inside and the
// channels fill vectors, through a patch in L1 elsewhere.
template <class E>
struct TileReader {
    const E* base;  // of the group's first channel
    WinogradImage image;
    int64_t channels;
    float* patch;  // patch_floats()

    // Copies vector `at` of the pixels [y, y + h) x [x, x + w) into dst[i * w + j], zeros outside.
    void copy(int64_t n, int64_t y, int64_t x, int64_t h, int64_t w, int64_t at, float* dst) const {
        const Tail lanes = tail(channels - at * VL);
        for (int64_t i = 0; i < h; ++i) {
            const bool inside = y + i >= 0 && y + i < image.h;
            const E* row = base + n * image.step_n + (y + i) * image.step_h + at * VL;
            for (int64_t j = 0; j < w; ++j, dst += VL)
                store(dst, inside && x + j >= 0 && x + j < image.w ? load(row + (x + j) * image.step_w, lanes)
                                                                   : zero());
        }
    }
    // The same of a planar array, by transposing tiles of VL channels x VL pixels.
    void copy_planar(int64_t n, int64_t y, int64_t x, int64_t h, int64_t w, int64_t at, float* dst) const {
        const int64_t lanes = least(VL, channels - at * VL);
        const int64_t first = most(0, least(w, -x)), last = most(first, least(w, image.w - x));
        for (int64_t i = 0; i < h; ++i, dst += w * VL) {
            if (y + i < 0 || y + i >= image.h || first == last) {
                zero_floats(dst, w * VL);
                continue;
            }
            zero_floats(dst, first * VL);
            zero_floats(dst + last * VL, (w - last) * VL);
            const E* row = base + n * image.step_n + at * VL * image.step_c + (y + i) * image.step_h + x;
            int64_t j = first;
            if (lanes == VL)
                for (; j + VL <= last; j += VL) transpose_tile(row + j, image.step_c, dst + j * VL, VL);
            if (j == last) continue;
            if (lanes == VL && last - first >= VL) {  // the last VL pixels again, from further left
                transpose_tile(row + last - VL, image.step_c, dst + (last - VL) * VL, VL);
                continue;
            }
            float from[VL * VL];
            for (; j < last; j += VL) {
                const int64_t pixels = least(VL, last - j);
                for (int64_t c = 0; c < VL; ++c)
                    store(from + c * VL, c < lanes ? load(row + c * image.step_c + j, tail(pixels)) : zero());
                float to[VL * VL];
                transpose_tile(from, VL, to, VL);
                for (int64_t q = 0; q < pixels; ++q) store(dst + (j + q) * VL, load(to + q * VL));
            }
        }
    }
};

// Transforms all tiles of a block into v. `Pick` is InputTile or GradientTile; tile (ty, tx) starts at pixel
// (m ty - top, m tx - left).
template <class Pick, class E, class F = typename Pick::F>
inline void transform_block(const TileReader<E>& in, const TileGrid<F>& g, const TileBlock<F>& block,
                            int64_t top, int64_t left, float* v) {
    constexpr int T = F::kTile;
    const int64_t vectors = vectors_of(in.channels);
    const bool planar = in.image.step_c != 1;
    const bool full = in.channels % VL == 0;
    typename Pick::template Function<float> tiles[4];
    for (int kind = 0; kind < 4; ++kind)
        tiles[kind] = pick_tile<Pick>(kind & 2 ? g.last_h : T, kind & 1 ? g.last_w : T);
    TileWalk<F> walk(g, block.begin);
    for (int64_t t = 0; t < block.count;) {
        // A run of tiles side by side.
        const int64_t run = least(block.count - t, g.across - walk.tx);
        const int64_t y = walk.ty * T - top, h = g.height(walk.ty) + Pick::kMore;
        const int64_t x0 = walk.tx * T - left;
        const int64_t strip = (run - 1) * T + g.width(walk.tx + run - 1) + Pick::kMore;
        const int64_t n = walk.n;
        const int low = g.height(walk.ty) < T ? 2 : 0;
        const auto out = [&](int64_t i, int kind, int64_t at) {
            float* const from = v + at * kVChunk<F::kPoints>;
            return Components<float>{v_row<F>(from, vectors, block.place[t + i]),
                                     v_row<F>(from, vectors, block.late_row(t + i, kind)), block.split_w};
        };
        const auto kind_of = [&](int64_t i) { return low + (g.width(walk.tx + i) < T ? 1 : 0); };
        // From tile i to tile j of the run, or to the one behind the run.
        const auto distance = [&](int64_t i, int64_t j) {
            const int64_t last = block.count - 1;
            return v_row<F>(v, vectors, block.place[least(t + j, last)]) -
                   v_row<F>(v, vectors, block.place[t + i]);
        };
        if (planar) {
            for (int64_t at = 0; at < vectors; ++at) {
                in.copy_planar(n, y, x0, h, strip, at, in.patch);
                for (int64_t i = 0; i < run; ++i) {
                    const int kind = kind_of(i);
                    const int64_t after =
                        i + 1 < run ? distance(i, i + 1) : distance(i, 0) + kVChunk<F::kPoints>;
                    tiles[kind](in.patch + i * T * VL, strip * VL, VL, 1, out(i, kind, at),
                                kVChunk<F::kPoints>, after);
                }
            }
        } else {
            const bool rows_inside = y >= 0 && y + h <= in.image.h;
            for (int64_t i = 0; i < run; ++i) {
                const int kind = kind_of(i);
                const int64_t x = x0 + i * T, w = g.width(walk.tx + i) + Pick::kMore;
                const bool inside = rows_inside && x >= 0 && x + w <= in.image.w;
                const int64_t direct = !inside || (kNarrow<E> && kind) ? 0 : full ? vectors : vectors - 1;
                const auto tile = [&] {
                    if constexpr (kNarrow<E>)
                        return whole_tile<Pick, E>();
                    else
                        return tiles[kind];
                };
                if (direct > 0)
                    tile()(in.base + n * in.image.step_n + y * in.image.step_h + x * in.image.step_w,
                           in.image.step_h, in.image.step_w, direct, out(i, kind, 0), kVChunk<F::kPoints>,
                           direct < vectors ? direct * kVChunk<F::kPoints> : distance(i, i + 1));
                for (int64_t at = direct; at < vectors; ++at) {
                    in.copy(n, y, x, h, w, at, in.patch);
                    const int64_t after = at + 1 < vectors ? kVChunk<F::kPoints>
                                                           : distance(i, i + 1) - at * kVChunk<F::kPoints>;
                    tiles[kind](in.patch, w * VL, VL, 1, out(i, kind, at), kVChunk<F::kPoints>, after);
                }
            }
        }
        t += run;
        walk.tx += run - 1;
        walk.next();
    }
}

// The same from the phases of a stride.
template <class Pick, class E, class F = typename Pick::F>
inline void transform_phases(const PhaseReader<E>& in, const TileGrid<F>& g, const TileBlock<F>& block,
                             float* patch, float* v) {
    constexpr int T = F::kTile, P = F::kPoints;
    const int64_t vectors = in.step / VL;
    TileWalk<F> walk(g, block.begin);
    for (int64_t t = 0; t < block.count;) {
        const int64_t run = least(block.count - t, g.across - walk.tx);
        const int64_t h = g.height(walk.ty) + Pick::kMore;
        const int64_t strip = (run - 1) * T + g.width(walk.tx + run - 1) + Pick::kMore;
        const int low = g.height(walk.ty) < T ? 2 : 0;
        in.copy(walk.n, walk.ty * T, walk.tx * T, h, strip, patch);
        for (int64_t i = 0; i < run; ++i) {
            const int64_t w = g.width(walk.tx + i);
            const int kind = low + (w < T ? 1 : 0);
            float* const to = v_row<F>(v, vectors, block.place[t + i]);
            const Components<float> out{to, v_row<F>(v, vectors, block.late_row(t + i, kind)), block.split_w};
            const int64_t next = block.place[least(t + i + 1, block.count - 1)];
            pick_tile<Pick>(g.height(walk.ty), w)(patch + i * T * in.step, strip * in.step, in.step, vectors,
                                                  out, kVChunk<P>, v_row<F>(v, vectors, next) - to);
        }
        t += run;
        walk.tx += run - 1;
        walk.next();
    }
}

// Floats of its patch, for blocks of so many tiles.
template <class F>
inline int64_t phase_patch_floats(const TileGrid<F>& g, int64_t tiles, int64_t depth) {
    const int64_t run = least(tiles, g.across);
    return F::kPoints * (run * F::kTile + F::kTaps - 1) * vectors_of(depth) * VL + 16;
}

// Walks the cache lines of the pixels that a block of tiles covers, so that they can be fetched a few at a
// time while something else is computed: input tiles (of `extra` more) are read from L2 and not from memory,
// lines of the output are there when they are written. Straight through memory, they cost a quarter of the
// time.
template <class F, class E>
class LineWalk {
    static constexpr int T = F::kTile;

  public:
    LineWalk(const E* base, const WinogradImage& image, int64_t channels, const TileGrid<F>& g, int64_t begin,
             int64_t count, int64_t extra, int64_t top, int64_t left, int64_t down = 1, int64_t across = 1,
             bool apart = false)
        : base_(base),
          image_(image),
          grid_(g),
          walk_(g, begin),
          tiles_(count),
          extra_(extra),
          top_(top),
          left_(left),
          down_(down),
          across_(across),
          planes_(image.step_c == 1 ? 1 : channels),
          count_(count) {
        // Other channels lie between a channels-last group's.
        if (image.step_c == 1 && image.step_w != channels) {
            lines_of_pixel_ = ceil_div(channels, kLine<E>);
            gap_ = image.step_w - lines_of_pixel_ * kLine<E>;
            if (!apart) tiles_ = count_ = 0;  // not worth it
        }
        lines_ = count_ * (T + extra) * (T + extra / 2) * down * across * channels / kLine<E>;
    }
    // With each line that is fetched for writing also those as far away as these arrays are from `array`.
    void with(const E* array, const E* residual, const E* saved) {
        const auto distance = [&](const E* other) {
            return other ? (reinterpret_cast<intptr_t>(other) - reinterpret_cast<intptr_t>(array)) /
                               static_cast<intptr_t>(sizeof(E))
                         : 0;
        };
        residual_ = distance(residual), saved_ = distance(saved);
    }
    // About how many there are.
    int64_t lines() const { return lines_; }
    template <bool kWrite, bool kGaps = false>
    void fetch(int64_t lines) {
        for (; lines > 0; --lines, at_ += kLine<E>) {
            if (at_ >= end_ && !advance()) return;
            if (kWrite) {
                fetch_for_write(at_);
                if (residual_) __builtin_prefetch(at_ + residual_, 0, 2);
                if (saved_) __builtin_prefetch(at_ + saved_, 0, 2);
            } else {
                __builtin_prefetch(at_, 0, 2);
            }
            if (kGaps && gap_ && --left_of_pixel_ == 0) at_ += gap_, left_of_pixel_ = lines_of_pixel_;
        }
    }

  private:
    // The next stretch of neighbours.
    bool advance() {
        do {
            if (++plane_ >= planes_) {
                plane_ = 0;
                if (++row_ >= last_row_ && !next_run()) return false;
            }
            const E* const row = base_ + n_ * image_.step_n + row_ * image_.step_h + plane_ * image_.step_c;
            at_ = row + first_pixel_ * image_.step_w;
            end_ = row + last_pixel_ * image_.step_w;
        } while (at_ >= end_);
        left_of_pixel_ = lines_of_pixel_;
        return true;
    }
    bool next_run() {
        do {
            if (tiles_ <= 0) return false;
            const int64_t run = least(tiles_, grid_.across - walk_.tx);
            n_ = walk_.n;
            row_ = most(0, walk_.ty * T * down_ - top_);
            last_row_ = least(image_.h, (walk_.ty * T + T + extra_) * down_ - top_);
            first_pixel_ = most(0, walk_.tx * T * across_ - left_);
            last_pixel_ = least(image_.w, ((walk_.tx + run) * T + extra_) * across_ - left_);
            tiles_ -= run;
            walk_.tx += run - 1;
            walk_.next();
        } while (row_ >= last_row_);
        return true;
    }

    const E* base_;
    WinogradImage image_;
    TileGrid<F> grid_;
    TileWalk<F> walk_;
    int64_t tiles_, extra_, top_, left_, down_, across_, planes_, count_, lines_;
    int64_t residual_ = 0, saved_ = 0;
    int64_t lines_of_pixel_ = 0, left_of_pixel_ = 0, gap_ = 0;
    int64_t n_ = 0, row_ = 0, last_row_ = 0, plane_ = INT64_MAX - 1, first_pixel_ = 0, last_pixel_ = 0;
    const E *at_ = nullptr, *end_ = nullptr;
};

// Floats of a TileReader's patch.
template <class F>
inline int64_t patch_floats(const TileGrid<F>& g, bool planar) {
    return planar ? F::kPoints * (g.across * F::kTile + F::kTaps - 1) * VL : F::kComponents * VL;
}

}  // namespace
}  // namespace fastconv::FC_ISA_NS
