#include "ops/conv2d/bias_grad.h"

#include "core/memory.h"
#include "ops/conv2d/kernels.h"

namespace fastconv {
namespace {

Workspace partial_sums(bool nchw, const Conv2dProblem& p) {
    const int64_t parts = FC_ISA_PICK(bias_grad_partials)(nchw, p.n, p.pixels_out());
    return Workspace(static_cast<size_t>(parts * p.k) * sizeof(float));
}

}  // namespace

void bias_grad_f32(const Conv2dProblem& p, const float* dy, float* dbias) {
    const bool nchw = p.layout == Layout::nchw;
    const Workspace partial = partial_sums(nchw, p);
    FC_ISA_PICK(bias_grad_run)(nchw, p.n, p.k, p.pixels_out(), dy, partial.as<float>(), dbias);
}

void bias_grad_bf16(const Conv2dProblem& p, const bfloat16* dy, bfloat16* dbias) {
    const bool nchw = p.layout == Layout::nchw;
    const Workspace partial = partial_sums(nchw, p);
    FC_ISA_PICK(bias_grad_bf16_run)(nchw, p.n, p.k, p.pixels_out(), dy, partial.as<float>(), dbias);
}

}  // namespace fastconv
