// Activations over the ISA's vectors, in float32 whatever the storage type. Each element is computed by the
// same instructions wherever it lies, so results do not depend on how the range is shared among threads.
#include "ops/activation/activation.h"

#include "cpu/parallel.h"
#include "cpu/simd/simd.h"
#include "ops/activation/kernels.h"

namespace fastconv::FC_ISA_NS {
namespace {

constexpr int64_t kGrain = 16384;

// Phi(x) = erfc(-x / sqrt 2) / 2 for the standard normal distribution; erfc by the Chebyshev fit of Press et
// al., Numerical Recipes, section 6.2 (fractional error below 1.2e-7).
inline vf normal_cdf(vf x) {
    const vf z = abs(x) * set1(0.70710678118f);
    const vf t = set1(1.0f) / fma(z, set1(0.5f), set1(1.0f));
    vf p = set1(0.17087277f);
    p = fma(p, t, set1(-0.82215223f));
    p = fma(p, t, set1(1.48851587f));
    p = fma(p, t, set1(-1.13520398f));
    p = fma(p, t, set1(0.27886807f));
    p = fma(p, t, set1(-0.18628806f));
    p = fma(p, t, set1(0.09678418f));
    p = fma(p, t, set1(0.37409196f));
    p = fma(p, t, set1(1.00002368f));
    p = fma(p, t, set1(-1.26551223f));
    const vf half_erfc = set1(0.5f) * t * exp(p - z * z);
    const vf cdf = select(less(x, zero()), half_erfc, set1(1.0f) - half_erfc);
    return select(unordered(x, x), x, cdf);
}

// (1 + tanh u) / 2 = sigmoid(2u), which does not cancel where u is very negative.
inline vf gelu_tanh_gate(vf x) {
    return sigmoid(set1(2 * 0.79788456080f) * fma(x * x * x, set1(0.044715f), x));
}

// Applies f to n elements, the last vector masked.
template <class T, class F>
inline void map(const T* x, T* y, int64_t n, const F& f) {
    parallel_for(n, kGrain, [&](int64_t begin, int64_t end, int) {
        int64_t i = begin;
        for (; i + VL <= end; i += VL) store(y + i, f(load(x + i)));
        if (i < end) store(y + i, f(load(x + i, tail(end - i))), tail(end - i));
    });
}

template <class T, class F>
inline void map2(const T* a, const T* b, T* y, int64_t n, const F& f) {
    parallel_for(n, kGrain, [&](int64_t begin, int64_t end, int) {
        int64_t i = begin;
        for (; i + VL <= end; i += VL) store(y + i, f(load(a + i), load(b + i)));
        const Tail t = tail(end - i);
        if (i < end) store(y + i, f(load(a + i, t), load(b + i, t)), t);
    });
}

template <class T>
void forward(Activation kind, float slope, const T* x, T* y, int64_t n) {
    const vf s = set1(slope);
    switch (kind) {
        // The second operand of max and min wins where x is NaN.
        case Activation::relu:
            return map(x, y, n, [](vf v) { return max(zero(), v); });
        case Activation::relu6:
            return map(x, y, n, [](vf v) { return min(set1(6.0f), max(zero(), v)); });
        case Activation::leaky_relu:
            return map(x, y, n, [s](vf v) { return select(less(v, zero()), v * s, v); });
        case Activation::sigmoid:
            return map(x, y, n, [](vf v) { return sigmoid(v); });
        case Activation::tanh:
            return map(x, y, n, [](vf v) { return tanh(v); });
        case Activation::gelu:
            return map(x, y, n, [](vf v) { return v * normal_cdf(v); });
        case Activation::gelu_tanh:
            return map(x, y, n, [](vf v) { return v * gelu_tanh_gate(v); });
    }
}

template <class T>
void backward(Activation kind, float slope, const T* saved, const T* dy, T* dx, int64_t n) {
    const vf s = set1(slope), one = set1(1.0f);
    switch (kind) {
        case Activation::relu:
            // Where the output is NaN the gradient passes, as in PyTorch.
            return map2(saved, dy, dx, n, [](vf v, vf g) {
                return select(less(zero(), v), g, select(unordered(v, v), g, zero()));
            });
        case Activation::relu6:
            return map2(saved, dy, dx, n, [](vf v, vf g) {
                return select(less(zero(), v), select(less(v, set1(6.0f)), g, zero()), zero());
            });
        case Activation::leaky_relu:
            return map2(saved, dy, dx, n, [s](vf v, vf g) { return select(less(zero(), v), g, g * s); });
        case Activation::sigmoid:
            return map2(saved, dy, dx, n, [one](vf v, vf g) { return g * v * (one - v); });
        case Activation::tanh:
            return map2(saved, dy, dx, n, [one](vf v, vf g) { return g * fma(zero() - v, v, one); });
        case Activation::gelu:
            return map2(saved, dy, dx, n, [](vf v, vf g) {
                const vf density = set1(0.39894228040f) * exp(set1(-0.5f) * v * v);
                return g * fma(v, density, normal_cdf(v));
            });
        case Activation::gelu_tanh:
            return map2(saved, dy, dx, n, [one](vf v, vf g) {
                const vf gate = gelu_tanh_gate(v);
                const vf inner = set1(2 * 0.79788456080f) * fma(set1(3 * 0.044715f), v * v, one);
                return g * fma(v * gate * (one - gate), inner, gate);
            });
    }
}

}  // namespace

void activation_f32(Activation kind, float slope, const float* x, float* y, int64_t n) {
    forward(kind, slope, x, y, n);
}
void activation_bf16(Activation kind, float slope, const bfloat16* x, bfloat16* y, int64_t n) {
    forward(kind, slope, x, y, n);
}
void activation_backward_f32(Activation kind, float slope, const float* saved, const float* dy, float* dx,
                             int64_t n) {
    backward(kind, slope, saved, dy, dx, n);
}
void activation_backward_bf16(Activation kind, float slope, const bfloat16* saved, const bfloat16* dy,
                              bfloat16* dx, int64_t n) {
    backward(kind, slope, saved, dy, dx, n);
}

}  // namespace fastconv::FC_ISA_NS
