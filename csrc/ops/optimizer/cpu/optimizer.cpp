// Optimiser steps in one pass over memory, in vectors whose last is masked: an element's arithmetic is the
// same wherever it lies.
#include "cpu/parallel.h"
#include "ops/optimizer/kernels.h"

namespace fastconv::FC_ISA_NS {
namespace {

constexpr int64_t kGrain = 16384;

// All lanes, where a Tail says some.
struct Full {};
template <class T>
inline vf load(const T* p, Full) {
    return load(p);
}
template <class T>
inline void store(T* p, vf v, Full) {
    store(p, v);
}

// body(i, lanes) for every vector of n elements.
template <class Body>
inline void for_each_vector(int64_t n, const Body& body) {
    parallel_for(n, kGrain, [&](int64_t begin, int64_t end, int) {
        int64_t i = begin;
        for (; i + VL <= end; i += VL) body(i, Full{});
        if (i < end) body(i, tail(end - i));
    });
}

// The parameter before the step. Where its bfloat16 copy is no longer the parameter rounded, somebody has set
// it, and the parameter follows. The copy's line is about to be written anyway: reading it costs little.
template <class Lanes>
inline vf load_param(const float* param, const bfloat16* copy, int64_t i, Lanes t) {
    const vf w = load(param + i, t);
    if (!copy) return w;
    bfloat16 lanes[VL];
    store(lanes, w);
    const vf rounded = load(lanes), set = load(copy + i, t);
    const vf ordered = select(less(rounded, set), set, select(less(set, rounded), set, w));
    return select(unordered(rounded, set), set, ordered);
}

template <class Lanes>
inline void store_param(float* param, bfloat16* copy, int64_t i, vf w, Lanes t) {
    store(param + i, w, t);
    if (copy) store(copy + i, w, t);
}

inline vf single(double v) { return set1(static_cast<float>(v)); }

// (1 - w) a + w b computed as near + far_weight * (far - near), from the end that w is nearer to.
struct Lerp {
    vf from_a, from_b;
    bool near_a;
    explicit Lerp(double w)
        : from_a(single(w)),
          from_b(zero() - set1(1.0f - static_cast<float>(w))),
          near_a(static_cast<float>(w) < 0.5f) {}
    vf operator()(vf a, vf b) const { return near_a ? fma(from_a, b - a, a) : fma(from_b, b - a, b); }
};

template <class G>
void sgd(const SgdParams& p, const SgdState<float, G>& s, int64_t n) {
    const vf down = single(-p.lr), decay = single(p.weight_decay), momentum = single(p.momentum);
    const vf gain = single(1 - p.dampening);
    const bool decays = p.weight_decay != 0;
    for_each_vector(n, [&](int64_t i, auto t) {
        const vf w = load_param(s.param, s.copy, i, t);
        vf g = load(s.grad + i, t);
        if (decays) g = fma(decay, w, g);
        if (s.momentum_buffer) {
            // The first step starts the buffer as the gradient itself, whatever it held (NaN included).
            const vf b = p.first_step ? g : fma(momentum, load(s.momentum_buffer + i, t), gain * g);
            store(s.momentum_buffer + i, b, t);
            g = p.nesterov ? fma(momentum, b, g) : b;
        }
        store_param(s.param, s.copy, i, fma(down, g, w), t);
    });
}

template <class G>
void adam(const AdamParams& p, const AdamFactors& f, const AdamState<float, G>& s, int64_t n) {
    const vf decay = single(p.weight_decay), shrink = single(f.shrink), eps = single(p.eps);
    const vf beta2 = single(p.beta2), gain2 = single(1 - p.beta2), root = single(f.correction2_root);
    const vf down = single(-f.step_size);
    const bool decays = p.weight_decay != 0 && !p.decoupled;
    const Lerp lerp(1 - p.beta1);
    for_each_vector(n, [&](int64_t i, auto t) {
        const vf w = load_param(s.param, s.copy, i, t) * shrink;
        vf g = load(s.grad + i, t);
        if (decays) g = fma(decay, w, g);
        const vf m = lerp(load(s.exp_avg + i, t), g);
        const vf v = fma(beta2, load(s.exp_avg_sq + i, t), gain2 * g * g);
        store(s.exp_avg + i, m, t);
        store(s.exp_avg_sq + i, v, t);
        store_param(s.param, s.copy, i, fma(down, m / (sqrt(v) / root + eps), w), t);
    });
}

template <class G>
void rmsprop(const RmspropParams& p, const RmspropState<float, G>& s, int64_t n) {
    const vf down = single(-p.lr), decay = single(p.weight_decay), momentum = single(p.momentum);
    const vf alpha = single(p.alpha), gain = single(1 - p.alpha), eps = single(p.eps);
    const bool decays = p.weight_decay != 0;
    const Lerp lerp(1 - p.alpha);
    for_each_vector(n, [&](int64_t i, auto t) {
        const vf w = load_param(s.param, s.copy, i, t);
        vf g = load(s.grad + i, t);
        if (decays) g = fma(decay, w, g);
        vf v = fma(alpha, load(s.square_avg + i, t), gain * g * g);
        store(s.square_avg + i, v, t);
        if (s.grad_avg) {
            const vf average = lerp(load(s.grad_avg + i, t), g);
            store(s.grad_avg + i, average, t);
            v = v - average * average;
        }
        vf step = g / (sqrt(v) + eps);
        if (s.momentum_buffer) {
            step = fma(momentum, load(s.momentum_buffer + i, t), step);
            store(s.momentum_buffer + i, step, t);
        }
        store_param(s.param, s.copy, i, fma(down, step, w), t);
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
