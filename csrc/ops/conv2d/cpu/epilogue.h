// Residual and activation, or an activation's gradient, applied to results on their way out: float32 ones
// that have just been stored and still lie in cache, bfloat16 ones before they are rounded.
#pragma once

#include "ops/activation/cpu/functions.h"
#include "ops/conv2d/gather.h"

namespace fastconv::FC_ISA_NS {
namespace {

// Calls body(f) once, f(y, v, t) being what becomes of the values v whose place in the output is y.
template <class E, class Body>
inline void with_finish(const FinishOf<E>& f, const Body& body) {
    const auto add = [&](const E* y, vf v, Tail t) {
        return f.residual ? v + load(f.residual + (y - f.out), t) : v;
    };
    if (f.saved)
        with_activation_gradient(f.activation, f.slope, [&](const auto& gradient) {
            body([&](const E* y, vf v, Tail t) {
                return gradient(load(f.saved + (y - f.out), t), add(y, v, t));
            });
        });
    else if (f.activate)
        with_activation(f.activation, f.slope, [&](const auto& function) {
            body([&](const E* y, vf v, Tail t) { return function(add(y, v, t)); });
        });
    else
        body(add);
}

// y[0 .. count): a piece of the output that f describes.
inline void finish(const Finish& f, float* y, int64_t count) {
    with_finish(f, [&](const auto& function) {
        for (int64_t i = 0; i < count; i += VL) {
            const Tail t = tail(count - i);
            store(y + i, function(y + i, load(y + i, t), t), t);
        }
    });
}

}  // namespace
}  // namespace fastconv::FC_ISA_NS
