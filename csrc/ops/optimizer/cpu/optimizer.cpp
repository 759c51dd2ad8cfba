// Optimiser steps in one pass over memory. The compiler vectorises these loops; they run over fixed blocks,
// so that an element falls into the same place of its loop (vector body or remainder) for any number of
// threads.
#include "cpu/parallel.h"
#include "ops/optimizer/kernels.h"

namespace fastconv::FC_ISA_NS {
namespace {

constexpr int64_t kBlock = 4096;

template <class Body>
inline void for_each_block(int64_t n, const Body& body) {
    parallel_for((n + kBlock - 1) / kBlock, 4, [&](int64_t begin, int64_t end, int) {
        for (int64_t b = begin; b < end; ++b)
            body(b * kBlock, (b + 1) * kBlock < n ? kBlock : n - b * kBlock);
    });
}

// (1 - w) a + w b computed as near + far_weight * (far - near), from the end that w is nearer to.
struct Lerp {
    float a, b;  // result = x + a (y - x) from x, or y - b (y - x) from y
    bool from_x;
    explicit Lerp(double w)
        : a(static_cast<float>(w)), b(1.0f - static_cast<float>(w)), from_x(static_cast<float>(w) < 0.5f) {}
    float operator()(float x, float y) const { return from_x ? x + a * (y - x) : y - (y - x) * b; }
};

// Where the copy is no longer the parameter rounded, somebody has set it, and the parameter follows. The line
// is about to be written anyway, so that reading it costs next to nothing.
inline void follow_copy(float* param, const bfloat16* copy, int64_t at, int64_t n) {
    if (!copy) return;
    for (int64_t i = at; i < at + n; ++i)
        param[i] = to_bfloat16(param[i]).bits == copy[i].bits ? param[i] : to_float(copy[i]);
}

// param[at ..] rounded to bfloat16, while it is in the first-level cache.
inline void copy_block(const float* param, bfloat16* copy, int64_t at, int64_t n) {
    if (!copy) return;
    int64_t i = at;
    for (; i + VL <= at + n; i += VL) store(copy + i, load(param + i));
    const Tail t = tail(at + n - i);
    if (i < at + n) store(copy + i, load(param + i, t), t);
}

template <bool kDecay, bool kMomentum, class G>
void sgd_block(const SgdParams& p, float* __restrict param, const G* __restrict grad,
               float* __restrict buffer, int64_t n) {
    const float lr = static_cast<float>(p.lr), decay = static_cast<float>(p.weight_decay);
    const float momentum = static_cast<float>(p.momentum);
    // The first step starts the buffer as the gradient itself, whatever it held (NaN included).
    const bool first = p.first_step, nesterov = p.nesterov;
    const float gain = static_cast<float>(1 - p.dampening);
    for (int64_t i = 0; i < n; ++i) {
        float g = widen(grad[i]);
        if (kDecay) g = g + decay * param[i];
        if (kMomentum) {
            const float b = first ? g : momentum * buffer[i] + gain * g;
            buffer[i] = b;
            g = nesterov ? g + momentum * b : b;
        }
        param[i] -= lr * g;
    }
}

template <bool kDecay, class G>
void adam_block(const AdamParams& p, const AdamFactors& f, float* __restrict param, const G* __restrict grad,
                float* __restrict exp_avg, float* __restrict exp_avg_sq, int64_t n) {
    const float decay = static_cast<float>(p.weight_decay), shrink = static_cast<float>(f.shrink);
    const float beta2 = static_cast<float>(p.beta2), gain2 = static_cast<float>(1 - p.beta2);
    const float root = static_cast<float>(f.correction2_root), eps = static_cast<float>(p.eps);
    const float step_size = static_cast<float>(f.step_size);
    const Lerp lerp(1 - p.beta1);
    for (int64_t i = 0; i < n; ++i) {
        const float w = param[i] * shrink;
        const float g = kDecay ? widen(grad[i]) + decay * w : widen(grad[i]);
        const float m = lerp(exp_avg[i], g);
        const float v = beta2 * exp_avg_sq[i] + gain2 * g * g;
        exp_avg[i] = m;
        exp_avg_sq[i] = v;
        param[i] = w - step_size * (m / (__builtin_sqrtf(v) / root + eps));
    }
}

template <bool kMomentum, bool kCentered, class G>
void rmsprop_block(const RmspropParams& p, float* __restrict param, const G* __restrict grad,
                   float* __restrict square_avg, float* __restrict buffer, float* __restrict grad_avg,
                   int64_t n) {
    const float lr = static_cast<float>(p.lr), decay = static_cast<float>(p.weight_decay);
    const float alpha = static_cast<float>(p.alpha), gain = static_cast<float>(1 - p.alpha);
    const float eps = static_cast<float>(p.eps), momentum = static_cast<float>(p.momentum);
    const bool decays = p.weight_decay != 0;
    const Lerp lerp(1 - p.alpha);
    for (int64_t i = 0; i < n; ++i) {
        const float g = decays ? widen(grad[i]) + decay * param[i] : widen(grad[i]);
        float v = alpha * square_avg[i] + gain * g * g;
        square_avg[i] = v;
        if (kCentered) {
            const float a = lerp(grad_avg[i], g);
            grad_avg[i] = a;
            v = v - a * a;
        }
        float step = g / (__builtin_sqrtf(v) + eps);
        if (kMomentum) {
            step = momentum * buffer[i] + step;
            buffer[i] = step;
        }
        param[i] -= lr * step;
    }
}

template <class G>
void sgd(const SgdParams& p, const SgdState<float, G>& s, int64_t n) {
    const bool decay = p.weight_decay != 0;
    for_each_block(n, [&](int64_t at, int64_t size) {
        follow_copy(s.param, s.copy, at, size);
        float *param = s.param + at, *buffer = s.momentum_buffer ? s.momentum_buffer + at : nullptr;
        const G* grad = s.grad + at;
        if (buffer)
            (decay ? sgd_block<true, true, G> : sgd_block<false, true, G>)(p, param, grad, buffer, size);
        else
            (decay ? sgd_block<true, false, G> : sgd_block<false, false, G>)(p, param, grad, buffer, size);
        copy_block(s.param, s.copy, at, size);
    });
}

template <class G>
void adam(const AdamParams& p, const AdamFactors& f, const AdamState<float, G>& s, int64_t n) {
    const auto block = p.weight_decay != 0 && !p.decoupled ? adam_block<true, G> : adam_block<false, G>;
    for_each_block(n, [&](int64_t at, int64_t size) {
        follow_copy(s.param, s.copy, at, size);
        block(p, f, s.param + at, s.grad + at, s.exp_avg + at, s.exp_avg_sq + at, size);
        copy_block(s.param, s.copy, at, size);
    });
}

template <class G>
void rmsprop(const RmspropParams& p, const RmspropState<float, G>& s, int64_t n) {
    const auto block = s.momentum_buffer
                           ? (s.grad_avg ? rmsprop_block<true, true, G> : rmsprop_block<true, false, G>)
                           : (s.grad_avg ? rmsprop_block<false, true, G> : rmsprop_block<false, false, G>);
    for_each_block(n, [&](int64_t at, int64_t size) {
        follow_copy(s.param, s.copy, at, size);
        block(p, s.param + at, s.grad + at, s.square_avg + at,
              s.momentum_buffer ? s.momentum_buffer + at : nullptr, s.grad_avg ? s.grad_avg + at : nullptr,
              size);
        copy_block(s.param, s.copy, at, size);
    });
}

}  // namespace

void sgd_f32(const SgdParams& p, const SgdState<float>& s, int64_t n) { sgd(p, s, n); }
void sgd_bf16(const SgdParams& p, const SgdState<float, bfloat16>& s, int64_t n) { sgd(p, s, n); }
void adam_f32(const AdamParams& p, const AdamFactors& f, const AdamState<float>& s, int64_t n) {
    adam(p, f, s, n);
}
void adam_bf16(const AdamParams& p, const AdamFactors& f, const AdamState<float, bfloat16>& s, int64_t n) {
    adam(p, f, s, n);
}
void rmsprop_f32(const RmspropParams& p, const RmspropState<float>& s, int64_t n) { rmsprop(p, s, n); }
void rmsprop_bf16(const RmspropParams& p, const RmspropState<float, bfloat16>& s, int64_t n) {
    rmsprop(p, s, n);
}

}  // namespace fastconv::FC_ISA_NS
