// Vector transcendental functions, written once over the ISA's vf. Included by simd.h.
#pragma once

namespace fastconv::FC_ISA_NS {
namespace {

// e^x to about 1 ulp: x = n ln2 + r with |r| <= ln2/2, a degree-6 polynomial for e^r (Cephes' expf
// coefficients), scaled by 2^n in two steps so that results down to the denormals are right. NaN stays NaN.
inline vf exp(vf x) {
    const vf clamped = min(max(x, set1(-104.0f)), set1(89.0f));
    const vf n = round_nearest(clamped * set1(1.44269504088896341f));
    vf r = fma(n, set1(-0.693359375f), clamped);
    r = fma(n, set1(2.12194440e-4f), r);
    vf p = set1(1.9875691500e-4f);
    p = fma(p, r, set1(1.3981999507e-3f));
    p = fma(p, r, set1(8.3334519073e-3f));
    p = fma(p, r, set1(4.1665795894e-2f));
    p = fma(p, r, set1(1.6666665459e-1f));
    p = fma(p, r, set1(5.0000001201e-1f));
    p = fma(p, r * r, r + set1(1.0f));
    const vf half = round_nearest(n * set1(0.5f));
    p = p * pow2(to_int(half)) * pow2(to_int(n - half));
    return select(unordered(x, x), x, p);
}

// tanh to 5 ulp: x P(x^2) / Q(x^2), fitted to a relative 2e-8 up to |x| = 9, where tanh rounds to 1. One
// division and a dozen multiply-adds: a third of the time that e^2x takes.
inline vf tanh(vf x) {
    const vf a = min(max(x, set1(-9.0f)), set1(9.0f));
    const vf z = a * a;
    vf p = set1(1.3353797369e-08f), q = set1(7.7762354335e-07f);
    p = fma(p, z, set1(2.0608568732e-05f));
    q = fma(q, z, set1(3.2855889059e-04f));
    p = fma(p, z, set1(3.4955625745e-03f));
    q = fma(q, z, set1(2.5876891273e-02f));
    p = fma(p, z, set1(1.3381006154e-01f));
    q = fma(q, z, set1(4.6714321801e-01f));
    p = fma(p, z, set1(9.9999997953e-01f));
    q = fma(q, z, set1(1.0f));
    const vf y = min(max(a * p / q, set1(-1.0f)), set1(1.0f));
    return select(unordered(x, x), x, y);
}

// e^x - 1 for x <= 0, to 1.5 ulp: with e^r - 1 = q by the polynomial above, 2^n q + (2^n - 1).
inline vf expm1_negative(vf x) {
    const vf clamped = max(set1(-80.0f), min(zero(), x));
    const vf n = round_nearest(clamped * set1(1.44269504088896341f));
    vf r = fma(n, set1(-0.693359375f), clamped);
    r = fma(n, set1(2.12194440e-4f), r);
    vf p = set1(1.9875691500e-4f);
    p = fma(p, r, set1(1.3981999507e-3f));
    p = fma(p, r, set1(8.3334519073e-3f));
    p = fma(p, r, set1(4.1665795894e-2f));
    p = fma(p, r, set1(1.6666665459e-1f));
    p = fma(p, r, set1(5.0000001201e-1f));
    const vf power = pow2(to_int(n));
    return select(unordered(x, x), x, fma(power, fma(p, r * r, r), power - set1(1.0f)));
}

// 2 atanh(s) / s from z = s^2, for s up to 1/3: the ninth term of the series is below 3^-16 / 17 of the
// first.
inline vf atanh_series(vf z) {
    vf p = set1(2.0f / 15);
    p = fma(p, z, set1(2.0f / 13));
    p = fma(p, z, set1(2.0f / 11));
    p = fma(p, z, set1(2.0f / 9));
    p = fma(p, z, set1(2.0f / 7));
    p = fma(p, z, set1(2.0f / 5));
    p = fma(p, z, set1(2.0f / 3));
    return fma(p, z, set1(2.0f));
}

// The natural logarithm to 2 ulp: x = 2^e m with m in [sqrt 1/2, sqrt 2), log m = 2 atanh((m - 1) / (m + 1)).
inline vf log(vf x) {
    vf m = mantissa(x), e = exponent(x);
    const vm high = less(set1(1.41421356f), m);
    m = select(high, m * set1(0.5f), m);
    e = select(high, e + set1(1.0f), e);
    const vf f = m - set1(1.0f), s = f / (m + set1(1.0f));
    const vf low = fma(e, set1(-2.12194440e-4f), atanh_series(s * s) * s);
    vf y = fma(e, set1(0.693359375f), low);
    y = select(less(x, set1(__builtin_inff())), y, x);  // infinity and NaN
    y = select(less(x, zero()), set1(__builtin_nanf("")), y);
    return select(equal(x, zero()), set1(-__builtin_inff()), y);
}

// log(1 + e^x) = max(x, 0) + log1p(e), e = e^-|x| in (0, 1]; log1p(e) = 2 atanh(e / (2 + e)).
inline vf softplus(vf x) {
    const vf e = exp(zero() - abs(x));
    const vf s = e / (e + set1(2.0f));
    return fma(atanh_series(s * s), s, max(zero(), x));
}

// 1 / (1 + e^-x).
inline vf sigmoid(vf x) { return set1(1.0f) / (set1(1.0f) + exp(zero() - x)); }

}  // namespace
}  // namespace fastconv::FC_ISA_NS
