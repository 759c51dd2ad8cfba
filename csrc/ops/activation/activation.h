// Functions of one value, forward and backward: activations, and the elementary functions of arithmetic.
#pragma once

#include <cstdint>
#include <string>

#include "fastconv/types.h"

namespace fastconv {

enum class Activation : uint8_t {
    // Convolutions apply these as they store.
    relu,
    relu6,
    leaky_relu,
    sigmoid,
    tanh,
    gelu,
    gelu_tanh,
    // These are passes of their own.
    elu,
    selu,
    celu,
    hardsigmoid,
    hardswish,
    hardtanh,
    clamp,
    silu,
    softplus,
    mish,
    neg,
    abs,
    exp,
    log,
    sqrt,
    reciprocal,
    erf,
    sign,
    floor,
    ceil,
    round,
    threshold,
    hardshrink,
};

// What a function needs besides its argument. `slope`: leaky_relu's slope, elu's and celu's alpha, softplus's
// beta, the lower bound of hardtanh and clamp, where threshold and hardshrink begin to pass. `bound`:
// softplus's threshold, the upper bound of hardtanh and clamp, what threshold puts in place of the rest.
struct ActivationNumbers {
    double slope = 0, bound = 0;
};

// The function called `name`; ShapeError for an unknown one.
Activation activation_from_name(const std::string& name);

// Whether convolutions apply the function, or its gradient, as they store their results.
bool activation_fuses(Activation kind);

// y = f(x), element by element; float32, float64 or bfloat16.
void activation_forward(Activation kind, ActivationNumbers numbers, const TensorView& x, const TensorView& y);

// dx = dy * f'(x), where `saved` is y for relu to tanh, hardtanh, exp, sqrt and reciprocal, else x.
// (leaky_relu takes either where the slope is not negative.)
void activation_backward(Activation kind, ActivationNumbers numbers, const TensorView& saved,
                         const TensorView& dy, const TensorView& dx);

}  // namespace fastconv
