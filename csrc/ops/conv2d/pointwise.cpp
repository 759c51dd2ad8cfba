#include "cpu/layout/transpose.h"
#include "ops/conv2d/gather.h"
#include "ops/conv2d/kernels.h"

namespace fastconv {
namespace {

void run(PointwiseNchw& g, int team, Arena& arena) {
    char* scratch = arena.take<char>(FC_ISA_PICK(pointwise_scratch)(g) * static_cast<size_t>(team));
    g.moments.partials = arena.take<float>(FC_ISA_PICK(pointwise_partials)(g) / sizeof(float));
    if (!arena.counting()) FC_ISA_PICK(pointwise_run)(g, scratch, team);
}

}  // namespace

void pointwise_nchw_fprop(const Conv2dProblem& p, const ConvArgs& args, Arena& arena) {
    PointwiseNchw g{};
    g.x = static_cast<const float*>(args.in);
    g.weight = static_cast<const float*>(args.weight);
    g.bias = static_cast<const float*>(args.epilogue.bias);
    g.y = static_cast<float*>(args.out);
    g.finish = Finish(args);
    g.line = InputLine(args.prologue);
    g.moments = OutputMoments(args.statistics);
    g.n = p.n, g.groups = p.groups, g.depth = p.group_c(), g.width = p.group_k();
    g.h = p.h, g.w = p.w, g.step_h = p.vertical.stride, g.step_w = p.horizontal.stride;
    g.rows = p.p, g.cols = p.q;
    run(g, args.team, arena);
}

// The same product with each group's weight matrix transposed.
size_t pointwise_nchw_dgrad_packed_bytes(const Conv2dProblem& p) {
    return static_cast<size_t>(p.k * p.group_c()) * sizeof(float);
}
void pointwise_nchw_dgrad_pack(const Conv2dProblem& p, const void* weight, void* packed) {
    FC_ISA_PICK(transpose_batch_f32)
    (static_cast<const float*>(weight), static_cast<float*>(packed), p.groups, p.group_k(), p.group_c());
}

void pointwise_nchw_dgrad(const Conv2dProblem& p, const ConvArgs& args, Arena& arena) {
    PointwiseNchw g{};
    g.x = static_cast<const float*>(args.in);
    g.weight = static_cast<const float*>(args.packed);
    g.bias = static_cast<const float*>(args.epilogue.bias);
    g.y = static_cast<float*>(args.out);
    g.finish = Finish(args);
    g.n = p.n, g.groups = p.groups, g.depth = p.group_k(), g.width = p.group_c();
    g.h = p.p, g.w = p.q, g.step_h = g.step_w = 1;
    g.rows = p.h, g.cols = p.w;
    run(g, args.team, arena);
}

}  // namespace fastconv
