// Blocks of Winograd tiles, and how the transformed data lie.
//
// V of a block is cut into row tiles of kMR image tiles: [row tile][vector of channels][component][kMR][VL],
// so that a transform writes within a few pages and the microkernel reads kMR neighbouring vectors. M is
// [output block][row tile][component][kMR][kNR].
#pragma once

#include "ops/conv2d/cpu/winograd_transform.h"

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
// T is the size of a tile, 4 or 6. With 64 components, steps would be multiples of 64 lines, so that all that
// is used at a time would share a few sets of L1: a line or a component more spreads it.
template <int T>
inline constexpr int kComponents = (T + 2) * (T + 2);
template <int T>  // from vector to vector of channels
inline constexpr int64_t kVChunk = (kComponents<T> + (T == 6 ? 1 : 0)) * kVStep;
template <int T>  // from component to component of M
inline constexpr int kMStep = kMR * kNR + (T == 6 ? 16 : 0);
template <int T>  // from row tile to row tile
inline constexpr int64_t kMChunk = kComponents<T> * kMStep<T>;

inline int64_t vectors_of(int64_t channels) { return ceil_div(channels, VL); }

// The output tiles of an image batch: T x T, those at the bottom and right edge perhaps smaller.
template <int T>
struct TileGrid {
    int64_t rows, cols;           // outputs
    int64_t down, across, count;  // tiles
    int64_t last_h, last_w;       // outputs of the last tile of an axis
    int split_h, split_w;         // points that the last tile has: all T + 2 where it is whole
    TileGrid(int64_t n, int64_t rows_, int64_t cols_) : rows(rows_), cols(cols_) {
        down = ceil_div(rows, T), across = ceil_div(cols, T), count = n * down * across;
        last_h = rows - (down - 1) * T, last_w = cols - (across - 1) * T;
        split_h = static_cast<int>(last_h) + 2, split_w = static_cast<int>(last_w) + 2;
    }
    int64_t height(int64_t ty) const { return ty + 1 < down ? T : last_h; }
    int64_t width(int64_t tx) const { return tx + 1 < across ? T : last_w; }
};

// One tile of a walk in memory order.
template <int T>
struct TileWalk {
    TileGrid<T> grid;
    int64_t n, ty, tx;
    TileWalk(const TileGrid<T>& g, int64_t tile)
        : grid(g), n(tile / (g.down * g.across)), ty(tile / g.across % g.down), tx(tile % g.across) {}
    void next() {
        if (++tx < grid.across) return;
        tx = 0;
        if (++ty < grid.down) return;
        ty = 0;
        ++n;
    }
    // 0: whole, 1: narrow, 2: low, 3: both.
    int kind() const { return (grid.height(ty) < T ? 2 : 0) + (grid.width(tx) < T ? 1 : 0); }
};

// Which row of V and M a tile of a block has. Tiles are sorted by kind, so that the tiles that have a
// component are rows 0 .. rows(component) - 1: whole and narrow ones come first; for the columns of
// components that narrow tiles lack, the low ones move up behind the whole ones.
template <int T>
struct TileBlock {
    int64_t begin, count;
    int64_t of_kind[4] = {0, 0, 0, 0};
    int split_h, split_w;
    int32_t* place;  // of each tile
    TileBlock(const TileGrid<T>& g, int64_t begin_, int64_t count_, int32_t* place_)
        : begin(begin_), count(count_), split_h(g.split_h), split_w(g.split_w), place(place_) {
        TileWalk<T> walk(g, begin);
        for (int64_t t = 0; t < count; ++t, walk.next())
            place[t] = static_cast<int32_t>(of_kind[walk.kind()]++);
        const int64_t first[4] = {0, of_kind[0], of_kind[0] + of_kind[1], count - of_kind[3]};
        walk = TileWalk<T>(g, begin);
        for (int64_t t = 0; t < count; ++t, walk.next()) place[t] += static_cast<int32_t>(first[walk.kind()]);
    }
    // Tiles [from, from + some) of this block, in its rows.
    TileBlock part(int64_t from, int64_t some) const {
        TileBlock b = *this;
        b.begin += from, b.count = some, b.place += from;
        return b;
    }
    int64_t rows(int component) const {
        const bool tall = component / (T + 2) >= split_h, wide = component % (T + 2) >= split_w;
        if (tall) return of_kind[0] + (wide ? 0 : of_kind[1]);
        return wide ? of_kind[0] + of_kind[2] : count;
    }
    // The row in the columns of components from split_w on; meaningless for a narrow tile.
    int64_t late_row(int64_t t, int kind) const { return place[t] - (kind == 2 ? of_kind[1] : 0); }
};

