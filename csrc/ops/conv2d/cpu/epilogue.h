// Residual and activation, or an activation's gradient, applied to results that have just been stored and
// still lie in cache.
#pragma once

#include "ops/activation/cpu/functions.h"
#include "ops/conv2d/gather.h"

namespace fastconv::FC_ISA_NS {
namespace {

// y[0 .. count): a piece of the output that f describes.
inline void finish(const Finish& f, float* y, int64_t count) {
    const float* residual = f.residual ? f.residual + (y - f.out) : nullptr;
    if (f.saved) {
        const float* saved = f.saved + (y - f.out);
        return with_activation_gradient(f.activation, f.slope, [&](const auto& gradient) {
            for (int64_t i = 0; i < count; i += VL) {
                const Tail t = tail(count - i);
                vf v = load(y + i, t);
                if (residual) v = v + load(residual + i, t);
                store(y + i, gradient(load(saved + i, t), v), t);
            }
        });
    }
    const auto each = [&](const auto& function) {
        for (int64_t i = 0; i < count; i += VL) {
            const Tail t = tail(count - i);
            vf v = load(y + i, t);
            if (residual) v = v + load(residual + i, t);
            store(y + i, function(v), t);
        }
    };
    if (f.activate)
        with_activation(f.activation, f.slope, each);
    else
        each([](vf v) { return v; });
}

}  // namespace
}  // namespace fastconv::FC_ISA_NS
