// The transforms of whole tiles, lanes along the channels.
#pragma once

#include "ops/conv2d/cpu/winograd_matrices.h"

namespace fastconv::FC_ISA_NS {
namespace {

// Where the components of one tile go or come from: those of columns below `split` at `a`, the others, which
// fewer tiles have, at `b`; `step` floats from one component to the next.
template <class T>
struct Components {
    T* a;
    T* b;
    int split;
    T* column(int j) const { return j < split ? a : b; }
};

// f of the rows or columns of a tile: written out for T = 4; a loop for T = 6, whose 64 vectors go through
// the stack in any case.
template <int T, int N, class F>
FC_INLINE inline void each(const F& f) {
    if constexpr (T == 4)
        unrolled<N>(f);
    else
        for (int i = 0; i < N; ++i) f(i);
}

// V = B'dB of `vectors` vectors of channels. Pixels are step_h and step_w floats apart, vectors of them VL;
// those of V are `chunk` floats apart, its components kStep. The lines `after` floats from the first vector's
// are those that the next call writes.
template <int T, int MH, int MW, int kStep>
void input_tile(const float* d, int64_t step_h, int64_t step_w, int64_t vectors, const Components<float>& out,
                int64_t chunk, int64_t after) {
    constexpr int kRow = (T + 2) * kStep;
    float* to[T + 2];
    unrolled<MW + 2>([&](auto j) FC_INLINE { to[j] = out.column(j) + j * kStep; });
    for (int64_t at = 0; at < vectors; ++at, d += VL) {
        const int64_t next = at + 1 < vectors ? (at + 1) * chunk : after;
        vf half[T + 2][T + 2];
        each<T, MW + 2>([&](auto j) FC_INLINE {
            vf column[T + 2], v[T + 2];
            unrolled<MH + 2>([&](auto i) FC_INLINE { column[i] = load(d + i * step_h + j * step_w); });
            unrolled<MH + 2>([&](auto i) FC_INLINE { fetch_for_write(to[j] + i * kRow + next); });
            input_1d<T, MH>(column, v);
            unrolled<MH + 2>([&](auto i) FC_INLINE { half[i][j] = v[i]; });
        });
        each<T, MH + 2>([&](auto i) FC_INLINE {
            vf v[T + 2];
            input_1d<T, MW>(half[i], v);
            unrolled<MW + 2>([&](auto j) FC_INLINE { store(to[j] + i * kRow + at * chunk, v[j]); });
        });
    }
}

// V = A dY A' of `vectors` vectors of channels: as input_tile, from tiles of MH x MW.
template <int MH, int MW, int kStep>
void gradient_tile(const float* d, int64_t step_h, int64_t step_w, int64_t vectors,
                   const Components<float>& out, int64_t chunk, int64_t after) {
    float* to[6];
    unrolled<MW + 2>([&](auto j) FC_INLINE { to[j] = out.column(j) + j * kStep; });
    for (int64_t at = 0; at < vectors; ++at, d += VL) {
        const int64_t next = at + 1 < vectors ? (at + 1) * chunk : after;
        unrolled<MH + 2, MW + 2>([&](auto i, auto j)
                                     FC_INLINE { fetch_for_write(to[j] + i * 6 * kStep + next); });
        vf half[6][4];
        unrolled<MW>([&](auto j) FC_INLINE {
            vf column[4], v[6];
            unrolled<MH>([&](auto i) FC_INLINE { column[i] = load(d + i * step_h + j * step_w); });
            gradient_1d<MH>(column, v);
            unrolled<MH + 2>([&](auto i) FC_INLINE { half[i][j] = v[i]; });
        });
        unrolled<MH + 2>([&](auto i) FC_INLINE {
            vf v[6];
            gradient_1d<MW>(half[i], v);
            unrolled<MW + 2>([&](auto j) FC_INLINE { store(to[j] + i * 6 * kStep + at * chunk, v[j]); });
        });
    }
}

// y = A'MA + bias of one vector of channels.
template <int T, int MH, int MW, int kStep>
void output_tile(const Components<const float>& in, vf bias, float* y, int64_t step_h, int64_t step_w,
                 Tail lanes, bool whole) {
    constexpr int kRow = (T + 2) * kStep;
    vf half[T][T + 2];
    each<T, MW + 2>([&](auto j) FC_INLINE {
        const float* from = in.column(j) + j * kStep;
        vf m[T + 2], v[T];
        unrolled<MH + 2>([&](auto i) FC_INLINE {
            m[i] = load(from + i * kRow);
            __builtin_prefetch(from + i * kRow + VL, 0, 3);  // of the next vector or tile
        });
        output_1d<T, MH>(m, v);
        unrolled<MH>([&](auto i) FC_INLINE { half[i][j] = v[i]; });
    });
    each<T, MH>([&](auto i) FC_INLINE {
        vf v[T];
        output_1d<T, MW>(half[i], v);
        float* row = y + i * step_h;
        if (whole)
            unrolled<MW>([&](auto j) FC_INLINE { store(row + j * step_w, v[j] + bias); });
        else
            unrolled<MW>([&](auto j) FC_INLINE { store(row + j * step_w, v[j] + bias, lanes); });
    });
}

template <int T, int kStep>
struct InputTile {
    static constexpr int kTile = T;
    using Function = void (*)(const float*, int64_t, int64_t, int64_t, const Components<float>&, int64_t,
                              int64_t);
    template <int MH, int MW>
    static Function get() {
        return &input_tile<T, MH, MW, kStep>;
    }
};
template <int kStep>
struct GradientTile {
    static constexpr int kTile = 4;
    using Function = typename InputTile<4, kStep>::Function;
    template <int MH, int MW>
    static Function get() {
        return &gradient_tile<MH, MW, kStep>;
    }
};
template <int T, int kStep>
struct OutputTile {
    static constexpr int kTile = T;
    using Function = void (*)(const Components<const float>&, vf, float*, int64_t, int64_t, Tail, bool);
    template <int MH, int MW>
    static Function get() {
        return &output_tile<T, MH, MW, kStep>;
    }
};

// The instance for tiles of mh x mw outputs, 1 to T each.
template <class Pick, int MH = Pick::kTile, int MW = Pick::kTile>
inline typename Pick::Function pick_tile(int64_t mh, int64_t mw) {
    if constexpr (MH > 1)
        if (mh < MH) return pick_tile<Pick, MH - 1, MW>(mh, mw);
    if constexpr (MW > 1)
        if (mw < MW) return pick_tile<Pick, MH, MW - 1>(mh, mw);
    return Pick::template get<MH, MW>();
}

}  // namespace
}  // namespace fastconv::FC_ISA_NS
