// The activations as functions of one vector: for the op itself and for kernels that apply one as they store.
#pragma once

#include "cpu/simd/simd.h"
#include "ops/activation/activation.h"

namespace fastconv::FC_ISA_NS {
namespace {

// erfc(z) / 2 for z >= 0 by the Chebyshev fit of Press et al., Numerical Recipes, section 6.2 (fractional
// error below 1.2e-7).
inline vf half_erfc(vf z) {
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
    return set1(0.5f) * t * exp(p - z * z);
}

// Phi(x) = erfc(-x / sqrt 2) / 2 for the standard normal distribution.
inline vf normal_cdf(vf x) {
    const vf tail = half_erfc(abs(x) * set1(0.70710678118f));
    const vf cdf = select(less(x, zero()), tail, set1(1.0f) - tail);
    return select(unordered(x, x), x, cdf);
}

// (1 + tanh u) / 2 = sigmoid(2u), which does not cancel where u is very negative.
inline vf gelu_tanh_gate(vf x) {
    return sigmoid(set1(2 * 0.79788456080f) * fma(x * x * x, set1(0.044715f), x));
}

// Calls use(f) with f(vf) the activation, one of those that fuse.
template <class Use>
inline void with_activation(Activation kind, float slope, const Use& use) {
    const vf s = set1(slope);
    switch (kind) {
        // The second operand of max and min wins where x is NaN.
        case Activation::relu:
            return use([](vf v) { return max(zero(), v); });
        case Activation::relu6:
            return use([](vf v) { return min(set1(6.0f), max(zero(), v)); });
        case Activation::leaky_relu:
            return use([s](vf v) { return select(less(v, zero()), v * s, v); });
        case Activation::sigmoid:
            return use([](vf v) { return sigmoid(v); });
        case Activation::tanh:
            return use([](vf v) { return tanh(v); });
        case Activation::gelu:
            return use([](vf v) { return v * normal_cdf(v); });
        case Activation::gelu_tanh:
            return use([](vf v) { return v * gelu_tanh_gate(v); });
        default:
            return;
    }
}

// g where ReLU's output is above 0, or NaN, as in PyTorch.
inline vf relu_gradient(vf y, vf g) { return select(less(zero(), y), g, select(unordered(y, y), g, zero())); }

// Calls use(f) with f(vf saved, vf g) the gradient g times the derivative, `saved` being what
// activation_backward takes.
template <class Use>
inline void with_activation_gradient(Activation kind, float slope, const Use& use) {
    const vf s = set1(slope), one = set1(1.0f);
    switch (kind) {
        case Activation::relu:
            return use([](vf v, vf g) { return relu_gradient(v, g); });
        case Activation::relu6:
            return use([](vf v, vf g) {
                return select(less(zero(), v), select(less(v, set1(6.0f)), g, zero()), zero());
            });
        case Activation::leaky_relu:
            return use([s](vf v, vf g) { return select(less(zero(), v), g, g * s); });
        case Activation::sigmoid:
            return use([one](vf v, vf g) { return g * v * (one - v); });
        case Activation::tanh:
            return use([one](vf v, vf g) { return g * fma(zero() - v, v, one); });
        case Activation::gelu:
            return use([](vf v, vf g) {
                const vf density = set1(0.39894228040f) * exp(set1(-0.5f) * v * v);
                return g * fma(v, density, normal_cdf(v));
            });
        case Activation::gelu_tanh:
            return use([one](vf v, vf g) {
                const vf gate = gelu_tanh_gate(v);
                const vf inner = set1(2 * 0.79788456080f) * fma(set1(3 * 0.044715f), v * v, one);
                return g * fma(v * gate * (one - gate), inner, gate);
            });
        default:
            return;
    }
}

}  // namespace
}  // namespace fastconv::FC_ISA_NS
