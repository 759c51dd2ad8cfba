#include "ops/softmax_loss/pointwise_loss.h"

#include "core/bfloat16.h"
#include "core/checks.h"
#include "core/memory.h"
#include "ops/softmax_loss/kernels.h"

namespace fastconv {
namespace {

template <class T>
PointLossInputs<T> inputs_of(const PointLossParams& p, const TensorView& x, const TensorView& t,
                             const TensorView* weight, const TensorView* pos_weight) {
    return {p.kind,
            p.delta,
            x.as<T>(),
            t.as<T>(),
            weight ? weight->as<T>() : nullptr,
            pos_weight ? pos_weight->as<T>() : nullptr};
}

template <class T>
void run(const PointLossInputs<T>& in, int64_t n, T* each, double* blocks) {
    if constexpr (std::is_same_v<T, float>)
        FC_ISA_PICK(pointwise_loss_f32)(in, n, each, blocks);
    else if constexpr (std::is_same_v<T, bfloat16>)
        FC_ISA_PICK(pointwise_loss_bf16)(in, n, each, blocks);
    else
        pointwise_loss_reference(in, n, each, blocks);
}

}  // namespace

PointLoss point_loss_from_name(const std::string& name) {
    constexpr const char* names[] = {"mse_loss", "l1_loss", "huber_loss", "binary_cross_entropy_with_logits"};
    for (int i = 0; i < 4; ++i)
        if (name == names[i]) return static_cast<PointLoss>(i);
    throw ShapeError("pointwise_loss: unknown function '" + name + "'");
}

void pointwise_loss_forward(const PointLossParams& p, const TensorView& x, const TensorView& t,
                            const TensorView* weight, const TensorView* pos_weight, const TensorView& loss) {
    const int64_t n = element_count("pointwise_loss", x.shape);
    visit_float("pointwise_loss", x.dtype, [&](auto zero) {
        using T = decltype(zero);
        const auto in = inputs_of<T>(p, x, t, weight, pos_weight);
        if (p.reduction == Reduction::none) return run<T>(in, n, loss.as<T>(), nullptr);
        const int64_t blocks = (n + kLossBlock - 1) / kLossBlock;
        const Workspace sums(static_cast<size_t>(blocks) * sizeof(double));
        run<T>(in, n, nullptr, sums.as<double>());
        double total = 0;
        for (int64_t i = 0; i < blocks; ++i) total += sums.as<double>()[i];
        *loss.as<T>() = narrow<T>(p.reduction == Reduction::mean ? total / static_cast<double>(n) : total);
    });
}

void pointwise_loss_backward(const PointLossParams& p, bool wrt_target, const TensorView& x,
                             const TensorView& t, const TensorView* weight, const TensorView* pos_weight,
                             const TensorView& dloss, const TensorView& dx) {
    const int64_t n = element_count("pointwise_loss", x.shape);
    visit_float("pointwise_loss", x.dtype, [&](auto zero) {
        using T = decltype(zero);
        const auto in = inputs_of<T>(p, x, t, weight, pos_weight);
        const double scale = p.reduction == Reduction::mean ? 1 / static_cast<double>(n) : 1;
        const LossGradient<T> g{dloss.as<T>(), p.reduction == Reduction::none, scale};
        if constexpr (std::is_same_v<T, float>)
            FC_ISA_PICK(pointwise_loss_backward_f32)(in, wrt_target, n, g, dx.as<T>());
        else if constexpr (std::is_same_v<T, bfloat16>)
            FC_ISA_PICK(pointwise_loss_backward_bf16)(in, wrt_target, n, g, dx.as<T>());
        else
            pointwise_loss_backward_reference(in, wrt_target, n, g, dx.as<T>());
    });
}

}  // namespace fastconv
