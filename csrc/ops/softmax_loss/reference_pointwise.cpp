// Pointwise losses in plain loops.
#include <algorithm>
#include <cmath>

#include "ops/softmax_loss/kernels.h"

namespace fastconv {
namespace {

// log(1 + e^-x) without overflow.
double softplus_negative(double x) { return std::max(-x, 0.0) + std::log1p(std::exp(-std::abs(x))); }

template <class T>
double value(const PointLossInputs<T>& in, int64_t i) {
    const double x = in.x[i], t = in.t[i], d = x - t, size = std::abs(d);
    switch (in.kind) {
        case PointLoss::mse:
            return d * d;
        case PointLoss::l1:
            return size;
        case PointLoss::huber:
            return size <= in.delta ? 0.5 * d * d : in.delta * (size - 0.5 * in.delta);
        case PointLoss::bce:
            break;
    }
    // A NaN must not be lost in softplus_negative's max: (1 - t) x brings it back.
    const double positive = 1 + ((in.pos_weight ? double(in.pos_weight[i]) : 1.0) - 1) * t;
    return (in.weight ? double(in.weight[i]) : 1.0) * ((1 - t) * x + positive * softplus_negative(x));
}

template <class T>
double derivative(const PointLossInputs<T>& in, bool wrt_target, int64_t i) {
    const double x = in.x[i], t = in.t[i], d = x - t, sign = wrt_target ? -1 : 1;
    switch (in.kind) {
        case PointLoss::mse:
            return sign * 2 * d;
        case PointLoss::l1:
            return sign * (double(d > 0) - double(d < 0));
        case PointLoss::huber:
            return sign * (d > in.delta ? in.delta : d < -in.delta ? -in.delta : d);
        case PointLoss::bce:
            break;
    }
    const double weight = in.weight ? double(in.weight[i]) : 1.0;
    const double positive = in.pos_weight ? double(in.pos_weight[i]) : 1.0;
    if (wrt_target) return weight * ((positive - 1) * softplus_negative(x) - x);
    return weight * ((1 - t) - (1 + (positive - 1) * t) / (1 + std::exp(x)));
}

}  // namespace

template <class T>
void pointwise_loss_reference(const PointLossInputs<T>& in, int64_t n, T* each, double* blocks) {
    for (int64_t begin = 0; begin < n; begin += kLossBlock) {
        double total = 0;
        for (int64_t i = begin; i < std::min(n, begin + kLossBlock); ++i) {
            const double v = value(in, i);
            if (each) each[i] = static_cast<T>(v);
            total += v;
        }
        if (blocks) blocks[begin / kLossBlock] = total;
    }
}

template <class T>
void pointwise_loss_backward_reference(const PointLossInputs<T>& in, bool wrt_target, int64_t n,
                                       const LossGradient<T>& g, T* dx) {
    for (int64_t i = 0; i < n; ++i)
        dx[i] = static_cast<T>(double(g.data[g.each ? i : 0]) * g.scale * derivative(in, wrt_target, i));
}

#define FC_INSTANTIATE(T)                                                                     \
    template void pointwise_loss_reference(const PointLossInputs<T>&, int64_t, T*, double*);  \
    template void pointwise_loss_backward_reference(const PointLossInputs<T>&, bool, int64_t, \
                                                    const LossGradient<T>&, T*);
FC_INSTANTIATE(float)
FC_INSTANTIATE(double)
#undef FC_INSTANTIATE

}  // namespace fastconv
