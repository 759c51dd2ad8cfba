// Losses of two arrays, element by element over the ISA's vectors; sums run over fixed blocks in double.
#include "ops/softmax_loss/cpu/rows.h"
#include "ops/softmax_loss/kernels.h"

namespace fastconv::FC_ISA_NS {
namespace {

constexpr int64_t kBlocksPerPiece = 8;

template <class T, class Lanes>
inline vf factor(const T* p, int64_t i, Lanes t) {
    return p ? load(p + i, t) : set1(1.0f);
}

template <class T, class Lanes>
inline vf loss_value(const PointLossInputs<T>& in, int64_t i, Lanes t) {
    const vf x = load(in.x + i, t), target = load(in.t + i, t), one = set1(1.0f);
    const vf d = x - target, size = abs(d), delta = set1(static_cast<float>(in.delta));
    switch (in.kind) {
        case PointLoss::mse:
            return d * d;
        case PointLoss::l1:
            return size;
        case PointLoss::huber: {
            const vf far = delta * (size - set1(0.5f) * delta);
            return select(less(delta, size), far, set1(0.5f) * d * d);
        }
        case PointLoss::bce:
            break;
    }
    const vf positive = in.pos_weight ? fma(load(in.pos_weight + i, t) - one, target, one) : one;
    return factor(in.weight, i, t) * fma(one - target, x, positive * softplus(zero() - x));
}

template <class T, class Lanes>
inline vf loss_slope(const PointLossInputs<T>& in, bool wrt_target, int64_t i, Lanes t) {
    const vf x = load(in.x + i, t), target = load(in.t + i, t), one = set1(1.0f);
    const vf d = wrt_target ? target - x : x - target, delta = set1(static_cast<float>(in.delta));
    switch (in.kind) {
        case PointLoss::mse:
            return d + d;
        case PointLoss::l1:
            return select(less(zero(), d), one, select(less(d, zero()), set1(-1.0f), zero()));
        case PointLoss::huber:
            return select(less(delta, d), delta, select(less(d, zero() - delta), zero() - delta, d));
        case PointLoss::bce:
            break;
    }
    const vf weight = factor(in.weight, i, t), positive = factor(in.pos_weight, i, t);
    if (wrt_target) {
        const vf rest = in.pos_weight ? (positive - one) * softplus(zero() - x) : zero();
        return weight * (rest - x);
    }
    return weight * ((one - target) - fma(positive - one, target, one) * sigmoid(zero() - x));
}

// The sum of n <= kLossBlock floats; eight double sums in turn, so that it vectorises.
inline double block_sum(const float* v, int64_t n) {
    double parts[8] = {};
    int64_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (int l = 0; l < 8; ++l) parts[l] += static_cast<double>(v[i + l]);
    for (int l = 0; i < n; ++i, ++l) parts[l] += static_cast<double>(v[i]);
    return ((parts[0] + parts[4]) + (parts[1] + parts[5])) + ((parts[2] + parts[6]) + (parts[3] + parts[7]));
}

template <class T>
void forward(const PointLossInputs<T>& in, int64_t n, T* each, double* blocks) {
    const int64_t count = (n + kLossBlock - 1) / kLossBlock;
    parallel_for(count, kBlocksPerPiece, [&](int64_t begin, int64_t end, int) {
        float values[kLossBlock];
        for (int64_t b = begin; b < end; ++b) {
            const int64_t start = b * kLossBlock, size = n - start < kLossBlock ? n - start : kLossBlock;
            for_each_vector(size, [&](int64_t i, auto t) {
                const vf v = loss_value(in, start + i, t);
                if (each)
                    store(each + start + i, v, t);
                else
                    store(values + i, v, t);
            });
            if (!each) blocks[b] = block_sum(values, size);
        }
    });
}

template <class T>
void backward(const PointLossInputs<T>& in, bool wrt_target, int64_t n, const LossGradient<T>& g, T* dx) {
    const int64_t count = (n + kLossBlock - 1) / kLossBlock;
    const vf all = set1(g.each ? 0.0f : static_cast<float>(static_cast<double>(widen(g.data[0])) * g.scale));
    parallel_for(count, kBlocksPerPiece, [&](int64_t begin, int64_t end, int) {
        const int64_t start = begin * kLossBlock, stop = end * kLossBlock < n ? end * kLossBlock : n;
        for_each_vector(stop - start, [&](int64_t offset, auto t) {
            const int64_t i = start + offset;
            const vf scale = g.each ? load(g.data + i, t) : all;
            store(dx + i, scale * loss_slope(in, wrt_target, i, t), t);
        });
    });
}

}  // namespace

void pointwise_loss_f32(const PointLossInputs<float>& in, int64_t n, float* each, double* blocks) {
    forward(in, n, each, blocks);
}
void pointwise_loss_bf16(const PointLossInputs<bfloat16>& in, int64_t n, bfloat16* each, double* blocks) {
    forward(in, n, each, blocks);
}
void pointwise_loss_backward_f32(const PointLossInputs<float>& in, bool wrt_target, int64_t n,
                                 const LossGradient<float>& g, float* dx) {
    backward(in, wrt_target, n, g, dx);
}
void pointwise_loss_backward_bf16(const PointLossInputs<bfloat16>& in, bool wrt_target, int64_t n,
                                  const LossGradient<bfloat16>& g, bfloat16* dx) {
    backward(in, wrt_target, n, g, dx);
}

}  // namespace fastconv::FC_ISA_NS
