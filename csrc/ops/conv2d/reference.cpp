// Plain loops over the definition: the oracle for every other candidate, and the float64 path.
#include "core/bfloat16.h"
#include "core/checks.h"
#include "core/memory.h"
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

// Sums that are gathered in memory, in the type that T is computed in: T's own array, or scratch that is
// rounded to it at the end.
template <class T>
class Sums {
  public:
    Sums(T* target, int64_t count) : target_(target), count_(count) {
        if constexpr (std::is_same_v<T, Wide<T>>) {
            sums_ = target;
        } else {
            scratch_ = Workspace(static_cast<size_t>(count) * sizeof(Wide<T>));
            sums_ = scratch_.template as<Wide<T>>();
        }
    }
    Wide<T>& operator[](int64_t i) const { return sums_[i]; }
    void finish() const {
        if constexpr (!std::is_same_v<T, Wide<T>>)
            for (int64_t i = 0; i < count_; ++i) target_[i] = narrow<T>(sums_[i]);
    }

  private:
    T* target_;
    int64_t count_;
    Workspace scratch_;
    Wide<T>* sums_;
};

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
void conv2d_dgrad_reference(const Conv2dProblem& p, const T* w, const T* dy, const T* bias, T* dx) {
    const int64_t pixels = p.pixels_in(), count = p.n * p.c * pixels;
    const Sums<T> sums(dx, count);
    for (int64_t i = 0; i < count; ++i)
        sums[i] = bias ? widen(bias[p.layout == Layout::nchw ? i / pixels % p.c : i % p.c]) : Wide<T>(0);
    for_each_output(
        p, [](int64_t, int64_t) {},
        [&](int64_t xi, int64_t wi, int64_t yi) { sums[xi] += widen(w[wi]) * widen(dy[yi]); },
        [](int64_t) {});
    sums.finish();
}

template <class T>
void conv2d_wgrad_reference(const Conv2dProblem& p, const T* x, const T* dy, T* dw) {
    const int64_t count = element_count("conv2d_weight", p.weight_shape());
    const Sums<T> sums(dw, count);
    for (int64_t i = 0; i < count; ++i) sums[i] = Wide<T>(0);
    for_each_output(
        p, [](int64_t, int64_t) {},
        [&](int64_t xi, int64_t wi, int64_t yi) { sums[wi] += widen(x[xi]) * widen(dy[yi]); },
        [](int64_t) {});
    sums.finish();
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

template void conv2d_fprop_reference<float>(const Conv2dProblem&, const float*, const float*, const float*,
                                            float*);
template void conv2d_fprop_reference<double>(const Conv2dProblem&, const double*, const double*,
                                             const double*, double*);
template void conv2d_dgrad_reference<float>(const Conv2dProblem&, const float*, const float*, const float*,
                                            float*);
template void conv2d_dgrad_reference<double>(const Conv2dProblem&, const double*, const double*,
                                             const double*, double*);
template void conv2d_wgrad_reference<float>(const Conv2dProblem&, const float*, const float*, float*);
template void conv2d_wgrad_reference<double>(const Conv2dProblem&, const double*, const double*, double*);
template void conv2d_fprop_reference<bfloat16>(const Conv2dProblem&, const bfloat16*, const bfloat16*,
                                               const bfloat16*, bfloat16*);
template void conv2d_dgrad_reference<bfloat16>(const Conv2dProblem&, const bfloat16*, const bfloat16*,
                                               const bfloat16*, bfloat16*);
template void conv2d_wgrad_reference<bfloat16>(const Conv2dProblem&, const bfloat16*, const bfloat16*,
                                               bfloat16*);
template void conv2d_bias_grad_reference<double>(const Conv2dProblem&, const double*, double*);

}  // namespace fastconv
