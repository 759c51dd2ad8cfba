// Activations over the ISA's vectors, in float32 whatever the storage type. Each element is computed by the
// same instructions wherever it lies, so results do not depend on how the range is shared among threads.
#include "ops/activation/activation.h"

#include "cpu/parallel.h"
#include "cpu/simd/simd.h"
#include "ops/activation/cpu/functions.h"
#include "ops/activation/cpu/passes.h"
#include "ops/activation/kernels.h"

namespace fastconv::FC_ISA_NS {
namespace {

constexpr int64_t kGrain = 16384;

// Applies f to n elements, the last vector masked.
template <class T, class F>
inline void map(const T* x, T* y, int64_t n, const F& f) {
    parallel_for(n, kGrain, [&](int64_t begin, int64_t end, int) {
        int64_t i = begin;
        for (; i + VL <= end; i += VL) store(y + i, f(load(x + i)));
        if (i < end) store(y + i, f(load(x + i, tail(end - i))), tail(end - i));
    });
}

template <class T, class F>
inline void map2(const T* a, const T* b, T* y, int64_t n, const F& f) {
    parallel_for(n, kGrain, [&](int64_t begin, int64_t end, int) {
        int64_t i = begin;
        for (; i + VL <= end; i += VL) store(y + i, f(load(a + i), load(b + i)));
        const Tail t = tail(end - i);
        if (i < end) store(y + i, f(load(a + i, t), load(b + i, t)), t);
    });
}

template <class T>
void forward(Activation kind, ActivationNumbers numbers, const T* x, T* y, int64_t n) {
    const auto apply = [&](const auto& f) { map(x, y, n, f); };
    if (activation_fuses(kind)) return with_activation(kind, static_cast<float>(numbers.slope), apply);
    with_function(kind, numbers, apply);
}

template <class T>
void backward(Activation kind, ActivationNumbers numbers, const T* saved, const T* dy, T* dx, int64_t n) {
    const auto apply = [&](const auto& f) { map2(saved, dy, dx, n, f); };
    if (activation_fuses(kind))
        return with_activation_gradient(kind, static_cast<float>(numbers.slope), apply);
    with_function_gradient(kind, numbers, apply);
}

}  // namespace

void activation_f32(Activation kind, ActivationNumbers numbers, const float* x, float* y, int64_t n) {
    forward(kind, numbers, x, y, n);
}
void activation_bf16(Activation kind, ActivationNumbers numbers, const bfloat16* x, bfloat16* y, int64_t n) {
    forward(kind, numbers, x, y, n);
}
void activation_backward_f32(Activation kind, ActivationNumbers numbers, const float* saved, const float* dy,
                             float* dx, int64_t n) {
    backward(kind, numbers, saved, dy, dx, n);
}
void activation_backward_bf16(Activation kind, ActivationNumbers numbers, const bfloat16* saved,
                              const bfloat16* dy, bfloat16* dx, int64_t n) {
    backward(kind, numbers, saved, dy, dx, n);
}

}  // namespace fastconv::FC_ISA_NS
