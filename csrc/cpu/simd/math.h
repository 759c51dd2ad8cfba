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

// tanh to about 2 ulp: an odd polynomial near 0, where 1 - 2/(e^2x + 1) would cancel.
inline vf tanh(vf x) {
    const vf a = abs(x);
    const vf e = exp(a + a);
    const vf far = set1(1.0f) - set1(2.0f) / (e + set1(1.0f));
    const vf z = x * x;
    vf p = set1(-5.70498872745e-3f);
    p = fma(p, z, set1(2.06390887954e-2f));
    p = fma(p, z, set1(-5.37397155531e-2f));
    p = fma(p, z, set1(1.33314422036e-1f));
    p = fma(p, z, set1(-3.33332819422e-1f));
    const vf near = fma(p * z, x, x);
    const vf signed_far = select(less(x, zero()), zero() - far, far);
    return select(less(a, set1(0.625f)), near, select(unordered(x, x), x, signed_far));
}

// 1 / (1 + e^-x).
inline vf sigmoid(vf x) { return set1(1.0f) / (set1(1.0f) + exp(zero() - x)); }

}  // namespace
}  // namespace fastconv::FC_ISA_NS
