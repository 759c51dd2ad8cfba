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

// The parameter's bfloat16 copy, in the loops' own pass, or None of it.
struct None {
    static float follow(float param, int64_t) { return param; }
    static void write(float, int64_t) {}
};
struct Copy {
    bfloat16* __restrict to;
    // Where the copy is no longer the parameter rounded, somebody has set it, and the parameter follows. The
    // line is about to be written anyway, so that reading it costs next to nothing.
    float follow(float param, int64_t i) const {
        return to_bfloat16(param).bits == to[i].bits ? param : to_float(to[i]);
    }
    void write(float param, int64_t i) const { to[i] = to_bfloat16(param); }
};

template <bool kDecay, bool kMomentum, class G, class C>
void sgd_block(const SgdParams& p, float* __restrict param, const G* __restrict grad,
               float* __restrict buffer, C copy, int64_t n) {
    const float lr = static_cast<float>(p.lr), decay = static_cast<float>(p.weight_decay);
    const float momentum = static_cast<float>(p.momentum);
    // The first step starts the buffer as the gradient itself, whatever it held (NaN included).
    const bool first = p.first_step, nesterov = p.nesterov;
    const float gain = static_cast<float>(1 - p.dampening);
    for (int64_t i = 0; i < n; ++i) {
        const float w = copy.follow(param[i], i);
        float g = widen(grad[i]);
        if (kDecay) g = g + decay * w;
        if (kMomentum) {
            const float b = first ? g : momentum * buffer[i] + gain * g;
            buffer[i] = b;
            g = nesterov ? g + momentum * b : b;
        }
        param[i] = w - lr * g;
        copy.write(param[i], i);
    }
}

template <bool kDecay, class G, class C>
void adam_block(const AdamParams& p, const AdamFactors& f, float* __restrict param, const G* __restrict grad,
                float* __restrict exp_avg, float* __restrict exp_avg_sq, C copy, int64_t n) {
    const float decay = static_cast<float>(p.weight_decay), shrink = static_cast<float>(f.shrink);
    const float beta2 = static_cast<float>(p.beta2), gain2 = static_cast<float>(1 - p.beta2);
    const float root = static_cast<float>(f.correction2_root), eps = static_cast<float>(p.eps);
    const float step_size = static_cast<float>(f.step_size);
    const Lerp lerp(1 - p.beta1);
    for (int64_t i = 0; i < n; ++i) {
        const float w = copy.follow(param[i], i) * shrink;
        const float g = kDecay ? widen(grad[i]) + decay * w : widen(grad[i]);
        const float m = lerp(exp_avg[i], g);
        const float v = beta2 * exp_avg_sq[i] + gain2 * g * g;
        exp_avg[i] = m;
        exp_avg_sq[i] = v;
        param[i] = w - step_size * (m / (__builtin_sqrtf(v) / root + eps));
        copy.write(param[i], i);
    }
}

template <bool kMomentum, bool kCentered, class G, class C>
void rmsprop_block(const RmspropParams& p, float* __restrict param, const G* __restrict grad,
                   float* __restrict square_avg, float* __restrict buffer, float* __restrict grad_avg, C copy,
                   int64_t n) {
    const float lr = static_cast<float>(p.lr), decay = static_cast<float>(p.weight_decay);
    const float alpha = static_cast<float>(p.alpha), gain = static_cast<float>(1 - p.alpha);
    const float eps = static_cast<float>(p.eps), momentum = static_cast<float>(p.momentum);
    const bool decays = p.weight_decay != 0;
    const Lerp lerp(1 - p.alpha);
    for (int64_t i = 0; i < n; ++i) {
        const float w = copy.follow(param[i], i);
        const float g = decays ? widen(grad[i]) + decay * w : widen(grad[i]);
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
        param[i] = w - lr * step;
        copy.write(param[i], i);
    }
}

template <class G, class C>
void sgd(const SgdParams& p, const SgdState<float, G>& s, int64_t n, const C& copy_at) {
    const bool decay = p.weight_decay != 0;
    for_each_block(n, [&](int64_t at, int64_t size) {
        float *param = s.param + at, *buffer = s.momentum_buffer ? s.momentum_buffer + at : nullptr;
        const G* grad = s.grad + at;
        const auto copy = copy_at(at);
        if (buffer)
            decay ? sgd_block<true, true>(p, param, grad, buffer, copy, size)
                  : sgd_block<false, true>(p, param, grad, buffer, copy, size);
        else
            decay ? sgd_block<true, false>(p, param, grad, buffer, copy, size)
                  : sgd_block<false, false>(p, param, grad, buffer, copy, size);
    });
}

template <class G, class C>
void adam(const AdamParams& p, const AdamFactors& f, const AdamState<float, G>& s, int64_t n,
          const C& copy_at) {
    const bool decay = p.weight_decay != 0 && !p.decoupled;
    for_each_block(n, [&](int64_t at, int64_t size) {
        float *param = s.param + at, *m = s.exp_avg + at, *v = s.exp_avg_sq + at;
        decay ? adam_block<true>(p, f, param, s.grad + at, m, v, copy_at(at), size)
              : adam_block<false>(p, f, param, s.grad + at, m, v, copy_at(at), size);
    });
}

template <class G, class C>
void rmsprop(const RmspropParams& p, const RmspropState<float, G>& s, int64_t n, const C& copy_at) {
    for_each_block(n, [&](int64_t at, int64_t size) {
        float *param = s.param + at, *v = s.square_avg + at;
        float *buffer = s.momentum_buffer ? s.momentum_buffer + at : nullptr,
              *average = s.grad_avg ? s.grad_avg + at : nullptr;
        const G* grad = s.grad + at;
        const auto copy = copy_at(at);
        if (buffer)
            average ? rmsprop_block<true, true>(p, param, grad, v, buffer, average, copy, size)
                    : rmsprop_block<true, false>(p, param, grad, v, buffer, average, copy, size);
        else
            average ? rmsprop_block<false, true>(p, param, grad, v, buffer, average, copy, size)
                    : rmsprop_block<false, false>(p, param, grad, v, buffer, average, copy, size);
    });
}

// run(the copy of a block) with or without one.
template <class Run>
inline void with_copy(bfloat16* copy, const Run& run) {
    if (copy)
        run([copy](int64_t at) { return Copy{copy + at}; });
    else
        run([](int64_t) { return None{}; });
}

}  // namespace

void sgd_f32(const SgdParams& p, const SgdState<float>& s, int64_t n) {
    with_copy(s.copy, [&](auto copy) { sgd(p, s, n, copy); });
}
void sgd_bf16(const SgdParams& p, const SgdState<float, bfloat16>& s, int64_t n) {
    with_copy(s.copy, [&](auto copy) { sgd(p, s, n, copy); });
}
void adam_f32(const AdamParams& p, const AdamFactors& f, const AdamState<float>& s, int64_t n) {
    with_copy(s.copy, [&](auto copy) { adam(p, f, s, n, copy); });
}
void adam_bf16(const AdamParams& p, const AdamFactors& f, const AdamState<float, bfloat16>& s, int64_t n) {
    with_copy(s.copy, [&](auto copy) { adam(p, f, s, n, copy); });
}
void rmsprop_f32(const RmspropParams& p, const RmspropState<float>& s, int64_t n) {
    with_copy(s.copy, [&](auto copy) { rmsprop(p, s, n, copy); });
}
void rmsprop_bf16(const RmspropParams& p, const RmspropState<float, bfloat16>& s, int64_t n) {
    with_copy(s.copy, [&](auto copy) { rmsprop(p, s, n, copy); });
}

}  // namespace fastconv::FC_ISA_NS
