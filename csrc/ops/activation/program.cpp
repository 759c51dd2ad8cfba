// Nodes: activation(x), activation_backward(saved, dy); attributes kind, slope and, where it is not 0, bound.
#include "core/checks.h"
#include "ops/activation/activation.h"
#include "program/registry.h"

namespace fastconv::program {
namespace {

std::vector<Type> same_as_first(const Call& c) {
    const size_t operands = c.name == std::string("activation") ? 1 : 2;
    c.operands(operands, operands);
    activation_from_name(c.attributes.get<std::string>("kind"));
    require_float(c.name, "input", c.in[0].dtype);
    if (operands == 2) {
        require_dtype(c.name, "grad_output", c.in[1].dtype, c.in[0].dtype);
        require_shape(c.name, "grad_output", c.in[1].shape, c.in[0].shape);
    }
    return {c.in[0]};
}

ActivationNumbers numbers_of(const Call& c) {
    const Attributes& a = c.attributes;
    return {a.number("slope"), a.has("bound") ? a.number("bound") : 0};
}

std::unique_ptr<Step> forward(const Call& c) {
    const Activation kind = activation_from_name(c.attributes.get<std::string>("kind"));
    const ActivationNumbers numbers = numbers_of(c);
    return make_step([=, x = c.in[0]](const Frame& f) {
        activation_forward(kind, numbers, view_of(x, f.in[0]), view_of(x, f.out[0]));
    });
}

std::unique_ptr<Step> backward(const Call& c) {
    const Activation kind = activation_from_name(c.attributes.get<std::string>("kind"));
    const ActivationNumbers numbers = numbers_of(c);
    return make_step([=, x = c.in[0]](const Frame& f) {
        activation_backward(kind, numbers, view_of(x, f.in[0]), view_of(x, f.in[1]), view_of(x, f.out[0]));
    });
}

}  // namespace

void add_activation_kinds(KindList& list) {
    list.push_back({"activation", same_as_first, forward, 0, 1u});
    list.push_back({"activation_backward", same_as_first, backward, 0, 2u});
}

}  // namespace fastconv::program
