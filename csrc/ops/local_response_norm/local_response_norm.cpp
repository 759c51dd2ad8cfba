#include "ops/local_response_norm/local_response_norm.h"

#include <algorithm>

#include "core/checks.h"
#include "core/memory.h"
#include "cpu/threads.h"
#include "ops/local_response_norm/kernels.h"

namespace fastconv {
namespace {

bool empty(const LrnParams& p) { return p.outer == 0 || p.channels == 0 || p.inner == 0; }

Workspace scratch_for(const LrnParams& p, DType dtype, int team) {
    const int64_t rows = checked_mul("local_response_norm", team, p.channels);
    const int64_t row = lrn_scratch_rows(p, size_of(dtype)) * (p.inner > 1 ? kLrnColumns : 1);
    const int64_t floats = checked_mul("local_response_norm", rows, row);
    return Workspace(static_cast<size_t>(checked_mul("local_response_norm", floats, 4)));
}

}  // namespace

LrnParams lrn_params(const char* op, const Shape& input, Layout layout, int64_t size, double alpha,
                     double beta, double k) {
    if (input.ndim < 3)
        throw ShapeError(message(op, ": input must have at least 3 dimensions, got ", input.ndim, " (shape ",
                                 to_string(input), ")"));
    if (size < 1) throw ShapeError(message(op, ": size must be at least 1, got ", size));
    element_count(op, input);
    const int channel = layout == Layout::nchw ? 1 : input.ndim - 1;
    LrnParams p;
    p.outer = p.inner = 1;
    p.channels = input[channel];
    for (int i = 0; i < input.ndim; ++i) {
        if (i < channel) p.outer *= input[i];
        if (i > channel) p.inner *= input[i];
    }
    p.before = std::min(size / 2, p.channels);
    p.after = std::min((size - 1) / 2, p.channels);
    p.scale = alpha / static_cast<double>(size);
    p.beta = beta;
    p.k = k;
    return p;
}

void local_response_norm_forward(const LrnParams& p, const TensorView& x, const TensorView& y) {
    if (empty(p)) return;
    if (x.dtype == DType::f64) return lrn_reference(p, x.as<double>(), y.as<double>());
    const int team = num_threads();
    const Workspace scratch = p.inner == 1 ? scratch_for(p, x.dtype, team) : Workspace();
    if (x.dtype == DType::bf16)
        return FC_ISA_PICK(lrn_bf16)(p, x.as<bfloat16>(), y.as<bfloat16>(), scratch.as<float>(), team);
    FC_ISA_PICK(lrn_f32)(p, x.as<float>(), y.as<float>(), scratch.as<float>(), team);
}

void local_response_norm_backward(const LrnParams& p, const TensorView& dy, const TensorView& x,
                                  const TensorView& dx) {
    if (empty(p)) return;
    if (x.dtype == DType::f64)
        return lrn_backward_reference(p, dy.as<double>(), x.as<double>(), dx.as<double>());
    const int team = num_threads();
    const Workspace scratch = scratch_for(p, x.dtype, team);
    if (x.dtype == DType::bf16)
        return FC_ISA_PICK(lrn_backward_bf16)(p, dy.as<bfloat16>(), x.as<bfloat16>(), dx.as<bfloat16>(),
                                              scratch.as<float>(), team);
    FC_ISA_PICK(lrn_backward_f32)(p, dy.as<float>(), x.as<float>(), dx.as<float>(), scratch.as<float>(),
                                  team);
}

}  // namespace fastconv
