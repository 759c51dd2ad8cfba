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

// f of the rows or columns of a tile: written out for six points; a loop for eight, whose 64 vectors go
// through the stack in any case.
template <int P, int N, class Function>
FC_INLINE inline void each(const Function& f) {
    if constexpr (P == 6)
        unrolled<N>(f);
    else
        for (int i = 0; i < N; ++i) f(i);
}

// V = B'dB of `vectors` vectors of channels, of NH x NW points. Pixels are step_h and step_w floats apart,
// vectors of them VL; those of V are `chunk` floats apart, its components kStep. The lines `after` floats
// from the first vector's are those that the next call writes.
template <int P, int NH, int NW, int kStep, class E>
void input_tile(const E* d, int64_t step_h, int64_t step_w, int64_t vectors, const Components<float>& out,
                int64_t chunk, int64_t after) {
    constexpr int kRow = P * kStep;
    float* to[P];
    unrolled<NW>([&](auto j) FC_INLINE { to[j] = out.column(j) + j * kStep; });
    for (int64_t at = 0; at < vectors; ++at, d += VL) {
        const int64_t next = at + 1 < vectors ? (at + 1) * chunk : after;
        vf half[P][P];
        each<P, NW>([&](auto j) FC_INLINE {
            vf column[P], v[P];
            unrolled<NH>([&](auto i) FC_INLINE { column[i] = load(d + i * step_h + j * step_w); });
            unrolled<NH>([&](auto i) FC_INLINE { fetch_for_write(to[j] + i * kRow + next); });
            input_1d<P, NH>(column, v);
            unrolled<NH>([&](auto i) FC_INLINE { half[i][j] = v[i]; });
        });
        each<P, NH>([&](auto i) FC_INLINE {
            vf v[P];
            input_1d<P, NW>(half[i], v);
            unrolled<NW>([&](auto j) FC_INLINE { store(to[j] + i * kRow + at * chunk, v[j]); });
        });
    }
}

// V = A dY A' of `vectors` vectors of channels: as input_tile, from tiles of MH x MW.
template <class F, int MH, int MW, int kStep, class E>
void gradient_tile(const E* d, int64_t step_h, int64_t step_w, int64_t vectors, const Components<float>& out,
                   int64_t chunk, int64_t after) {
    constexpr int P = F::kPoints, NH = MH + F::kTaps - 1, NW = MW + F::kTaps - 1, kRow = P * kStep;
    // The next tile's pixels, unless this one's would leave L1 for them.
    const int64_t ahead = vectors <= 128 / VL ? MW * step_w : 0;
    float* to[P];
    unrolled<NW>([&](auto j) FC_INLINE { to[j] = out.column(j) + j * kStep; });
    for (int64_t at = 0; at < vectors; ++at, d += VL) {
        const int64_t next = at + 1 < vectors ? (at + 1) * chunk : after;
        unrolled<NH, NW>([&](auto i, auto j) FC_INLINE { fetch_for_write(to[j] + i * kRow + next); });
        vf half[P][F::kTile];
        each<P, MW>([&](auto j) FC_INLINE {
            vf column[F::kTile], v[P];
            const E* const from = d + j * step_w;
            unrolled<MH>([&](auto i) FC_INLINE {
                column[i] = load(from + i * step_h);
                __builtin_prefetch(from + i * step_h + ahead, 0, 3);
            });
            gradient_1d<F, MH>(column, v);
            unrolled<NH>([&](auto i) FC_INLINE { half[i][j] = v[i]; });
        });
        each<P, NH>([&](auto i) FC_INLINE {
            vf v[P];
            gradient_1d<F, MW>(half[i], v);
            unrolled<NW>([&](auto j) FC_INLINE { store(to[j] + i * kRow + at * chunk, v[j]); });
        });
    }
}

