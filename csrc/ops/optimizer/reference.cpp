#include <cmath>

#include "ops/optimizer/kernels.h"

namespace fastconv {
namespace {

// a + w (b - a), from the nearer end.
template <class T>
T lerp(T a, T b, T w) {
    return w < T(0.5) ? a + w * (b - a) : b - (b - a) * (T(1) - w);
}

}  // namespace

template <class T>
void sgd_reference(const SgdParams& p, const SgdState<T>& s, int64_t n) {
    for (int64_t i = 0; i < n; ++i) {
        T g = s.grad[i] + T(p.weight_decay) * s.param[i];
        if (p.weight_decay == 0) g = s.grad[i];
        if (s.momentum_buffer) {
            T& b = s.momentum_buffer[i];
            b = p.first_step ? g : T(p.momentum) * b + T(1 - p.dampening) * g;
            g = p.nesterov ? g + T(p.momentum) * b : b;
        }
        s.param[i] -= T(p.lr) * g;
    }
}

template <class T>
void adam_reference(const AdamParams& p, const AdamFactors& f, const AdamState<T>& s, int64_t n) {
    for (int64_t i = 0; i < n; ++i) {
        T g = s.grad[i];
        if (p.decoupled)
            s.param[i] *= T(f.shrink);
        else if (p.weight_decay != 0)
            g += T(p.weight_decay) * s.param[i];
        s.exp_avg[i] = lerp(s.exp_avg[i], g, T(1 - p.beta1));
        s.exp_avg_sq[i] = T(p.beta2) * s.exp_avg_sq[i] + T(1 - p.beta2) * g * g;
        const T denominator = std::sqrt(s.exp_avg_sq[i]) / T(f.correction2_root) + T(p.eps);
        s.param[i] -= T(f.step_size) * (s.exp_avg[i] / denominator);
    }
}

template <class T>
void rmsprop_reference(const RmspropParams& p, const RmspropState<T>& s, int64_t n) {
    for (int64_t i = 0; i < n; ++i) {
        T g = s.grad[i];
        if (p.weight_decay != 0) g += T(p.weight_decay) * s.param[i];
        s.square_avg[i] = T(p.alpha) * s.square_avg[i] + T(1 - p.alpha) * g * g;
        T variance = s.square_avg[i];
        if (s.grad_avg) {
            s.grad_avg[i] = lerp(s.grad_avg[i], g, T(1 - p.alpha));
            variance -= s.grad_avg[i] * s.grad_avg[i];
        }
        T step = g / (std::sqrt(variance) + T(p.eps));
        if (s.momentum_buffer) step = s.momentum_buffer[i] = T(p.momentum) * s.momentum_buffer[i] + step;
        s.param[i] -= T(p.lr) * step;
    }
}

#define FC_INSTANTIATE(T)                                                                              \
    template void sgd_reference(const SgdParams&, const SgdState<T>&, int64_t);                        \
    template void adam_reference(const AdamParams&, const AdamFactors&, const AdamState<T>&, int64_t); \
    template void rmsprop_reference(const RmspropParams&, const RmspropState<T>&, int64_t);
FC_INSTANTIATE(float)
FC_INSTANTIATE(double)
#undef FC_INSTANTIATE

}  // namespace fastconv