template <int T>
inline int64_t v_floats(int64_t tiles, int64_t channels) {
    return ceil_div(tiles, kMR) * vectors_of(channels) * kVChunk<T>;
}
template <int T>
inline float* v_row(float* v, int64_t vectors, int64_t row) {
    return v + row / kMR * vectors * kVChunk<T> + row % kMR * VL;
}

// The output channels cut into blocks of at most kNV vectors, as even as can be.
struct WidthBlocks {
    int64_t vectors, count;
    explicit WidthBlocks(int64_t width) : vectors(vectors_of(width)), count(ceil_div(vectors, kNV)) {}
    int64_t first(int64_t block) const { return vectors * block / count; }
    int nv(int64_t block) const { return static_cast<int>(first(block + 1) - first(block)); }
};

// Floats from component to component of U. Five lines more than the data: components a power of two apart
// would share one set of L1 and L2 while they are written.
inline int64_t u_component(int64_t vectors, int64_t depth) { return vectors * VL * depth + 80; }

// Reads tiles of an image in a frame of zeros: straight from the array where a tile lies inside and the
// channels fill vectors, through a patch in L1 elsewhere.
struct TileReader {
    const float* base;  // of the group's first channel
    WinogradImage image;
    int64_t channels;
    int64_t size_extra;  // 2 for input tiles (m + 2 pixels), 0 for tiles of outputs
    float* patch;        // patch_floats()

