// The transforms of Winograd's convolution, lanes along the channels.
#pragma once

#include "ops/conv2d/cpu/common.h"
#include "ops/conv2d/winograd.h"

namespace fastconv::FC_ISA_NS {
namespace {

// B' of the tiles that are cut at an edge: M outputs from the first M + 2 points.
template <int M>
struct InputMatrix;
template <>
struct InputMatrix<1> {
    static constexpr float b[3][3] = {{1, -1, 0}, {0, -1, 1}, {0, 3, 0}};
};
template <>
struct InputMatrix<2> {
    static constexpr float b[4][4] = {{1, 0, -1, 0}, {0, -1, 0, 1}, {0, 1.5f, 1.5f, 0}, {0, 1.5f, -1.5f, 0}};
};
template <>
struct InputMatrix<3> {
    static constexpr float b[5][5] = {{1, -2, -1, 2, 0},
                                      {0, 0.5f, -1, -0.5f, 1},
                                      {0, -1.5f, 1.5f, 3, 0},
                                      {0, 0.5f, -1.5f, 1, 0},
                                      {0, -2.5f, 0, 2.5f, 0}};
};
// A': powers of the points; of infinity, only the last.
inline constexpr float kPower[4][6] = {
    {1, 0, 1, 1, 1, 1}, {0, 0, 1, -1, 0.5f, -2}, {0, 0, 1, 1, 0.25f, 4}, {0, 0, 1, -1, 0.125f, -8}};
template <int M>
inline constexpr float power(int i, int point) {
    return point == 1 ? (i == M - 1 ? 1.0f : 0.0f) : kPower[i][point];
}
// G, of all six points.
inline constexpr float kFilter[6][3] = {{1, 0, 0},
                                        {0, 0, 1},
                                        {1.0f / 3, 1.0f / 3, 1.0f / 3},
                                        {-1.0f / 3, 1.0f / 3, -1.0f / 3},
                                        {-16.0f / 15, -8.0f / 15, -4.0f / 15},
                                        {1.0f / 15, -2.0f / 15, 4.0f / 15}};

// sum + c * x, for a constant that is often 0 or +-1; `first` starts a sum.
inline vf add_scaled(vf sum, float c, vf x, bool& first) {
    if (c == 0.0f) return sum;
    if (first) {
        first = false;
        return c == 1.0f ? x : set1(c) * x;
    }
    return c == 1.0f ? sum + x : c == -1.0f ? sum - x : fma(set1(c), x, sum);
}

// v = B'd along one axis.
template <int M>
inline void input_1d(const vf (&d)[6], vf (&v)[6]) {
    if constexpr (M == 4) {
        // 14 operations: e and o are the two points' common terms, p and q those of 1 and -1.
        const vf half3 = set1(1.5f);
        const vf e = d[4] - d[2], o = d[3] - d[1];
        const vf p = fma(half3, d[3], e), q = fma(half3, d[2], o);
        v[0] = (d[0] - d[2]) + fma(half3, o, e);
        v[1] = fma(half3, e, (d[5] - d[3]) - o);
        v[2] = p + q;
        v[3] = p - q;
        v[4] = fma(set1(2.0f), o, e);
        v[5] = fma(set1(-0.5f), o, e);
    } else {
#pragma GCC unroll 6
        for (int p = 0; p < M + 2; ++p) {
            vf sum = zero();
            bool first = true;
#pragma GCC unroll 6
            for (int i = 0; i < M + 2; ++i) sum = add_scaled(sum, InputMatrix<M>::b[p][i], d[i], first);
            v[p] = sum;
        }
    }
}

// y = A'm along one axis.
template <int M>
inline void output_1d(const vf (&m)[6], vf (&y)[4]) {
    if constexpr (M == 4) {
        const vf s = m[2] + m[3], t = m[2] - m[3];
        y[0] = (m[0] + s) + (m[4] + m[5]);
        y[1] = fma(set1(0.5f), m[4], fma(set1(-2.0f), m[5], t));
        y[2] = fma(set1(0.25f), m[4], fma(set1(4.0f), m[5], s));
        y[3] = fma(set1(0.125f), m[4], fma(set1(-8.0f), m[5], t + m[1]));
    } else {
#pragma GCC unroll 4
        for (int i = 0; i < M; ++i) {
            vf sum = zero();
            bool first = true;
#pragma GCC unroll 6
            for (int p = 0; p < M + 2; ++p) sum = add_scaled(sum, power<M>(i, p), m[p], first);
            y[i] = sum;
        }
    }
}

// v = A y along one axis: the transpose of output_1d.
template <int M>
inline void gradient_1d(const vf (&y)[4], vf (&v)[6]) {
    if constexpr (M == 4) {
        const vf a = y[0] + y[2], b = y[1] + y[3];
        v[0] = y[0];
        v[1] = y[3];
        v[2] = a + b;
        v[3] = a - b;
        v[4] = fma(set1(0.125f), y[3], fma(set1(0.25f), y[2], fma(set1(0.5f), y[1], y[0])));
        v[5] = fma(set1(-8.0f), y[3], fma(set1(4.0f), y[2], fma(set1(-2.0f), y[1], y[0])));
    } else {
#pragma GCC unroll 6
        for (int p = 0; p < M + 2; ++p) {
            vf sum = zero();
            bool first = true;
#pragma GCC unroll 4
            for (int i = 0; i < M; ++i) sum = add_scaled(sum, power<M>(i, p), y[i], first);
            v[p] = sum;
        }
    }
}

// Where the components of one tile go or come from: those of columns below `split` at `a`, the others, which
// fewer tiles have, at `b`; `step` floats from one component to the next.
template <class T>
struct Components {
    T* a;
    T* b;
    int split;
    T* column(int j) const { return j < split ? a : b; }
};

// V = B'dB of `vectors` vectors of channels. Pixels are step_h and step_w floats apart, vectors of them VL;
// those of V are `chunk` floats apart, its components kStep.
template <int MH, int MW, int kStep>
void input_tile(const float* d, int64_t step_h, int64_t step_w, int64_t vectors, const Components<float>& out,
                int64_t chunk) {
    float* to[6];
#pragma GCC unroll 6
    for (int j = 0; j < MW + 2; ++j) to[j] = out.column(j) + j * kStep;
    for (int64_t at = 0; at < vectors; ++at, d += VL) {
        if (at + 1 < vectors) {
#pragma GCC unroll 6
            for (int i = 0; i < MH + 2; ++i)
#pragma GCC unroll 6
                for (int j = 0; j < MW + 2; ++j) fetch_for_write(to[j] + i * 6 * kStep + (at + 1) * chunk);
        }
        vf half[6][6];
#pragma GCC unroll 6
        for (int j = 0; j < MW + 2; ++j) {
            vf column[6], v[6];
#pragma GCC unroll 6
            for (int i = 0; i < MH + 2; ++i) column[i] = load(d + i * step_h + j * step_w);
            input_1d<MH>(column, v);
#pragma GCC unroll 6
            for (int i = 0; i < MH + 2; ++i) half[i][j] = v[i];
        }
#pragma GCC unroll 6
        for (int i = 0; i < MH + 2; ++i) {
            vf v[6];
            input_1d<MW>(half[i], v);
#pragma GCC unroll 6
            for (int j = 0; j < MW + 2; ++j) store(to[j] + i * 6 * kStep + at * chunk, v[j]);
        }
    }
}

// V = A dY A' of `vectors` vectors of channels: as input_tile, from tiles of MH x MW.
template <int MH, int MW, int kStep>
void gradient_tile(const float* d, int64_t step_h, int64_t step_w, int64_t vectors,
                   const Components<float>& out, int64_t chunk) {
    float* to[6];
#pragma GCC unroll 6
    for (int j = 0; j < MW + 2; ++j) to[j] = out.column(j) + j * kStep;
    for (int64_t at = 0; at < vectors; ++at, d += VL) {
        if (at + 1 < vectors) {
#pragma GCC unroll 6
            for (int i = 0; i < MH + 2; ++i)
#pragma GCC unroll 6
                for (int j = 0; j < MW + 2; ++j) fetch_for_write(to[j] + i * 6 * kStep + (at + 1) * chunk);
        }
        vf half[6][4];
#pragma GCC unroll 4
        for (int j = 0; j < MW; ++j) {
            vf column[4], v[6];
#pragma GCC unroll 4
            for (int i = 0; i < MH; ++i) column[i] = load(d + i * step_h + j * step_w);
            gradient_1d<MH>(column, v);
#pragma GCC unroll 6
            for (int i = 0; i < MH + 2; ++i) half[i][j] = v[i];
        }
#pragma GCC unroll 6
        for (int i = 0; i < MH + 2; ++i) {
            vf v[6];
            gradient_1d<MW>(half[i], v);
#pragma GCC unroll 6
            for (int j = 0; j < MW + 2; ++j) store(to[j] + i * 6 * kStep + at * chunk, v[j]);
        }
    }
}

// y = A'MA + bias of one vector of channels.
template <int MH, int MW, int kStep>
void output_tile(const Components<const float>& in, vf bias, float* y, int64_t step_h, int64_t step_w,
                 Tail lanes, bool whole) {
    vf half[6][6];
#pragma GCC unroll 6
    for (int j = 0; j < MW + 2; ++j) {
        const float* from = in.column(j) + j * kStep;
        vf m[6], v[4];
#pragma GCC unroll 6
        for (int i = 0; i < MH + 2; ++i) {
            m[i] = load(from + i * 6 * kStep);
            __builtin_prefetch(from + i * 6 * kStep + VL, 0, 3);  // of the next vector or tile
        }
        output_1d<MH>(m, v);
#pragma GCC unroll 4
        for (int i = 0; i < MH; ++i) half[i][j] = v[i];
    }
#pragma GCC unroll 4
    for (int i = 0; i < MH; ++i) {
        vf v[4];
        output_1d<MW>(half[i], v);
        float* row = y + i * step_h;
        if (whole) {
#pragma GCC unroll 4
            for (int j = 0; j < MW; ++j) store(row + j * step_w, v[j] + bias);
        } else {
#pragma GCC unroll 4
            for (int j = 0; j < MW; ++j) store(row + j * step_w, v[j] + bias, lanes);
        }
    }
}

template <int kStep>
struct InputTile {
    using Function = void (*)(const float*, int64_t, int64_t, int64_t, const Components<float>&, int64_t);
    template <int MH, int MW>
    static Function get() {
        return &input_tile<MH, MW, kStep>;
    }
};
template <int kStep>
struct GradientTile {
    using Function = typename InputTile<kStep>::Function;
    template <int MH, int MW>
    static Function get() {
        return &gradient_tile<MH, MW, kStep>;
    }
};
template <int kStep>
struct OutputTile {
    using Function = void (*)(const Components<const float>&, vf, float*, int64_t, int64_t, Tail, bool);
    template <int MH, int MW>
    static Function get() {
        return &output_tile<MH, MW, kStep>;
    }
};

template <class Pick, int MH>
inline typename Pick::Function pick_tile(int64_t mw) {
    switch (mw) {
        case 1:
            return Pick::template get<MH, 1>();
        case 2:
            return Pick::template get<MH, 2>();
        case 3:
            return Pick::template get<MH, 3>();
        default:
            return Pick::template get<MH, 4>();
    }
}
// The instance for tiles of mh x mw outputs, 1 to 4 each.
template <class Pick>
inline typename Pick::Function pick_tile(int64_t mh, int64_t mw) {
    switch (mh) {
        case 1:
            return pick_tile<Pick, 1>(mw);
        case 2:
            return pick_tile<Pick, 2>(mw);
        case 3:
            return pick_tile<Pick, 3>(mw);
        default:
            return pick_tile<Pick, 4>(mw);
    }
}

}  // namespace
}  // namespace fastconv::FC_ISA_NS
