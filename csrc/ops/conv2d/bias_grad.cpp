#include "core/memory.h"
#include "ops/conv2d/gather.h"
#include "ops/conv2d/kernels.h"

namespace fastconv {

void bias_grad_f32(const Conv2dProblem& p, const float* dy, float* dbias) {
    const bool nchw = p.layout == Layout::nchw;
    const int64_t parts = FC_ISA_PICK(bias_grad_partials)(nchw, p.n, p.pixels_out());
    const Workspace partial(static_cast<size_t>(parts * p.k) * sizeof(float));
    FC_ISA_PICK(bias_grad_run)(nchw, p.n, p.k, p.pixels_out(), dy, partial.as<float>(), dbias);
}

}  // namespace fastconv
