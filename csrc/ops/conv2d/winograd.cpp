// Winograd convolution of conv2d's three directions: geometry, workspaces.
#include "ops/conv2d/winograd.h"

#include "core/checks.h"
#include "core/memory.h"
#include "cpu/threads.h"
#include "ops/conv2d/kernels.h"

namespace fastconv {
namespace {

WinogradImage image_of(Layout layout, int64_t c, int64_t h, int64_t w) {
    if (layout == Layout::nchw) return {h, w, c * h * w, w, 1, h * w};
    return {h, w, c * h * w, w * c, c, 1};
}

WinogradWeight forward_filter(const Conv2dProblem& p) {
    return {p.groups, p.group_c(), p.group_k(), p.group_k() * p.group_c() * 9, 9, p.group_c() * 9, false};
}

// dx = dy convolved with the filter rotated, its two channel axes exchanged.
WinogradWeight backward_filter(const Conv2dProblem& p) {
    return {p.groups, p.group_k(), p.group_c(), p.group_k() * p.group_c() * 9, p.group_c() * 9, 9, true};
}

WinogradConv forward(const Conv2dProblem& p) {
    WinogradConv conv{};
    conv.input = image_of(p.layout, p.c, p.h, p.w);
    conv.output = image_of(p.layout, p.k, p.p, p.q);
    conv.n = p.n;
    conv.top = p.vertical.pad_begin, conv.left = p.horizontal.pad_begin;
    conv.groups = p.groups, conv.depth = p.group_c(), conv.width = p.group_k();
    conv.filter = forward_filter(p);
    return conv;
}

WinogradConv backward(const Conv2dProblem& p) {
    WinogradConv conv{};
    conv.input = image_of(p.layout, p.k, p.p, p.q);
    conv.output = image_of(p.layout, p.c, p.h, p.w);
    conv.n = p.n;
    conv.top = 2 - p.vertical.pad_begin, conv.left = 2 - p.horizontal.pad_begin;
    conv.groups = p.groups, conv.depth = p.group_k(), conv.width = p.group_c();
    conv.filter = backward_filter(p);
    return conv;
}

size_t floats(int64_t count) { return static_cast<size_t>(count) * sizeof(float); }

void run(WinogradConv& conv) {
    const int team = num_threads();
    WinogradPlan plan = FC_ISA_PICK(winograd_plan)(conv, team);
    Workspace packed;
    if (!conv.packed && !plan.stationary) {
        packed = Workspace(floats(FC_ISA_PICK(winograd_packed_floats)(conv.filter)));
        FC_ISA_PICK(winograd_pack)(conv.filter, conv.weight, packed.as<float>());
        conv.packed = packed.as<float>();
    }
    const Workspace shared(plan.shared), scratch(plan.scratch * static_cast<size_t>(team));
    FC_ISA_PICK(winograd_run)(conv, plan, shared.as<char>(), scratch.as<char>(), team);
}

}  // namespace

const char* winograd_declines(const Conv2dProblem& p) {
    if (p.dtype != DType::f32) return "element type is not float32";
    if (p.r != 3 || p.s != 3) return "kernel is not 3x3";
    if (p.vertical.stride != 1 || p.horizontal.stride != 1) return "stride is not 1";
    if (p.vertical.dilation != 1 || p.horizontal.dilation != 1) return "dilation is not 1";
    return nullptr;
}

void winograd_fprop(const Conv2dProblem& p, const void* x, const void* w, const void* bias, void* y) {
    WinogradConv conv = forward(p);
    conv.in = static_cast<const float*>(x);
    conv.out = static_cast<float*>(y);
    conv.weight = static_cast<const float*>(w);
    conv.bias = static_cast<const float*>(bias);
    run(conv);
}

void winograd_dgrad(const Conv2dProblem& p, const void* w, const void* dy, const void* bias, void* dx) {
    WinogradConv conv = backward(p);
    conv.in = static_cast<const float*>(dy);
    conv.out = static_cast<float*>(dx);
    conv.weight = static_cast<const float*>(w);
    conv.bias = static_cast<const float*>(bias);
    run(conv);
}

void winograd_wgrad(const Conv2dProblem& p, const void* x, const void* dy, void* dw) {
    WinogradWgrad conv{};
    conv.x = static_cast<const float*>(x);
    conv.dy = static_cast<const float*>(dy);
    conv.dw = static_cast<float*>(dw);
    conv.input = image_of(p.layout, p.c, p.h, p.w);
    conv.output = image_of(p.layout, p.k, p.p, p.q);
    conv.n = p.n;
    conv.top = p.vertical.pad_begin, conv.left = p.horizontal.pad_begin;
    conv.groups = p.groups, conv.depth = p.group_c(), conv.width = p.group_k();
    const int team = num_threads();
    const WinogradWgradPlan plan = FC_ISA_PICK(winograd_wgrad_plan)(conv);
    const Workspace shared(plan.shared), scratch(plan.scratch * static_cast<size_t>(team));
    FC_ISA_PICK(winograd_wgrad_run)(conv, plan, shared.as<char>(), scratch.as<char>(), team);
}

}  // namespace fastconv
