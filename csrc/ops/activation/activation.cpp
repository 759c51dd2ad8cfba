#include "ops/activation/activation.h"

#include <iterator>

#include "core/checks.h"
#include "ops/activation/kernels.h"

namespace fastconv {

Activation activation_from_name(const std::string& name) {
    static constexpr const char* names[] = {
        "relu", "relu6", "leaky_relu",  "sigmoid",   "tanh",      "gelu",      "gelu_tanh",  "elu",
        "selu", "celu",  "hardsigmoid", "hardswish", "hardtanh",  "clamp",     "silu",       "softplus",
        "mish", "neg",   "abs",         "exp",       "log",       "sqrt",      "reciprocal", "erf",
        "sign", "floor", "ceil",        "round",     "threshold", "hardshrink"};
    for (size_t i = 0; i < std::size(names); ++i)
        if (name == names[i]) return static_cast<Activation>(i);
    throw ShapeError("activation: unknown function '" + name + "'");
}

bool activation_fuses(Activation kind) { return kind <= Activation::gelu_tanh; }

void activation_forward(Activation kind, ActivationNumbers numbers, const TensorView& x,
                        const TensorView& y) {
    const int64_t n = element_count("activation", x.shape);
    if (x.dtype == DType::f32)
        return FC_ISA_PICK(activation_f32)(kind, numbers, x.as<float>(), y.as<float>(), n);
    if (x.dtype == DType::bf16)
        return FC_ISA_PICK(activation_bf16)(kind, numbers, x.as<bfloat16>(), y.as<bfloat16>(), n);
    activation_reference(kind, numbers, x.as<double>(), y.as<double>(), n);
}

void activation_backward(Activation kind, ActivationNumbers numbers, const TensorView& saved,
                         const TensorView& dy, const TensorView& dx) {
    const int64_t n = element_count("activation", dy.shape);
    if (dy.dtype == DType::f32)
        return FC_ISA_PICK(activation_backward_f32)(kind, numbers, saved.as<float>(), dy.as<float>(),
                                                    dx.as<float>(), n);
    if (dy.dtype == DType::bf16)
        return FC_ISA_PICK(activation_backward_bf16)(kind, numbers, saved.as<bfloat16>(), dy.as<bfloat16>(),
                                                     dx.as<bfloat16>(), n);
    activation_backward_reference(kind, numbers, saved.as<double>(), dy.as<double>(), dx.as<double>(), n);
}

}  // namespace fastconv
