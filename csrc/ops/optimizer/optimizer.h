// One step of an optimiser on one parameter, in place: SGD, Adam and AdamW, RMSprop, by torch.optim's
// formulas. A bfloat16 copy of the parameter is written too; where it was set to something else since the
// last step, the parameter takes its value first.
#pragma once

#include <cstdint>

#include "fastconv/types.h"

namespace fastconv {

// g += weight_decay * p;  b = momentum * b + (1 - dampening) * g (b = g on the first step);
// p -= lr * (nesterov ? g + momentum * b : b), or lr * g without momentum.
struct SgdParams {
    double lr = 0, momentum = 0, dampening = 0, weight_decay = 0;
    bool nesterov = false, first_step = false;
};
template <class T, class G = T>
struct SgdState {
    T* param = nullptr;
    const G* grad = nullptr;
    T* momentum_buffer = nullptr;  // null without momentum
    bfloat16* copy = nullptr;      // the parameter rounded, for a network that computes in bfloat16, or null
};

// Kingma and Ba, 2015. Decoupled weight decay (AdamW; Loshchilov and Hutter, 2019) shrinks the parameter
// first instead of adding to the gradient.
struct AdamParams {
    double lr = 0, beta1 = 0, beta2 = 0, eps = 0, weight_decay = 0;
    bool decoupled = false;
    int64_t step = 1;  // counts from 1
};
template <class T, class G = T>
struct AdamState {
    T* param = nullptr;
    const G* grad = nullptr;
    T* exp_avg = nullptr;
    T* exp_avg_sq = nullptr;
    bfloat16* copy = nullptr;
};

// v = alpha v + (1 - alpha) g^2; the step is g / (sqrt(v) + eps), or with `grad_avg` (centered)
// g / (sqrt(v - grad_avg^2) + eps); with momentum it is gathered in the buffer.
struct RmspropParams {
    double lr = 0, alpha = 0, eps = 0, weight_decay = 0, momentum = 0;
};
template <class T, class G = T>
struct RmspropState {
    T* param = nullptr;
    const G* grad = nullptr;
    T* square_avg = nullptr;
    T* momentum_buffer = nullptr;  // null without momentum
    T* grad_avg = nullptr;         // null unless centered
    bfloat16* copy = nullptr;
};

// n elements each. Parameter and state are T, float or double; the gradient G is T, or bfloat16 where T is
// float: float32 masters of a network that computes in bfloat16.
template <class T, class G>
void sgd_step(const SgdParams& p, const SgdState<T, G>& s, int64_t n);
template <class T, class G>
void adam_step(const AdamParams& p, const AdamState<T, G>& s, int64_t n);
template <class T, class G>
void rmsprop_step(const RmspropParams& p, const RmspropState<T, G>& s, int64_t n);

}  // namespace fastconv