// y = A'MA + bias of one vector of channels.
template <class F, int MH, int MW, int kStep, class E>
void output_tile(const Components<const float>& in, vf bias, E* y, int64_t step_h, int64_t step_w, Tail lanes,
                 bool whole) {
    constexpr int P = F::kPoints, NH = MH + F::kTaps - 1, NW = MW + F::kTaps - 1, kRow = P * kStep;
    vf half[F::kTile][P];
    each<P, NW>([&](auto j) FC_INLINE {
        const float* from = in.column(j) + j * kStep;
        vf m[P], v[F::kTile];
        unrolled<NH>([&](auto i) FC_INLINE {
            m[i] = load(from + i * kRow);
            __builtin_prefetch(from + i * kRow + VL, 0, 3);  // of the next vector or tile
        });
        output_1d<F, MH>(m, v);
        unrolled<MH>([&](auto i) FC_INLINE { half[i][j] = v[i]; });
    });
    each<P, MH>([&](auto i) FC_INLINE {
        vf v[F::kTile];
        output_1d<F, MW>(half[i], v);
        E* row = y + i * step_h;
        if (whole)
            unrolled<MW>([&](auto j) FC_INLINE { store(row + j * step_w, v[j] + bias); });
        else
            unrolled<MW>([&](auto j) FC_INLINE { store(row + j * step_w, v[j] + bias, lanes); });
    });
}

// Which tiles an image is cut into and the function for one of MH x MW outputs; an input tile has kMore
// pixels more than outputs.
template <class F_, int kStep>
struct InputTile {
    using F = F_;
    static constexpr int kMore = F::kTaps - 1;
    template <class E>
    using Function = void (*)(const E*, int64_t, int64_t, int64_t, const Components<float>&, int64_t,
                              int64_t);
    template <class E, int MH, int MW>
    static Function<E> get() {
        return &input_tile<F::kPoints, MH + kMore, MW + kMore, kStep, E>;
    }
};
template <class F_, int kStep>
struct GradientTile {
    using F = F_;
    static constexpr int kMore = 0;
    template <class E>
    using Function = typename InputTile<F, kStep>::template Function<E>;
    template <class E, int MH, int MW>
    static Function<E> get() {
        return &gradient_tile<F, MH, MW, kStep, E>;
    }
};
template <class F_, int kStep>
struct OutputTile {
    using F = F_;
    template <class E>
    using Function = void (*)(const Components<const float>&, vf, E*, int64_t, int64_t, Tail, bool);
    template <class E, int MH, int MW>
    static Function<E> get() {
        return &output_tile<F, MH, MW, kStep, E>;
    }
};

// f(Form<m, r>()) for the forms that there are: of scalar kernels those of three taps, since instances take
// room.
template <class Function>
inline auto visit_form(const WinogradForm& form, const Function& f) {
#if !defined(FC_ISA_SCALAR)
    switch (form.taps) {
        case 2:
            return f(Form<5, 2>());
        case 4:
            return f(Form<5, 4>());
        case 5:
            return f(Form<4, 5>());
        default:
            break;
    }
#endif
    return form.tile == 6 ? f(Form<6, 3>()) : f(Form<4, 3>());
}

// f(Form<m, r>(), E()) besides, for the element type of the arrays: of scalar kernels float32 alone.
template <class Function>
inline void visit_form(const WinogradForm& form, [[maybe_unused]] DType dtype, const Function& f) {
#if !defined(FC_ISA_SCALAR)
    if (dtype == DType::bf16) return visit_form(form, [&](auto which) { f(which, bfloat16()); });
#endif
    visit_form(form, [&](auto which) { f(which, float()); });
}

// The instance for tiles of mh x mw outputs, of float32.
template <class Pick, int MH = Pick::F::kTile, int MW = Pick::F::kTile>
inline typename Pick::template Function<float> pick_tile(int64_t mh, int64_t mw) {
    if constexpr (MH > 1)
        if (mh < MH) return pick_tile<Pick, MH - 1, MW>(mh, mw);
    if constexpr (MW > 1)
        if (mw < MW) return pick_tile<Pick, MH, MW - 1>(mh, mw);
    return Pick::template get<float, MH, MW>();
}

// Of whole tiles, for any element type. Those cut by the image's edge are read and written through a float32
// patch where the array is of bfloat16, so that they need no instances of their own.
template <class Pick, class E>
inline typename Pick::template Function<E> whole_tile() {
    return Pick::template get<E, Pick::F::kTile, Pick::F::kTile>();
}
template <class E>
inline constexpr bool kNarrow = sizeof(E) < sizeof(float);

}  // namespace
}  // namespace fastconv::FC_ISA_NS
