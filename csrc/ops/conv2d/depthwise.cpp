#include <algorithm>

#include "cpu/layout/transpose.h"
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

// The channels-last form of an array of n x c planes: itself, or a reordered copy in the arena.
const float* channels_last(const Conv2dProblem& p, const void* data, int64_t pixels, Arena& arena) {
    const float* from = static_cast<const float*>(data);
    if (p.layout == Layout::nhwc) return from;
    float* copy = arena.take<float>(static_cast<size_t>(p.n * p.c * pixels));
    if (!arena.counting()) FC_ISA_PICK(transpose_batch_f32)(from, copy, p.n, p.c, pixels);
    return copy;
}

// Runs kernel(out) on channels-last memory and reorders the result where the caller's layout is NCHW.
template <class Kernel>
void write(const Conv2dProblem& p, void* data, int64_t pixels, Arena& arena, const Kernel& kernel) {
    float* out = static_cast<float*>(data);
    const bool reorder = p.layout == Layout::nchw;
    float* room = reorder ? arena.take<float>(static_cast<size_t>(p.n * p.c * pixels)) : out;
    if (arena.counting()) return;
    kernel(room);
    if (reorder) FC_ISA_PICK(transpose_batch_f32)(room, out, p.n, pixels, p.c);
}

}  // namespace

// [channel][tap] weights as [tap][channel].
size_t depthwise_packed_bytes(const Conv2dProblem& p) {
    return static_cast<size_t>(p.c * p.taps()) * sizeof(float);
}
void depthwise_pack(const Conv2dProblem& p, const void* weight, void* packed) {
    FC_ISA_PICK(transpose_batch_f32)
    (static_cast<const float*>(weight), static_cast<float*>(packed), 1, p.c, p.taps());
}

void depthwise_fprop(const Conv2dProblem& p, const ConvArgs& args, Arena& arena) {
    const float* x = channels_last(p, args.in, p.pixels_in(), arena);
    write(p, args.out, p.pixels_out(), arena, [&](float* y) {
        FC_ISA_PICK(depthwise_fprop_run)
        (geometry(p), x, static_cast<const float*>(args.packed),
         static_cast<const float*>(args.epilogue.bias), y);
    });
}

void depthwise_dgrad(const Conv2dProblem& p, const ConvArgs& args, Arena& arena) {
    const float* dy = channels_last(p, args.in, p.pixels_out(), arena);
    write(p, args.out, p.pixels_in(), arena, [&](float* dx) {
        FC_ISA_PICK(depthwise_dgrad_run)
        (geometry(p), static_cast<const float*>(args.packed), dy,
         static_cast<const float*>(args.epilogue.bias), dx);
    });
}

void depthwise_wgrad(const Conv2dProblem& p, const WgradArgs& args, Arena& arena) {
    const float* x = channels_last(p, args.x, p.pixels_in(), arena);
    const float* dy = channels_last(p, args.dy, p.pixels_out(), arena);
    const DepthwiseNhwc g = geometry(p);
    float* partial = arena.take<float>(static_cast<size_t>(g.splits * p.taps() * p.c));
    if (arena.counting()) return;
    FC_ISA_PICK(depthwise_wgrad_run)(g, x, dy, partial, static_cast<float*>(args.dweight));
}

}  // namespace fastconv
