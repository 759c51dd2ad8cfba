// bfloat16 convolution through float32: the operands are widened, the best float32 candidate runs, and its
// result is rounded. Whatever a bfloat16 kernel declines comes here.
#include "core/widened.h"

#include "ops/conv2d/kernels.h"

namespace fastconv {
namespace {

constexpr const char* kOp = "conv2d";

TensorView bf16(const void* data, const Shape& shape) {
    return {const_cast<void*>(data), DType::bf16, shape};
}

Conv2dProblem in_f32(Conv2dProblem p) {
    p.dtype = DType::f32;
    return p;
}

}  // namespace

void widened_fprop(const Conv2dProblem& p, const void* x, const void* w, const void* bias, void* y) {
    const WidenedIn wide_x(kOp, bf16(x, p.x_shape())), wide_w(kOp, bf16(w, p.weight_shape())),
        wide_bias(kOp, bf16(bias, Shape{p.k}));
    const WidenedOut out(kOp, bf16(y, p.y_shape()));
    conv2d_fprop(in_f32(p), wide_x.view().data, wide_w.view().data, wide_bias.view().data, out.view().data);
    out.round();
}

void widened_dgrad(const Conv2dProblem& p, const void* w, const void* dy, const void* bias, void* dx) {
    const WidenedIn wide_w(kOp, bf16(w, p.weight_shape())), wide_dy(kOp, bf16(dy, p.y_shape())),
        wide_bias(kOp, bf16(bias, Shape{p.c}));
    const WidenedOut out(kOp, bf16(dx, p.x_shape()));
    conv2d_dgrad(in_f32(p), wide_w.view().data, wide_dy.view().data, wide_bias.view().data, out.view().data);
    out.round();
}

void widened_wgrad(const Conv2dProblem& p, const void* x, const void* dy, void* dw) {
    const WidenedIn wide_x(kOp, bf16(x, p.x_shape())), wide_dy(kOp, bf16(dy, p.y_shape()));
    const WidenedOut out(kOp, bf16(dw, p.weight_shape()));
    conv2d_wgrad(in_f32(p), wide_x.view().data, wide_dy.view().data, out.view().data);
    out.round();
}

void widened_bias_grad(const Conv2dProblem& p, const void* dy, void* dbias) {
    const WidenedIn wide_dy(kOp, bf16(dy, p.y_shape()));
    const WidenedOut out(kOp, bf16(dbias, Shape{p.k}));
    conv2d_bias_grad(in_f32(p), wide_dy.view().data, out.view().data);
    out.round();
}

}  // namespace fastconv
