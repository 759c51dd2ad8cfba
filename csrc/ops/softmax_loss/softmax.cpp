#include "ops/softmax_loss/softmax.h"

#include "core/checks.h"
#include "ops/softmax_loss/kernels.h"

namespace fastconv {

ClassAxis class_axis(const char* op, const Shape& shape, int64_t dim) {
    element_count(op, shape);
    if (dim < 0 || dim >= (shape.ndim ? shape.ndim : 1))
        throw ShapeError(message(op, ": dim ", dim, " does not exist in shape ", to_string(shape)));
    ClassAxis axis;
    for (int i = 0; i < shape.ndim; ++i)
        (i < dim ? axis.outer : i == dim ? axis.classes : axis.inner) *= shape[i];
    return axis;
}

void softmax_forward(const ClassAxis& axis, bool log, const TensorView& x, const TensorView& y) {
    if (axis.classes == 0) return;
    if (x.dtype == DType::f32) return FC_ISA_PICK(softmax_f32)(axis, log, x.as<float>(), y.as<float>());
    if (x.dtype == DType::bf16)
        return FC_ISA_PICK(softmax_bf16)(axis, log, x.as<bfloat16>(), y.as<bfloat16>());
    softmax_reference(axis, log, x.as<double>(), y.as<double>());
}

void softmax_backward(const ClassAxis& axis, bool log, const TensorView& y, const TensorView& dy,
                      const TensorView& dx) {
    if (axis.classes == 0) return;
    if (y.dtype == DType::f32)
        return FC_ISA_PICK(softmax_backward_f32)(axis, log, y.as<float>(), dy.as<float>(), dx.as<float>());
    if (y.dtype == DType::bf16)
        return FC_ISA_PICK(softmax_backward_bf16)(axis, log, y.as<bfloat16>(), dy.as<bfloat16>(),
                                                  dx.as<bfloat16>());
    softmax_backward_reference(axis, log, y.as<double>(), dy.as<double>(), dx.as<double>());
}

}  // namespace fastconv
