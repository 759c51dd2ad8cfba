#include <cmath>

#include "ops/activation/kernels.h"

namespace fastconv {
namespace {

const double kInvSqrt2 = 0.70710678118654752440;
const double kInvSqrt2Pi = 0.39894228040143267794;
const double k2OverSqrtPi = 1.12837916709551257390;
const double kSeluAlpha = 1.67326324235437728481, kSeluScale = 1.05070098735548049342;
const double kSqrt2OverPi = 0.79788456080286535588;

template <class T>
T sigmoid(T x) {
    return T(1) / (T(1) + std::exp(-x));
}
// tanh(log(1 + e^x)) = n / (n + 2) with n = (1 + e^x)^2 - 1; 1 less its square is 4 (n + 1) / (n + 2)^2.
template <class T>
T mish_gate(T x) {
    const T e = std::exp(x > T(40) ? T(40) : x), n = e * (e + T(2));
    return n / (n + T(2));
}

template <class T>
T forward(Activation kind, T slope, T bound, T x) {
    switch (kind) {
        case Activation::relu:
            return x < T(0) ? T(0) : x;
        case Activation::relu6:
            return x < T(0) ? T(0) : x > T(6) ? T(6) : x;
        case Activation::leaky_relu:
            return x < T(0) ? x * slope : x;
        case Activation::sigmoid:
            return sigmoid(x);
        case Activation::tanh:
            return std::tanh(x);
        case Activation::gelu:
            return x * T(0.5) * std::erfc(-x * T(kInvSqrt2));
        case Activation::gelu_tanh:
            return T(0.5) * x * (T(1) + std::tanh(T(kSqrt2OverPi) * (x + T(0.044715) * x * x * x)));
        case Activation::elu:
            return x <= T(0) ? slope * std::expm1(x) : x;
        case Activation::selu:
            return T(kSeluScale) * (x <= T(0) ? T(kSeluAlpha) * std::expm1(x) : x);
        case Activation::celu:
            return x <= T(0) ? slope * std::expm1(x / slope) : x;
        case Activation::hardsigmoid:
            return (x < T(-3) ? T(0) : x > T(3) ? T(6) : x + T(3)) / T(6);
        case Activation::hardswish:
            return x * (x < T(-3) ? T(0) : x > T(3) ? T(6) : x + T(3)) / T(6);
        case Activation::hardtanh:
        case Activation::clamp:
            x = x < slope ? slope : x;
            return x > bound ? bound : x;
        case Activation::silu:
            return x / (T(1) + std::exp(-x));
        case Activation::softplus: {
            const T z = x * slope;
            return z > bound ? x : ((z > T(0) ? z : T(0)) + std::log1p(std::exp(-std::abs(z)))) / slope;
        }
        case Activation::mish:
            return x * mish_gate(x);
        case Activation::neg:
            return -x;
        case Activation::abs:
            return std::abs(x);
        case Activation::exp:
            return std::exp(x);
        case Activation::log:
            return std::log(x);
        case Activation::sqrt:
            return std::sqrt(x);
        case Activation::reciprocal:
            return T(1) / x;
        case Activation::erf:
            return std::erf(x);
        case Activation::sign:
            return x > T(0) ? T(1) : x < T(0) ? T(-1) : x;
        case Activation::floor:
            return std::floor(x);
        case Activation::ceil:
            return std::ceil(x);
        case Activation::round:
            return std::nearbyint(x);
        case Activation::threshold:
            return x <= slope ? bound : x;
        case Activation::hardshrink:
            return std::abs(x) <= slope ? T(0) : x;
    }
    return x;
}

template <class T>
T derivative(Activation kind, T slope, T bound, T saved) {
    const T s = saved;
    switch (kind) {
        case Activation::relu:
            return s <= T(0) ? T(0) : T(1);
        case Activation::relu6:
            return s > T(0) && s < T(6) ? T(1) : T(0);
        case Activation::leaky_relu:
            return s > T(0) ? T(1) : slope;
        case Activation::sigmoid:
            return s * (T(1) - s);
        case Activation::tanh:
            return T(1) - s * s;
        case Activation::gelu:
            return T(0.5) * std::erfc(-s * T(kInvSqrt2)) + s * T(kInvSqrt2Pi) * std::exp(T(-0.5) * s * s);
        case Activation::gelu_tanh: {
            const T t = std::tanh(T(kSqrt2OverPi) * (s + T(0.044715) * s * s * s));
            const T inner = T(kSqrt2OverPi) * (T(1) + T(3 * 0.044715) * s * s);
            return T(0.5) * (T(1) + t) + T(0.5) * s * (T(1) - t * t) * inner;
        }
        case Activation::elu:
            return s <= T(0) ? slope * std::exp(s) : T(1);
        case Activation::selu:
            return T(kSeluScale) * (s <= T(0) ? T(kSeluAlpha) * std::exp(s) : T(1));
        case Activation::celu:
            return s <= T(0) ? std::exp(s / slope) : T(1);
        case Activation::hardsigmoid:
            return s > T(-3) && s < T(3) ? T(1) / T(6) : T(0);
        case Activation::hardswish:
            return s <= T(-3) ? T(0) : s < T(3) ? s / T(3) + T(0.5) : T(1);
        case Activation::hardtanh:
            return s <= slope || s >= bound ? T(0) : T(1);
        case Activation::clamp:
            return s >= slope && s <= bound ? T(1) : T(0);
        case Activation::silu: {
            const T gate = sigmoid(s);
            return gate * (T(1) + s * (T(1) - gate));
        }
        case Activation::softplus:
            return s * slope > bound ? T(1) : sigmoid(s * slope);
        case Activation::mish: {
            if (s > T(40)) return T(1);
            const T e = std::exp(s), n = e * (e + T(2)), gate = n / (n + T(2));
            return gate + s * (e / (T(1) + e)) * T(4) * (n + T(1)) / ((n + T(2)) * (n + T(2)));
        }
        case Activation::neg:
            return T(-1);
        case Activation::abs:
            return s > T(0) ? T(1) : s < T(0) ? T(-1) : s;
        case Activation::exp:
            return s;
        case Activation::log:
            return T(1) / s;
        case Activation::sqrt:
            return T(0.5) / s;
        case Activation::reciprocal:
            return -s * s;
        case Activation::erf:
            return T(k2OverSqrtPi) * std::exp(-s * s);
        case Activation::sign:
        case Activation::floor:
        case Activation::ceil:
        case Activation::round:
            return T(0);
        case Activation::threshold:
            return s <= slope ? T(0) : T(1);
        case Activation::hardshrink:
            return std::abs(s) <= slope ? T(0) : T(1);
    }
    return T(0);
}

}  // namespace

template <class T>
void activation_reference(Activation kind, ActivationNumbers numbers, const T* x, T* y, int64_t n) {
    for (int64_t i = 0; i < n; ++i) y[i] = forward(kind, T(numbers.slope), T(numbers.bound), x[i]);
}

template <class T>
void activation_backward_reference(Activation kind, ActivationNumbers numbers, const T* saved, const T* dy,
                                   T* dx, int64_t n) {
    for (int64_t i = 0; i < n; ++i)
        dx[i] = dy[i] * derivative(kind, T(numbers.slope), T(numbers.bound), saved[i]);
}

template void activation_reference<float>(Activation, ActivationNumbers, const float*, float*, int64_t);
template void activation_reference<double>(Activation, ActivationNumbers, const double*, double*, int64_t);
template void activation_backward_reference<float>(Activation, ActivationNumbers, const float*, const float*,
                                                   float*, int64_t);
template void activation_backward_reference<double>(Activation, ActivationNumbers, const double*,
                                                    const double*, double*, int64_t);

}  // namespace fastconv
