#include <algorithm>

#include "core/memory.h"
#include "cpu/layout/transpose.h"
#include "cpu/threads.h"
#include "ops/conv2d/gather.h"
#include "ops/conv2d/kernels.h"

namespace fastconv {
namespace {

DepthwiseNhwc geometry(const Conv2dProblem& p) {
    DepthwiseNhwc g{};
    g.n = p.n, g.c = p.c, g.h = p.h, g.w = p.w, g.p = p.p, g.q = p.q, g.r = p.r, g.s = p.s;
    g.stride_h = p.vertical.stride, g.stride_w = p.horizontal.stride;
    g.pad_h = p.vertical.pad_begin, g.pad_w = p.horizontal.pad_begin;
    g.dilation_h = p.vertical.dilation, g.dilation_w = p.horizontal.dilation;
    // Enough parts for many threads, few enough that their partial sums cost nothing.
    g.splits = std::clamp<int64_t>(p.n * p.p / 8, 1, 32);
    return g;
}

size_t bytes(int64_t floats) { return static_cast<size_t>(floats) * sizeof(float); }

// The channels-last form of an array: itself, or a reordered copy (read), or room for one (write).
class ChannelsLast {
  public:
    ChannelsLast(const Conv2dProblem& p, const void* data, int64_t pixels)
        : data_(static_cast<const float*>(data)) {
        if (p.layout == Layout::nhwc) return;
        copy_ = Workspace(bytes(p.n * p.c * pixels));
        FC_ISA_PICK(transpose_batch_f32)(data_, copy_.as<float>(), p.n, p.c, pixels);
        data_ = copy_.as<float>();
    }
    const float* data() const { return data_; }

  private:
    const float* data_;
    Workspace copy_;
};

// Runs kernel(out) on channels-last memory and reorders the result where the caller's layout is NCHW.
template <class Kernel>
void write(const Conv2dProblem& p, void* out, int64_t pixels, const Kernel& kernel) {
    if (p.layout == Layout::nhwc) return kernel(static_cast<float*>(out));
    const Workspace room(bytes(p.n * p.c * pixels));
    kernel(room.as<float>());
    FC_ISA_PICK(transpose_batch_f32)(room.as<float>(), static_cast<float*>(out), p.n, pixels, p.c);
}

// [channel][tap] weights as [tap][channel].
Workspace pack(const Conv2dProblem& p, const void* w) {
    Workspace packed(bytes(p.c * p.taps()));
    FC_ISA_PICK(transpose_batch_f32)(static_cast<const float*>(w), packed.as<float>(), 1, p.c, p.taps());
    return packed;
}

}  // namespace

void depthwise_fprop(const Conv2dProblem& p, const void* x, const void* w, const void* bias, void* y) {
    const ChannelsLast input(p, x, p.pixels_in());
    const Workspace packed = pack(p, w);
    write(p, y, p.pixels_out(), [&](float* out) {
        FC_ISA_PICK(depthwise_fprop_run)
        (geometry(p), input.data(), packed.as<float>(), static_cast<const float*>(bias), out);
    });
}

void depthwise_dgrad(const Conv2dProblem& p, const void* w, const void* dy, const void* bias, void* dx) {
    const ChannelsLast gradient(p, dy, p.pixels_out());
    const Workspace packed = pack(p, w);
    write(p, dx, p.pixels_in(), [&](float* out) {
        FC_ISA_PICK(depthwise_dgrad_run)
        (geometry(p), packed.as<float>(), gradient.data(), static_cast<const float*>(bias), out);
    });
}

void depthwise_wgrad(const Conv2dProblem& p, const void* x, const void* dy, void* dw) {
    const ChannelsLast input(p, x, p.pixels_in()), gradient(p, dy, p.pixels_out());
    const DepthwiseNhwc g = geometry(p);
    const Workspace partial(bytes(g.splits * p.taps() * p.c));
    FC_ISA_PICK(depthwise_wgrad_run)
    (g, input.data(), gradient.data(), partial.as<float>(), static_cast<float*>(dw));
}

}  // namespace fastconv
