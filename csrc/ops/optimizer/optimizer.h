// One step of an optimiser on one parameter, in place: SGD, Adam and AdamW, RMSprop, by torch.optim's
// formulas.
#pragma once

#include <cstdint>

namespace fastconv {

// g += weight_decay * p;  b = momentum * b + (1 - dampening) * g (b = g on the first step);
// p -= lr * (nesterov ? g + momentum * b : b), or lr * g without momentum.
struct SgdParams {
    double lr = 0, momentum = 0, dampening = 0, weight_decay = 0;
    bool nesterov = false, first_step = false;
};
template <class T>
struct SgdState {
    T* param = nullptr;
    const T* grad = nullptr;
    T* momentum_buffer = nullptr;  // null without momentum
};

// Kingma and Ba, 2015. Decoupled weight decay (AdamW; Loshchilov and Hutter, 2019) shrinks the parameter
// first instead of adding to the gradient.
struct AdamParams {
    double lr = 0, beta1 = 0, beta2 = 0, eps = 0, weight_decay = 0;
    bool decoupled = false;
    int64_t step = 1;  // counts from 1
};
template <class T>
struct AdamState {
    T* param = nullptr;
    const T* grad = nullptr;
    T* exp_avg = nullptr;
    T* exp_avg_sq = nullptr;
};

// v = alpha v + (1 - alpha) g^2; the step is g / (sqrt(v) + eps), or with `grad_avg` (centered)
// g / (sqrt(v - grad_avg^2) + eps); with momentum it is gathered in the buffer.
struct RmspropParams {
    double lr = 0, alpha = 0, eps = 0, weight_decay = 0, momentum = 0;
};
template <class T>
struct RmspropState {
    T* param = nullptr;
    const T* grad = nullptr;
    T* square_avg = nullptr;
    T* momentum_buffer = nullptr;  // null without momentum
    T* grad_avg = nullptr;         // null unless centered
};

// n elements each; T is float or double.
template <class T>
void sgd_step(const SgdParams& p, const SgdState<T>& s, int64_t n);
template <class T>
void adam_step(const AdamParams& p, const AdamState<T>& s, int64_t n);
template <class T>
void rmsprop_step(const RmspropParams& p, const RmspropState<T>& s, int64_t n);

}  // namespace fastconv
