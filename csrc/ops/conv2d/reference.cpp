// Plain loops over the definition: the oracle for every other candidate, and the float64 path.
#include "core/bfloat16.h"
#include "core/checks.h"
#include "ops/conv2d/kernels.h"

namespace fastconv {
namespace {

// Element strides of an (N, C, H, W) array kept in `layout` order.
struct Strides {
    int64_t n, c, h, w;
    Strides(Layout layout, int64_t channels, int64_t height, int64_t width) {
        n = channels * height * width;
        c = layout == Layout::nchw ? height * width : 1;
        w = layout == Layout::nchw ? 1 : channels;
        h = w * width;
    }
};

// Calls body(x offset, weight offset, y offset) for every multiplication of the convolution, in a fixed
// order: all terms of one y element, then the next.
template <class Begin, class Term, class End>
void for_each_output(const Conv2dProblem& p, const Begin& begin, const Term& term, const End& end) {
    const Strides xs(p.layout, p.c, p.h, p.w), ys(p.layout, p.k, p.p, p.q);
    const int64_t cg = p.group_c(), kg = p.group_k();
    for (int64_t n = 0; n < p.n; ++n)
        for (int64_t k = 0; k < p.k; ++k)
            for (int64_t i = 0; i < p.p; ++i)
                for (int64_t j = 0; j < p.q; ++j) {
                    const int64_t y = n * ys.n + k * ys.c + i * ys.h + j * ys.w;
                    begin(y, k);
                    for (int64_t c = 0; c < cg; ++c)
                        for (int64_t r = 0; r < p.r; ++r) {
                            const int64_t h = p.vertical.start(i) + r * p.vertical.dilation;
                            if (h < 0 || h >= p.h) continue;
                            for (int64_t s = 0; s < p.s; ++s) {
                                const int64_t w = p.horizontal.start(j) + s * p.horizontal.dilation;
                                if (w < 0 || w >= p.w) continue;
                                term(n * xs.n + (k / kg * cg + c) * xs.c + h * xs.h + w * xs.w,
                                     ((k * cg + c) * p.r + r) * p.s + s, y);
                            }
                        }
                    end(y);
                }
}

template <class T>
void round_to(T* result, const Wide<T>* sums, int64_t count) {
    if constexpr (!std::is_same_v<T, Wide<T>>)
        for (int64_t i = 0; i < count; ++i) result[i] = narrow<T>(sums[i]);
}

}  // namespace

template <class T>
void conv2d_fprop_reference(const Conv2dProblem& p, const T* x, const T* w, const T* bias, T* y) {
    Wide<T> sum = 0;
    for_each_output(
        p, [&](int64_t, int64_t k) { sum = bias ? widen(bias[k]) : Wide<T>(0); },
        [&](int64_t xi, int64_t wi, int64_t) { sum += widen(x[xi]) * widen(w[wi]); },
        [&](int64_t yi) { y[yi] = narrow<T>(sum); });
}

template <class T>
void conv2d_dgrad_reference(const Conv2dProblem& p, const T* w, const T* dy, const T* bias, T* dx,
                            Wide<T>* sums) {
    const int64_t pixels = p.pixels_in(), count = p.n * p.c * pixels;
    for (int64_t i = 0; i < count; ++i)
        sums[i] = bias ? widen(bias[p.layout == Layout::nchw ? i / pixels % p.c : i % p.c]) : Wide<T>(0);
    for_each_output(
        p, [](int64_t, int64_t) {},
        [&](int64_t xi, int64_t wi, int64_t yi) { sums[xi] += widen(w[wi]) * widen(dy[yi]); },
        [](int64_t) {});
    round_to(dx, sums, count);
}

template <class T>
void conv2d_wgrad_reference(const Conv2dProblem& p, const T* x, const T* dy, T* dw, Wide<T>* sums) {
    const int64_t count = element_count("conv2d_weight", p.weight_shape());
    for (int64_t i = 0; i < count; ++i) sums[i] = Wide<T>(0);
    for_each_output(
        p, [](int64_t, int64_t) {},
        [&](int64_t xi, int64_t wi, int64_t yi) { sums[wi] += widen(x[xi]) * widen(dy[yi]); },
        [](int64_t) {});
    round_to(dw, sums, count);
}

template <class T>
void conv2d_bias_grad_reference(const Conv2dProblem& p, const T* dy, T* dbias) {
    const Strides ys(p.layout, p.k, p.p, p.q);
    for (int64_t k = 0; k < p.k; ++k) {
        T sum = 0;
        for (int64_t n = 0; n < p.n; ++n)
            for (int64_t i = 0; i < p.pixels_out(); ++i) sum += dy[n * ys.n + k * ys.c + i * ys.w];
        dbias[k] = sum;
    }
}

#define FC_INSTANTIATE(T)                                                                                   \
    template void conv2d_fprop_reference(const Conv2dProblem&, const T*, const T*, const T*, T*);           \
    template void conv2d_dgrad_reference(const Conv2dProblem&, const T*, const T*, const T*, T*, Wide<T>*); \
    template void conv2d_wgrad_reference(const Conv2dProblem&, const T*, const T*, T*, Wide<T>*);
FC_INSTANTIATE(float)
FC_INSTANTIATE(double)
FC_INSTANTIATE(bfloat16)
#undef FC_INSTANTIATE
template void conv2d_bias_grad_reference<double>(const Conv2dProblem&, const double*, double*);

}  // namespace fastconv