    // Copies vector `at` of the pixels [y, y + h) x [x, x + w) into dst[i * w + j], zeros outside.
    void copy(int64_t n, int64_t y, int64_t x, int64_t h, int64_t w, int64_t at, float* dst) const {
        const Tail lanes = tail(channels - at * VL);
        for (int64_t i = 0; i < h; ++i) {
            const bool inside = y + i >= 0 && y + i < image.h;
            const float* row = base + n * image.step_n + (y + i) * image.step_h + at * VL;
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
            const float* row = base + n * image.step_n + at * VL * image.step_c + (y + i) * image.step_h + x;
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
// (T ty - top, T tx - left).
template <class Pick, int T = Pick::kTile>
inline void transform_block(const TileReader& in, const TileGrid<T>& g, const TileBlock<T>& block,
                            int64_t top, int64_t left, float* v) {
    const int64_t vectors = vectors_of(in.channels);
    const bool planar = in.image.step_c != 1;
    const bool full = in.channels % VL == 0;
    typename Pick::Function tiles[4];
    for (int kind = 0; kind < 4; ++kind)
        tiles[kind] = pick_tile<Pick>(kind & 2 ? g.last_h : T, kind & 1 ? g.last_w : T);
    TileWalk<T> walk(g, block.begin);
    for (int64_t t = 0; t < block.count;) {
        // A run of tiles side by side.
        const int64_t run = least(block.count - t, g.across - walk.tx);
        const int64_t y = walk.ty * T - top, h = g.height(walk.ty) + in.size_extra;
        const int64_t x0 = walk.tx * T - left;
        const int64_t strip = (run - 1) * T + g.width(walk.tx + run - 1) + in.size_extra;
        const int64_t n = walk.n;
        const int low = g.height(walk.ty) < T ? 2 : 0;
        const auto out = [&](int64_t i, int kind, int64_t at) {
            float* const from = v + at * kVChunk<T>;
            return Components<float>{v_row<T>(from, vectors, block.place[t + i]),
                                     v_row<T>(from, vectors, block.late_row(t + i, kind)), block.split_w};
        };
        const auto kind_of = [&](int64_t i) { return low + (g.width(walk.tx + i) < T ? 1 : 0); };
        // From tile i to tile j of the run, or to the one behind the run.
        const auto distance = [&](int64_t i, int64_t j) {
            const int64_t last = block.count - 1;
            return v_row<T>(v, vectors, block.place[least(t + j, last)]) -
                   v_row<T>(v, vectors, block.place[t + i]);
        };
        if (planar) {
            for (int64_t at = 0; at < vectors; ++at) {
                in.copy_planar(n, y, x0, h, strip, at, in.patch);
                for (int64_t i = 0; i < run; ++i) {
                    const int kind = kind_of(i);
                    const int64_t after = i + 1 < run ? distance(i, i + 1) : distance(i, 0) + kVChunk<T>;
                    tiles[kind](in.patch + i * T * VL, strip * VL, VL, 1, out(i, kind, at), kVChunk<T>,
                                after);
                }
            }
        } else {
            const bool rows_inside = y >= 0 && y + h <= in.image.h;
            for (int64_t i = 0; i < run; ++i) {
                const int kind = kind_of(i);
                const int64_t x = x0 + i * T, w = g.width(walk.tx + i) + in.size_extra;
                const bool inside = rows_inside && x >= 0 && x + w <= in.image.w;
                const int64_t direct = !inside ? 0 : full ? vectors : vectors - 1;
                if (direct > 0)
                    tiles[kind](in.base + n * in.image.step_n + y * in.image.step_h + x * in.image.step_w,
                                in.image.step_h, in.image.step_w, direct, out(i, kind, 0), kVChunk<T>,
                                direct < vectors ? direct * kVChunk<T> : distance(i, i + 1));
                for (int64_t at = direct; at < vectors; ++at) {
                    in.copy(n, y, x, h, w, at, in.patch);
                    const int64_t after =
                        at + 1 < vectors ? kVChunk<T> : distance(i, i + 1) - at * kVChunk<T>;
                    tiles[kind](in.patch, w * VL, VL, 1, out(i, kind, at), kVChunk<T>, after);
                }
            }
        }
        t += run;
        walk.tx += run - 1;
        walk.next();
    }
}

// Walks the cache lines of the pixels that a block of tiles covers, so that they can be fetched a few at a
// time while something else is computed: input tiles (`extra` 2) are read from L2 and not from memory, lines
// of the output are there when they are written. Straight through memory, they cost a quarter of the time.
template <int T>
class LineWalk {
  public:
    LineWalk(const float* base, const WinogradImage& image, int64_t channels, const TileGrid<T>& g,
             int64_t begin, int64_t count, int64_t extra, int64_t top, int64_t left)
        : base_(base),
          image_(image),
          grid_(g),
          walk_(g, begin),
          tiles_(count),
          extra_(extra),
          top_(top),
          left_(left),
          planes_(image.step_c == 1 ? 1 : channels),
          count_(count) {
        // Other groups' channels lie between a channels-last group's: not worth it.
        if (image.step_c == 1 && image.step_w != channels) tiles_ = count_ = 0;
        lines_ = count_ * (T + extra) * (T + extra / 2) * channels / 16;
    }
    // About how many there are.
    int64_t lines() const { return lines_; }
    template <bool kWrite>
    void fetch(int64_t lines) {
        for (; lines > 0; --lines, at_ += 16) {
            if (at_ >= end_ && !advance()) return;
            if (kWrite)
                fetch_for_write(at_);
            else
                __builtin_prefetch(at_, 0, 2);
        }
    }

  private:
    // The next stretch of neighbouring floats.
    bool advance() {
        do {
            if (++plane_ >= planes_) {
                plane_ = 0;
                if (++row_ >= last_row_ && !next_run()) return false;
            }
            const float* const row =
                base_ + n_ * image_.step_n + row_ * image_.step_h + plane_ * image_.step_c;
            at_ = row + first_pixel_ * image_.step_w;
            end_ = row + last_pixel_ * image_.step_w;
        } while (at_ >= end_);
        return true;
    }
    bool next_run() {
        do {
            if (tiles_ <= 0) return false;
            const int64_t run = least(tiles_, grid_.across - walk_.tx);
            n_ = walk_.n;
            row_ = most(0, walk_.ty * T - top_);
            last_row_ = least(image_.h, walk_.ty * T - top_ + T + extra_);
            first_pixel_ = most(0, walk_.tx * T - left_);
            last_pixel_ = least(image_.w, (walk_.tx + run) * T - left_ + extra_);
            tiles_ -= run;
            walk_.tx += run - 1;
            walk_.next();
        } while (row_ >= last_row_);
        return true;
    }

    const float* base_;
    WinogradImage image_;
    TileGrid<T> grid_;
    TileWalk<T> walk_;
    int64_t tiles_, extra_, top_, left_, planes_, count_, lines_;
    int64_t n_ = 0, row_ = 0, last_row_ = 0, plane_ = INT64_MAX - 1, first_pixel_ = 0, last_pixel_ = 0;
    const float *at_ = nullptr, *end_ = nullptr;
};

// Floats of a TileReader's patch.
template <int T>
inline int64_t patch_floats(const TileGrid<T>& g, bool planar) {
    return planar ? (T + 2) * (g.across * T + 2) * VL : kComponents<T> * VL;
}

}  // namespace
}  // namespace fastconv::FC_ISA_NS
