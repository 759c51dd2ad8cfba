#include "core/memory.h"
#include "cpu/layout/transpose.h"
#include "cpu/threads.h"
#include "ops/conv2d/gather.h"
#include "ops/conv2d/kernels.h"

namespace fastconv {
namespace {

void run(const PointwiseNchw& g) {
    const int team = num_threads();
    const size_t panel = FC_ISA_PICK(pointwise_scratch)(g);
    const Workspace scratch(panel * static_cast<size_t>(team));
    FC_ISA_PICK(pointwise_run)(g, scratch.as<char>(), team);
}

}  // namespace

void pointwise_nchw_fprop(const Conv2dProblem& p, const void* x, const void* w, const void* bias, void* y) {
    PointwiseNchw g{};
    g.x = static_cast<const float*>(x);
    g.weight = static_cast<const float*>(w);
    g.bias = static_cast<const float*>(bias);
    g.y = static_cast<float*>(y);
    g.n = p.n, g.groups = p.groups, g.depth = p.group_c(), g.width = p.group_k();
    g.h = p.h, g.w = p.w, g.step_h = p.vertical.stride, g.step_w = p.horizontal.stride;
    g.rows = p.p, g.cols = p.q;
    run(g);
}

void pointwise_nchw_dgrad(const Conv2dProblem& p, const void* w, const void* dy, const void* bias, void* dx) {
    // The same product with each group's weight matrix transposed.
    const int64_t kg = p.group_k(), cg = p.group_c();
    const Workspace turned(static_cast<size_t>(p.groups * kg * cg) * sizeof(float));
    FC_ISA_PICK(transpose_batch_f32)(static_cast<const float*>(w), turned.as<float>(), p.groups, kg, cg);
    PointwiseNchw g{};
    g.x = static_cast<const float*>(dy);
    g.weight = turned.as<float>();
    g.bias = static_cast<const float*>(bias);
    g.y = static_cast<float*>(dx);
    g.n = p.n, g.groups = p.groups, g.depth = kg, g.width = cg;
    g.h = p.p, g.w = p.q, g.step_h = g.step_w = 1;
    g.rows = p.h, g.cols = p.w;
    run(g);
}

}  // namespace fastconv
