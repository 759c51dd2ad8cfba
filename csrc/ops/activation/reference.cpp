#include <cmath>

#include "ops/activation/kernels.h"

namespace fastconv {
namespace {

const double kInvSqrt2 = 0.70710678118654752440;
const double kInvSqrt2Pi = 0.39894228040143267794;
const double kSqrt2OverPi = 0.79788456080286535588;

template <class T>
T forward(Activation kind, T slope, T x) {
    switch (kind) {
        case Activation::relu:
            return x < T(0) ? T(0) : x;
        case Activation::relu6:
            return x < T(0) ? T(0) : x > T(6) ? T(6) : x;
        case Activation::leaky_relu:
            return x < T(0) ? x * slope : x;
        case Activation::sigmoid:
            return T(1) / (T(1) + std::exp(-x));
        case Activation::tanh:
            return std::tanh(x);
        case Activation::gelu:
            return x * T(0.5) * std::erfc(-x * T(kInvSqrt2));
        case Activation::gelu_tanh:
            return T(0.5) * x * (T(1) + std::tanh(T(kSqrt2OverPi) * (x + T(0.044715) * x * x * x)));
    }
    return x;
}

template <class T>
T derivative(Activation kind, T slope, T saved) {
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
    }
    return T(0);
}

}  // namespace

template <class T>
void activation_reference(Activation kind, double slope, const T* x, T* y, int64_t n) {
    for (int64_t i = 0; i < n; ++i) y[i] = forward(kind, T(slope), x[i]);
}

template <class T>
void activation_backward_reference(Activation kind, double slope, const T* saved, const T* dy, T* dx,
                                   int64_t n) {
    for (int64_t i = 0; i < n; ++i) dx[i] = dy[i] * derivative(kind, T(slope), saved[i]);
}

template void activation_reference<float>(Activation, double, const float*, float*, int64_t);
template void activation_reference<double>(Activation, double, const double*, double*, int64_t);
template void activation_backward_reference<float>(Activation, double, const float*, const float*, float*,
                                                   int64_t);
template void activation_backward_reference<double>(Activation, double, const double*, const double*, double*,
                                                    int64_t);

}  // namespace fastconv
