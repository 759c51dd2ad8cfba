#include "ops/linear/linear.h"

#include <cstring>
#include <optional>

#include "core/checks.h"
#include "core/memory.h"
#include "core/widened.h"
#include "ops/conv2d/bias_grad.h"
#include "ops/conv2d/conv2d.h"
#include "ops/linear/kernels.h"

namespace fastconv {
namespace {

void zero_fill(DType dtype, void* data, int64_t count) {
    std::memset(data, 0, static_cast<size_t>(count * size_of(dtype)));
}

constexpr const char* kOp = "linear";

TensorView bf16_view(const void* data, int64_t rows, int64_t columns) {
    return {const_cast<void*>(data), DType::bf16, Shape{rows, columns}};
}

// The same product as a 1x1 convolution over a picture of one row: where conv2d has bfloat16 kernels that run
// here, they do this as well. None where it would only widen the arrays.
std::optional<Conv2dProblem> as_convolution(const LinearProblem& p, ConvDirection direction) {
    Conv2dParams params;
    params.layout = Layout::nhwc;
    Conv2dProblem problem =
        conv2d_problem(kOp, p.dtype, Shape{1, 1, p.rows, p.in}, Shape{p.out, p.in, 1, 1}, params);
    if (!std::strcmp(ConvPlan(problem, direction).algorithm(), "widened")) return std::nullopt;
    return problem;
}

// Elsewhere the arrays are widened.
LinearProblem widened(LinearProblem p) {
    p.dtype = DType::f32;
    return p;
}

}  // namespace

LinearProblem linear_problem(const char* op, DType dtype, const Shape& x, const Shape& weight) {
    require_float(op, "input", dtype);
    require_ndim(op, "weight", weight, 2);
    if (x.ndim < 1) throw ShapeError(message(op, ": input must have at least one dimension, got a scalar"));
    element_count(op, x);
    element_count(op, weight);
    LinearProblem p;
    p.dtype = dtype;
    p.out = weight[0];
    p.in = weight[1];
    if (p.in < 1 || p.out < 1)
        throw ShapeError(message(op, ": weight must have no empty dimension, got shape ", to_string(weight)));
    if (x[x.ndim - 1] != p.in)
        throw ShapeError(message(op, ": weight expects ", p.in, " input features but the input has ",
                                 x[x.ndim - 1], " (shape ", to_string(x), ")"));
    p.rows = 1;
    for (int i = 0; i + 1 < x.ndim; ++i) p.rows *= x[i];
    checked_mul(op, p.rows, p.out);
    return p;
}

void linear_forward(const LinearProblem& p, const void* x, const void* weight, const void* bias, void* y) {
    if (p.rows == 0) return;
    if (p.dtype == DType::bf16) {
        if (p.rows <= kLinearFewRows)
            return FC_ISA_PICK(linear_few_rows_bf16)(
                p, static_cast<const bfloat16*>(x), static_cast<const bfloat16*>(weight),
                static_cast<const bfloat16*>(bias), static_cast<bfloat16*>(y));
        if (const auto conv = as_convolution(p, ConvDirection::fprop)) {
            ConvEpilogue epilogue;
            epilogue.bias = bias;
            return conv2d_fprop(*conv, x, weight, epilogue, y);
        }
        const WidenedIn wide_x(kOp, bf16_view(x, p.rows, p.in)), w(kOp, bf16_view(weight, p.out, p.in)),
            b(kOp, bf16_view(bias, 1, p.out));
        const WidenedOut out(kOp, bf16_view(y, p.rows, p.out));
        linear_forward(widened(p), wide_x.view().data, w.view().data, b.view().data, out.view().data);
        return out.round();
    }
    if (p.dtype == DType::f64)
        return linear_forward_reference(p, static_cast<const double*>(x), static_cast<const double*>(weight),
                                        static_cast<const double*>(bias), static_cast<double*>(y));
    const Workspace packed(static_cast<size_t>(FC_ISA_PICK(linear_packed_floats)(p)) * sizeof(float));
    FC_ISA_PICK(linear_forward_run)
    (p, static_cast<const float*>(x), static_cast<const float*>(weight), static_cast<const float*>(bias),
     packed.as<float>(), static_cast<float*>(y));
}

void linear_input_grad(const LinearProblem& p, const void* weight, const void* dy, void* dx) {
    if (p.rows == 0) return;
    if (p.dtype == DType::bf16) {
        if (const auto conv = as_convolution(p, ConvDirection::dgrad))
            return conv2d_dgrad(*conv, weight, dy, ConvEpilogue(), dx);
        const WidenedIn w(kOp, bf16_view(weight, p.out, p.in)), g(kOp, bf16_view(dy, p.rows, p.out));
        const WidenedOut out(kOp, bf16_view(dx, p.rows, p.in));
        linear_input_grad(widened(p), w.view().data, g.view().data, out.view().data);
        return out.round();
    }
    if (p.dtype == DType::f64)
        return linear_input_grad_reference(p, static_cast<const double*>(weight),
                                           static_cast<const double*>(dy), static_cast<double*>(dx));
    FC_ISA_PICK(linear_input_grad_run)
    (p, static_cast<const float*>(weight), static_cast<const float*>(dy), static_cast<float*>(dx));
}

void linear_weight_grad(const LinearProblem& p, const void* x, const void* dy, void* dweight) {
    if (p.rows == 0) return zero_fill(p.dtype, dweight, p.out * p.in);
    if (p.dtype == DType::bf16) {
        if (const auto conv = as_convolution(p, ConvDirection::wgrad))
            return conv2d_wgrad(*conv, x, dy, dweight);
        const WidenedIn wide_x(kOp, bf16_view(x, p.rows, p.in)), g(kOp, bf16_view(dy, p.rows, p.out));
        const WidenedOut out(kOp, bf16_view(dweight, p.out, p.in));
        linear_weight_grad(widened(p), wide_x.view().data, g.view().data, out.view().data);
        return out.round();
    }
    if (p.dtype == DType::f64)
        return linear_weight_grad_reference(p, static_cast<const double*>(x), static_cast<const double*>(dy),
                                            static_cast<double*>(dweight));
    const int64_t splits = FC_ISA_PICK(linear_splits)(p);
    const Workspace partial(splits == 1 ? 0 : static_cast<size_t>(splits * p.out * p.in) * sizeof(float));
    FC_ISA_PICK(linear_weight_grad_run)
    (p, static_cast<const float*>(x), static_cast<const float*>(dy), partial.as<float>(),
     static_cast<float*>(dweight));
}

void linear_bias_grad(const LinearProblem& p, const void* dy, void* dbias) {
    if (p.rows == 0) return zero_fill(p.dtype, dbias, p.out);
    if (p.dtype == DType::f64)
        return linear_bias_grad_reference(p, static_cast<const double*>(dy), static_cast<double*>(dbias));
    // Rows are the pixels of a channels-last array.
    const int64_t parts = FC_ISA_PICK(bias_grad_partials)(false, p.rows, 1);
    const Workspace partial(static_cast<size_t>(parts * p.out) * sizeof(float));
    if (p.dtype == DType::bf16)
        return FC_ISA_PICK(bias_grad_bf16_run)(false, p.rows, p.out, 1, static_cast<const bfloat16*>(dy),
                                               partial.as<float>(), static_cast<bfloat16*>(dbias));
    FC_ISA_PICK(bias_grad_run)
    (false, p.rows, p.out, 1, static_cast<const float*>(dy), partial.as<float>(), static_cast<float*>(dbias));
}

}  // namespace fastconv
