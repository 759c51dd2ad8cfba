// Element-wise activation functions, forward and backward.
#pragma once

#include <cstdint>
#include <string>

#include "fastconv/types.h"

namespace fastconv {

enum class Activation : uint8_t { relu, relu6, leaky_relu, sigmoid, tanh, gelu, gelu_tanh };

// The function called `name`; ShapeError for an unknown one.
Activation activation_from_name(const std::string& name);

// Whether the backward pass reads the forward's output (relu, sigmoid, tanh ...) or its input (gelu).
bool activation_saves_output(Activation kind);

// y = f(x), element by element. `slope` is leaky_relu's; float32 or float64.
void activation_forward(Activation kind, double slope, const TensorView& x, const TensorView& y);

// dx = dy * f'(x), where `saved` is y or x as activation_saves_output says.
void activation_backward(Activation kind, double slope, const TensorView& saved, const TensorView& dy,
                         const TensorView& dx);

}  // namespace fastconv
