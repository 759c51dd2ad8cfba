// bfloat16 convolution through float32: the operands are widened, the best float32 candidate runs, and its
// result is rounded. Whatever a bfloat16 kernel declines comes here.
#include <algorithm>

#include "core/memory.h"
#include "cpu/layout/convert.h"
#include "ops/conv2d/kernels.h"

namespace fastconv {
namespace {

// Images are widened a few at a time, so that their float32 copies stay in cache.
constexpr int64_t kChunkElements = 2 << 20;

Conv2dProblem in_f32(Conv2dProblem p, int64_t images) {
    p.dtype = DType::f32;
    p.n = images;
    return p;
}

int64_t count_of(const Shape& shape) {
    int64_t count = 1;
    for (int64_t d : shape) count *= d;
    return count;
}

size_t plan_packed_bytes(const Conv2dProblem& p, ConvDirection direction) {
    const size_t bytes = ConvPlan(in_f32(p, 1), direction, "", true).packed_bytes();
    return bytes ? bytes : static_cast<size_t>(count_of(p.weight_shape())) * sizeof(float);
}

void plan_pack(const Conv2dProblem& p, ConvDirection direction, const void* weight, void* packed) {
    const ConvPlan plan(in_f32(p, 1), direction, "", true);
    const int64_t count = count_of(p.weight_shape());
    const Workspace wide(plan.packed_bytes() ? static_cast<size_t>(count) * sizeof(float) : 0);
    float* to = plan.packed_bytes() ? wide.as<float>() : static_cast<float*>(packed);
    FC_ISA_PICK(convert_bf16_to_f32)(static_cast<const bfloat16*>(weight), to, count);
    plan.pack(to, packed);
}

// Images that are widened at once.
int64_t chunk_of(const Conv2dProblem& p) {
    const Conv2dProblem one = in_f32(p, 1);
    return std::clamp<int64_t>(kChunkElements / (count_of(one.x_shape()) + count_of(one.y_shape())), 1,
                               std::max<int64_t>(1, p.n));
}

// Whether the float32 candidate would rather pack weights as it runs: for all images at once.
bool plan_packs_itself(const Conv2dProblem& p, ConvDirection direction, int team) {
    const std::string algorithm = ConvPlan(in_f32(p, 1), direction, "", true).algorithm();
    return chunk_of(p) >= p.n && ConvPlan(in_f32(p, p.n), direction, algorithm).packs_itself(team);
}

void plan_run(const Conv2dProblem& p, ConvDirection direction, const ConvArgs& args, Arena& arena) {
    const bool fprop = direction == ConvDirection::fprop;
    const Conv2dProblem one = in_f32(p, 1);
    const int64_t in_size = count_of(fprop ? one.x_shape() : one.y_shape());
    const int64_t out_size = count_of(fprop ? one.y_shape() : one.x_shape());
    const int64_t weight_size = count_of(p.weight_shape());
    const int64_t chunk = chunk_of(p), channels = fprop ? p.k : p.c;
    // One candidate for every chunk: the packed weights are in its order.
    const std::string algorithm = ConvPlan(in_f32(p, 1), direction, "", true).algorithm();
    const ConvPlan whole(in_f32(p, chunk), direction, algorithm);
    const auto size = [](int64_t n) { return static_cast<size_t>(n); };
    float* in = arena.take<float>(size(chunk * in_size));
    float* out = arena.take<float>(size(chunk * out_size));
    float* bias = arena.take<float>(size(channels));
    // As plan_packs_itself says.
    const bool packs = chunk >= p.n && whole.packs_itself(args.team);
    float* weight = arena.take<float>(packs ? size(weight_size) : 0);
    float* residual =
        arena.take<float>(args.epilogue.residual || arena.counting() ? size(chunk * out_size) : 0);
    float* saved = arena.take<float>(args.epilogue.saved || arena.counting() ? size(chunk * out_size) : 0);
    char* inner = arena.take<char>(whole.workspace_bytes(args.team));
    if (arena.counting()) return;
    const auto widen = [](const void* from, int64_t at, float* to, int64_t count) {
        FC_ISA_PICK(convert_bf16_to_f32)(static_cast<const bfloat16*>(from) + at, to, count);
    };
    ConvArgs a;
    a.in = in, a.weight = args.packed, a.packed = args.packed, a.out = out, a.team = args.team;
    a.epilogue = args.epilogue;
    if (!args.packed) {
        widen(args.weight, 0, weight, weight_size);
        a.weight = weight;
    }
    if (args.epilogue.bias) {
        widen(args.epilogue.bias, 0, bias, channels);
        a.epilogue.bias = bias;
    }
    for (int64_t n = 0; n < p.n; n += chunk) {
        const int64_t images = std::min(chunk, p.n - n);
        widen(args.in, n * in_size, in, images * in_size);
        if (args.epilogue.residual) {
            widen(args.epilogue.residual, n * out_size, residual, images * out_size);
            a.epilogue.residual = residual;
        }
        if (args.epilogue.saved) {
            widen(args.epilogue.saved, n * out_size, saved, images * out_size);
            a.epilogue.saved = saved;
        }
        ConvPlan(in_f32(p, images), direction, algorithm).run(a, inner);
        FC_ISA_PICK(convert_f32_to_bf16)(out, static_cast<bfloat16*>(args.out) + n * out_size,
                                         images * out_size);
    }
}

}  // namespace

size_t widened_fprop_packed_bytes(const Conv2dProblem& p) {
    return plan_packed_bytes(p, ConvDirection::fprop);
}
void widened_fprop_pack(const Conv2dProblem& p, const void* weight, void* packed) {
    plan_pack(p, ConvDirection::fprop, weight, packed);
}
bool widened_fprop_packs_itself(const Conv2dProblem& p, int team) {
    return plan_packs_itself(p, ConvDirection::fprop, team);
}
void widened_fprop(const Conv2dProblem& p, const ConvArgs& args, Arena& arena) {
    plan_run(p, ConvDirection::fprop, args, arena);
}

size_t widened_dgrad_packed_bytes(const Conv2dProblem& p) {
    return plan_packed_bytes(p, ConvDirection::dgrad);
}
void widened_dgrad_pack(const Conv2dProblem& p, const void* weight, void* packed) {
    plan_pack(p, ConvDirection::dgrad, weight, packed);
}
bool widened_dgrad_packs_itself(const Conv2dProblem& p, int team) {
    return plan_packs_itself(p, ConvDirection::dgrad, team);
}
void widened_dgrad(const Conv2dProblem& p, const ConvArgs& args, Arena& arena) {
    plan_run(p, ConvDirection::dgrad, args, arena);
}

void widened_wgrad(const Conv2dProblem& p, const WgradArgs& args, Arena& arena) {
    const int64_t x_count = count_of(p.x_shape()), y_count = count_of(p.y_shape()),
                  w_count = count_of(p.weight_shape());
    const ConvPlan plan(in_f32(p, p.n), ConvDirection::wgrad);
    float* x = arena.take<float>(static_cast<size_t>(x_count));
    float* dy = arena.take<float>(static_cast<size_t>(y_count));
    float* dw = arena.take<float>(static_cast<size_t>(w_count));
    char* inner = arena.take<char>(plan.workspace_bytes(args.team));
    if (arena.counting()) return;
    FC_ISA_PICK(convert_bf16_to_f32)(static_cast<const bfloat16*>(args.x), x, x_count);
    FC_ISA_PICK(convert_bf16_to_f32)(static_cast<const bfloat16*>(args.dy), dy, y_count);
    WgradArgs a;
    a.x = x, a.dy = dy, a.dweight = dw, a.team = args.team;
    plan.run(a, inner);
    FC_ISA_PICK(convert_f32_to_bf16)(dw, static_cast<bfloat16*>(args.dweight), w_count);
}

}  // namespace fastconv
