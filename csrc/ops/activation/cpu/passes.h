// The functions that no other kernel applies, of one vector.
#pragma once

#include "ops/activation/cpu/functions.h"

namespace fastconv::FC_ISA_NS {
namespace {

constexpr float kSeluAlpha = 1.67326324f, kSeluScale = 1.05070099f;
constexpr float kInfinity = __builtin_inff();

inline vf negate(vf v) { return zero() - v; }
// `yes` where v > 0 or NaN, `no` where v <= 0.
inline vf where_positive(vf v, vf yes, vf no) {
    return select(less(zero(), v), yes, select(unordered(v, v), yes, no));
}
// `yes` where size > limit or v is NaN, `no` elsewhere.
inline vf beyond(vf limit, vf size, vf v, vf yes, vf no) {
    return select(less(limit, size), yes, select(unordered(v, v), yes, no));
}
// min(max(v + 3, 0), 6), NaN where v is.
inline vf shifted_relu6(vf v) { return min(set1(6.0f), max(zero(), v + set1(3.0f))); }
inline vf sign_of(vf v) {
    const vf one = set1(1.0f);
    return select(less(zero(), v), one, select(less(v, zero()), negate(one), v));
}

// tanh(log(1 + e^v)) = n / (n + 2), n = (1 + e^v)^2 - 1; 1 from v = 20 on.
struct MishGate {
    vf e, n, gate;
    explicit MishGate(vf v) {
        e = exp(min(set1(20.0f), v));
        n = e * (e + set1(2.0f));
        gate = n / (n + set1(2.0f));
    }
};

// The Maclaurin series of erf up to |x| = 1 (eleven terms: the next is below 2e-9 of the sum), 1 - erfc
// beyond.
inline vf erf(vf x) {
    const vf z = x * x;
    vf p = set1(1.4807192e-8f);
    p = fma(p, z, set1(-1.6365844e-7f));
    p = fma(p, z, set1(1.6462115e-6f));
    p = fma(p, z, set1(-1.4925650e-5f));
    p = fma(p, z, set1(1.2055333e-4f));
    p = fma(p, z, set1(-8.5483270e-4f));
    p = fma(p, z, set1(5.2239776e-3f));
    p = fma(p, z, set1(-2.6866170e-2f));
    p = fma(p, z, set1(1.1283792e-1f));
    p = fma(p, z, set1(-3.7612639e-1f));
    p = fma(p, z, set1(1.1283792f));
    const vf size = abs(x);
    const vf far = sign_of(x) * fma(set1(-2.0f), half_erfc(size), set1(1.0f));
    return select(unordered(x, x), x, select(less(size, set1(1.0f)), p * x, far));
}

// Calls use(f) with f(vf) the function, one of those that do not fuse.
template <class Use>
inline void with_function(Activation kind, ActivationNumbers numbers, const Use& use) {
    const vf a = set1(static_cast<float>(numbers.slope)), b = set1(static_cast<float>(numbers.bound));
    const vf one = set1(1.0f);
    switch (kind) {
        case Activation::elu:
            return use([a](vf v) { return where_positive(v, v, a * expm1_negative(v)); });
        case Activation::selu:
            return use([](vf v) {
                return set1(kSeluScale) * where_positive(v, v, set1(kSeluAlpha) * expm1_negative(v));
            });
        case Activation::celu:
            if (numbers.slope > 0)
                return use([a](vf v) { return where_positive(v, v, a * expm1_negative(v / a)); });
            // There the exponent is positive: e^u - 1 = -(e^-u - 1) e^u.
            return use([a](vf v) {
                const vf u = v / a;
                return where_positive(v, v, a * negate(expm1_negative(negate(u))) * exp(u));
            });
        case Activation::hardsigmoid:
            return use([](vf v) { return shifted_relu6(v) / set1(6.0f); });
        case Activation::hardswish:
            return use([](vf v) { return v * shifted_relu6(v) / set1(6.0f); });
        case Activation::hardtanh:
        case Activation::clamp:
            return use([a, b](vf v) { return min(b, max(a, v)); });
        case Activation::silu:
            return use([one](vf v) { return v / (one + exp(negate(v))); });
        case Activation::softplus:
            return use([a, b](vf v) {
                const vf z = v * a;
                return select(less(b, z), v, softplus(z) / a);
            });
        case Activation::mish:
            return use([](vf v) { return v * MishGate(v).gate; });
        case Activation::neg:
            return use([](vf v) { return v * set1(-1.0f); });
        case Activation::abs:
            return use([](vf v) { return abs(v); });
        case Activation::exp:
            return use([](vf v) { return exp(v); });
        case Activation::log:
            return use([](vf v) { return log(v); });
        case Activation::sqrt:
            return use([](vf v) { return sqrt(v); });
        case Activation::reciprocal:
            return use([one](vf v) { return one / v; });
        case Activation::erf:
            return use([](vf v) { return erf(v); });
        case Activation::sign:
            return use([](vf v) { return sign_of(v); });
        case Activation::floor:
            return use([](vf v) { return floor(v); });
        case Activation::ceil:
            return use([](vf v) { return set1(-1.0f) * floor(set1(-1.0f) * v); });
        case Activation::round:
            return use([](vf v) { return round_even(v); });
        case Activation::threshold:
            return use([a, b](vf v) { return beyond(a, v, v, v, b); });
        case Activation::hardshrink:
            return use([a](vf v) { return beyond(a, abs(v), v, v, zero()); });
        default:
            return;
    }
}

// Calls use(f) with f(vf saved, vf g) the gradient g times the derivative, `saved` being what
// activation_backward takes.
template <class Use>
inline void with_function_gradient(Activation kind, ActivationNumbers numbers, const Use& use) {
    const vf a = set1(static_cast<float>(numbers.slope)), b = set1(static_cast<float>(numbers.bound));
    const vf one = set1(1.0f), three = set1(3.0f);
    switch (kind) {
        case Activation::elu:
            return use([a](vf v, vf g) { return where_positive(v, g, g * a * exp(v)); });
        case Activation::selu:
            return use([](vf v, vf g) {
                return set1(kSeluScale) * g * where_positive(v, set1(1.0f), set1(kSeluAlpha) * exp(v));
            });
        case Activation::celu:
            return use([a](vf v, vf g) { return where_positive(v, g, g * exp(v / a)); });
        case Activation::hardsigmoid:
            return use([three](vf v, vf g) { return select(less(abs(v), three), g / set1(6.0f), zero()); });
        case Activation::hardswish:
            return use([three](vf v, vf g) {
                const vf inside = g * (v / three + set1(0.5f));
                return select(less(negate(three), v), select(less(v, three), inside, g),
                              select(unordered(v, v), inside, zero()));
            });
        case Activation::hardtanh:
            return use([a, b](vf v, vf g) {
                return select(less(a, v), select(less(v, b), g, zero()), select(unordered(v, v), g, zero()));
            });
        case Activation::clamp:
            return use([a, b](vf v, vf g) {
                const vf kept = select(less(v, a), zero(), select(less(b, v), zero(), g));
                return select(unordered(v, v), zero(), kept);
            });
        case Activation::silu:
            return use([one](vf v, vf g) {
                const vf gate = sigmoid(v);
                return g * gate * fma(v, one - gate, one);
            });
        case Activation::softplus:
            return use([a, b](vf v, vf g) {
                const vf z = v * a;
                return select(less(b, z), g, g * sigmoid(z));
            });
        case Activation::mish:
            return use([one](vf v, vf g) {
                const MishGate m(v);
                const vf two = set1(2.0f), below = m.n + two;
                const vf rest = v * (m.e / (one + m.e)) * (two / below) * (two * (m.n + one) / below);
                return select(less(set1(20.0f), v), g, g * (m.gate + rest));
            });
        case Activation::neg:
            return use([](vf, vf g) { return g * set1(-1.0f); });
        case Activation::abs:
            return use([](vf v, vf g) { return g * sign_of(v); });
        case Activation::exp:
            return use([](vf v, vf g) { return g * v; });
        case Activation::log:
            return use([](vf v, vf g) { return g / v; });
        case Activation::sqrt:
            return use([](vf v, vf g) { return g / (v + v); });
        case Activation::reciprocal:
            return use([](vf v, vf g) { return negate(g) * v * v; });
        case Activation::erf:
            return use([](vf v, vf g) { return g * set1(1.12837917f) * exp(negate(v) * v); });
        case Activation::sign:
        case Activation::floor:
        case Activation::ceil:
        case Activation::round:
            return use([](vf, vf) { return zero(); });
        case Activation::threshold:
            return use([a](vf v, vf g) { return beyond(a, v, v, g, zero()); });
        case Activation::hardshrink:
            return use([a](vf v, vf g) { return beyond(a, abs(v), v, g, zero()); });
        default:
            return;
    }
}

}  // namespace
}  // namespace fastconv::FC_ISA_NS
