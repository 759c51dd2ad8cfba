// wgrad of few input channels on NCHW arrays: dW[o, c, r, s] is the dot product of dy's plane with x's plane
// moved by (r, s). Lanes run along the pixels of a row; a tile holds several filters by several shifts of one
// row.
#include "cpu/parallel.h"
#include "ops/conv2d/cpu/prefetch.h"
#include "ops/conv2d/gather.h"

namespace fastconv::FC_ISA_NS {
namespace {

// 4x5 sums, 4 values of dy and one of x fit 32 registers; 2x5 fit 16.
#if defined(FC_ISA_AVX512)
constexpr int kMostFilters = 4;
#else
constexpr int kMostFilters = 2;
#endif
constexpr int kMostShifts = 5;

// One image: sums[i][s] += over rows and columns of dy[i] * x moved by s. Plane strides in elements.
struct Planes {
    const float* dy;
    const float* x;
    int64_t rows, cols, dy_plane, x_row, shift;
    float* sums;  // vectors; filters are sums_filter floats apart, shifts VL
    int64_t sums_filter;
};

// One vector of pixels: each of dy and of the shifts of x is loaded once.
template <int F, int S, class Load>
inline void step(const Planes& p, const Load& get, const float* dy, const float* x, vf (&acc)[F][S]) {
    vf g[F];
#pragma GCC unroll 4
    for (int i = 0; i < F; ++i) g[i] = once(get(dy + i * p.dy_plane));
#pragma GCC unroll 5
    for (int s = 0; s < S; ++s) {
        const vf v = once(get(x + s * p.shift));
#pragma GCC unroll 4
        for (int i = 0; i < F; ++i) acc[i][s] = fma(g[i], v, acc[i][s]);
    }
}

template <int F, int S>
void tile(const Planes& p) {
    vf acc[F][S];
#pragma GCC unroll 4
    for (int i = 0; i < F; ++i)
#pragma GCC unroll 5
        for (int s = 0; s < S; ++s) acc[i][s] = load(p.sums + i * p.sums_filter + s * VL);
    const Tail rest = tail(p.cols % VL);
    for (int64_t row = 0; row < p.rows; ++row) {
        const float *dy = p.dy + row * p.cols, *x = p.x + row * p.x_row;
        int64_t q = 0;
        for (; q + VL <= p.cols; q += VL)
            step<F, S>(p, [&](const float* at) { return load(at + q); }, dy, x, acc);
        if (q < p.cols) step<F, S>(p, [&](const float* at) { return load(at + q, rest); }, dy, x, acc);
    }
#pragma GCC unroll 4
    for (int i = 0; i < F; ++i)
#pragma GCC unroll 5
        for (int s = 0; s < S; ++s) store(p.sums + i * p.sums_filter + s * VL, acc[i][s]);
}

using Tile = void (*)(const Planes&);

template <int F>
Tile of_shifts(int64_t shifts) {
    static constexpr Tile tiles[] = {&tile<F, 1>, &tile<F, 2>, &tile<F, 3>, &tile<F, 4>, &tile<F, 5>};
    return tiles[shifts - 1];
}

Tile pick(int64_t filters, int64_t shifts) {
    switch (filters) {
        case 1:
            return of_shifts<1>(shifts);
        case 2:
            return of_shifts<2>(shifts);
#if defined(FC_ISA_AVX512)
        case 3:
            return of_shifts<3>(shifts);
#endif
        default:
            return of_shifts<kMostFilters>(shifts);
    }
}

}  // namespace

int64_t shift_wgrad_partial(const ShiftWgrad& g) {
    return g.splits * g.groups * g.width * g.depth * g.r * g.s * VL;
}

void shift_wgrad_run(const ShiftWgrad& g, float* partial, float* dweight) {
    const int64_t filter = g.depth * g.r * g.s * VL;  // floats of a filter's sums
    const int64_t size = g.groups * g.width * filter;
    const int64_t f_tiles = ceil_div(g.width, kMostFilters), s_tiles = ceil_div(g.s, kMostShifts);
    parallel_for(g.splits, 1, [&](int64_t begin, int64_t end, int) {
        for (int64_t split = begin; split < end; ++split) {
            float* sums = partial + split * size;
            zero_floats(sums, size);
            const int64_t n1 = (split + 1) * g.n / g.splits;
            for (int64_t n = split * g.n / g.splits; n < n1; ++n)
                for (int64_t group = 0; group < g.groups; ++group)
                    for (int64_t c = 0; c < g.depth; ++c)
                        for (int64_t r = 0; r < g.r; ++r)
                            for (int64_t f = 0; f < f_tiles; ++f)
                                for (int64_t t = 0; t < s_tiles; ++t) {
                                    const int64_t o0 = f * g.width / f_tiles,
                                                  o1 = (f + 1) * g.width / f_tiles;
                                    const int64_t s0 = t * g.s / s_tiles, s1 = (t + 1) * g.s / s_tiles;
                                    const int64_t out = group * g.width + o0;
                                    const Planes planes{
                                        g.dy + (n * g.groups * g.width + out) * g.rows * g.cols,
                                        g.x + (n * g.groups + group) * g.depth * g.x_plane + c * g.x_plane +
                                            r * g.tap_row + s0 * g.tap_column,
                                        g.rows,
                                        g.cols,
                                        g.rows * g.cols,
                                        g.x_row,
                                        g.tap_column,
                                        sums + out * filter + ((c * g.r + r) * g.s + s0) * VL,
                                        filter};
                                    pick(o1 - o0, s1 - s0)(planes);
                                }
        }
    });
    for (int64_t i = 0; i < size / VL; ++i) {
        float total = 0;
        for (int64_t split = 0; split < g.splits; ++split)
            total += sum(load(partial + split * size + i * VL));
        dweight[i] = total;
    }
}

}  // namespace fastconv::FC_ISA_NS
