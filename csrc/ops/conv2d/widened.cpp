// bfloat16 convolution through float32: the operands are widened, the best float32 candidate runs, and its
// result is rounded. Whatever a bfloat16 kernel declines comes here.
#include "core/checks.h"
#include "cpu/layout/convert.h"
#include "ops/conv2d/kernels.h"

namespace fastconv {
namespace {

ConvPlan in_f32(Conv2dProblem p, ConvDirection direction) {
    p.dtype = DType::f32;
    return ConvPlan(p, direction);
}

int64_t weight_count(const Conv2dProblem& p) { return p.k * p.group_c() * p.taps(); }

// A float32 copy of `count` elements in the arena.
float* widen(const void* from, int64_t count, Arena& arena) {
    float* to = arena.take<float>(static_cast<size_t>(count));
    if (from && !arena.counting())
        FC_ISA_PICK(convert_bf16_to_f32)(static_cast<const bfloat16*>(from), to, count);
    return to;
}

// Packed weights are the float32 weights, then what the plan packs of them.
struct Packed {
    Arena arena;
    float* weight;
    char* packed;
    Packed(const Conv2dProblem& p, const ConvPlan& plan, void* base)
        : arena(base ? Arena(base) : Arena()),
          weight(arena.take<float>(static_cast<size_t>(weight_count(p)))),
          packed(arena.take<char>(plan.packed_bytes())) {}
};

size_t packed_bytes(const Conv2dProblem& p, ConvDirection direction) {
    return Packed(p, in_f32(p, direction), nullptr).arena.used();
}

void pack(const Conv2dProblem& p, ConvDirection direction, const void* weight, void* memory) {
    const ConvPlan plan = in_f32(p, direction);
    const Packed packed(p, plan, memory);
    FC_ISA_PICK(convert_bf16_to_f32)
    (static_cast<const bfloat16*>(weight), packed.weight, weight_count(p));
    plan.pack(packed.weight, packed.packed);
}

void run(const Conv2dProblem& p, ConvDirection direction, const ConvArgs& args, Arena& arena) {
    const ConvPlan plan = in_f32(p, direction);
    const int64_t x = p.n * p.c * p.pixels_in(), y = p.n * p.k * p.pixels_out();
    const bool fprop = direction == ConvDirection::fprop;
    ConvArgs wide = args;
    const float* in = widen(args.in, fprop ? x : y, arena);
    const float* bias = widen(args.epilogue.bias, fprop ? p.k : p.c, arena);
    float* out = arena.take<float>(static_cast<size_t>(fprop ? y : x));
    char* workspace = arena.take<char>(plan.workspace_bytes(args.team));
    if (arena.counting()) return;
    const Packed packed(p, plan, const_cast<void*>(args.packed));
    wide.in = in, wide.out = out, wide.weight = packed.weight, wide.packed = packed.packed;
    wide.epilogue = ConvEpilogue();
    if (args.epilogue.bias) wide.epilogue.bias = bias;
    plan.run(wide, workspace);
    FC_ISA_PICK(convert_f32_to_bf16)(out, static_cast<bfloat16*>(args.out), fprop ? y : x);
}

}  // namespace

size_t widened_fprop_packed_bytes(const Conv2dProblem& p) { return packed_bytes(p, ConvDirection::fprop); }
void widened_fprop_pack(const Conv2dProblem& p, const void* weight, void* packed) {
    pack(p, ConvDirection::fprop, weight, packed);
}
void widened_fprop(const Conv2dProblem& p, const ConvArgs& args, Arena& arena) {
    run(p, ConvDirection::fprop, args, arena);
}

size_t widened_dgrad_packed_bytes(const Conv2dProblem& p) { return packed_bytes(p, ConvDirection::dgrad); }
void widened_dgrad_pack(const Conv2dProblem& p, const void* weight, void* packed) {
    pack(p, ConvDirection::dgrad, weight, packed);
}
void widened_dgrad(const Conv2dProblem& p, const ConvArgs& args, Arena& arena) {
    run(p, ConvDirection::dgrad, args, arena);
}

void widened_wgrad(const Conv2dProblem& p, const WgradArgs& args, Arena& arena) {
    const ConvPlan plan = in_f32(p, ConvDirection::wgrad);
    WgradArgs wide = args;
    wide.x = widen(args.x, p.n * p.c * p.pixels_in(), arena);
    wide.dy = widen(args.dy, p.n * p.k * p.pixels_out(), arena);
    float* dweight = arena.take<float>(static_cast<size_t>(weight_count(p)));
    char* workspace = arena.take<char>(plan.workspace_bytes(args.team));
    if (arena.counting()) return;
    wide.dweight = dweight;
    plan.run(wide, workspace);
    FC_ISA_PICK(convert_f32_to_bf16)(dweight, static_cast<bfloat16*>(args.dweight), weight_count(p));
}

}  // namespace fastconv
