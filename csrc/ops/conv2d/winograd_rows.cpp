// Brings convolutions of few channels into the form of winograd_rows.h.
#include "ops/conv2d/winograd_rows.h"

#include <algorithm>

#include "core/precision.h"
#include "ops/conv2d/kernels.h"
#include "ops/conv2d/pooled.h"

namespace fastconv {
namespace {

// Floats of a worker's scratch memory, which should be in L2; and of dy's points in wgrad.
constexpr int64_t kMostScratch = 1 << 20, kBand = 48 << 10;
constexpr int64_t kMostParts = 8, kMostChannels = 64, kLong = 1 << 12;

WinogradRows setup(const Conv2dProblem& p) {
    WinogradRows g{};
    g.n = p.n, g.c = p.c, g.h = p.h, g.w = p.w, g.k = p.k, g.r = p.r, g.s = p.s, g.p = p.p, g.q = p.q;
    g.stride = p.vertical.stride, g.dilation = p.vertical.dilation;
    g.top = p.vertical.pad_begin, g.left = p.horizontal.pad_begin;
    const int64_t lanes = FC_ISA_PICK(winograd_rows_lanes)();
    // Lanes are added up once a part.
    const int64_t groups = (p.n + lanes - 1) / lanes;
    g.parts = std::clamp<int64_t>(groups / 2, std::min<int64_t>(groups, 2), kMostParts);
    const int64_t band = std::clamp<int64_t>(kBand / (p.k * g.row_points() * lanes), 1, p.p);
    g.band = (p.p + (p.p + band - 1) / band - 1) / ((p.p + band - 1) / band);
    g.activate = g.pools = g.x_lanes = g.y_lanes = false;
    g.kept = g.dbias = nullptr;
    return g;
}

void set_floats(const ConvArgs& args, WinogradRows& g) {
    g.packed = static_cast<const float*>(args.packed);
    g.bias = static_cast<const float*>(args.epilogue.bias);
    g.out = static_cast<float*>(args.out);
}

const char* declines(const Conv2dProblem& p) {
    if (p.dtype != DType::f32) return "element type is not float32";
    if (p.layout != Layout::nchw) return "layout is not NCHW";
    if (p.groups > 1) return "groups";
    if (p.s != 3 && p.s != 5) return "the filter's rows are not of 3 or 5 taps";
    if (p.horizontal.stride != 1 || p.horizontal.dilation != 1)
        return "stride or dilation along the row is not 1";
    if (p.c > kMostChannels || p.k > kMostChannels) return "too many channels";
    if (p.h > kLong || p.w > kLong || p.p > kLong || p.q > kLong || p.vertical.extent() > kLong ||
        p.vertical.stride > kLong)
        return "the image is too large";
    return nullptr;
}

// Measured: products of more channels are worth Winograd's tiles along both axes, one or two channels less
// than the transforms that 3x3 takes, and wgrad of many outputs a channel spends its time on adding up lanes.
const char* unwanted(const Conv2dProblem& p, ConvDirection direction) {
    if (precision() == Precision::highest) return "set_precision('highest') asks for direct arithmetic";
    const int64_t lanes = FC_ISA_PICK(winograd_rows_lanes)(), vectors = (p.n + lanes - 1) / lanes;
    if (7 * p.n < 6 * vectors * lanes) return "images leave lanes empty";
    const bool wgrad = direction == ConvDirection::wgrad;
    if (p.c * p.k > (wgrad ? lanes > 4 ? 128 : 64 : lanes > 8 ? 512 : 128)) return "many channels";
    if (direction == ConvDirection::fprop && p.s == 3 && p.c < 3 && p.q >= 10)
        return "one or two channels of 3x3";
    if (wgrad && lanes > 8 && p.k >= 12 && p.k > 8 * p.c) return "many outputs a channel";
    return nullptr;
}

}  // namespace

const char* winograd_rows_fprop_declines(const Conv2dProblem& p) {
    if (const char* reason = declines(p)) return reason;
    return FC_ISA_PICK(winograd_rows_scratch)(setup(p)) > kMostScratch ? "the image is too large" : nullptr;
}
const char* winograd_rows_dgrad_declines(const Conv2dProblem& p) {
    if (p.vertical.stride != 1) return "stride is not 1";
    return winograd_rows_fprop_declines(p);
}
const char* winograd_rows_wgrad_declines(const Conv2dProblem& p) {
    if (const char* reason = declines(p)) return reason;
    return FC_ISA_PICK(winograd_rows_wgrad_scratch)(setup(p)) > kMostScratch ? "the image is too large"
                                                                             : nullptr;
}
const char* winograd_rows_fprop_unwanted(const Conv2dProblem& p) { return unwanted(p, ConvDirection::fprop); }
const char* winograd_rows_dgrad_unwanted(const Conv2dProblem& p) { return unwanted(p, ConvDirection::dgrad); }
const char* winograd_rows_wgrad_unwanted(const Conv2dProblem& p) { return unwanted(p, ConvDirection::wgrad); }

size_t winograd_rows_packed_bytes(const Conv2dProblem& p) {
    return static_cast<size_t>(FC_ISA_PICK(winograd_rows_packed)(setup(p))) * sizeof(float);
}
void winograd_rows_fprop_pack(const Conv2dProblem& p, const void* weight, void* packed) {
    FC_ISA_PICK(winograd_rows_pack)
    (setup(p), false, static_cast<const float*>(weight), static_cast<float*>(packed));
}
void winograd_rows_dgrad_pack(const Conv2dProblem& p, const void* weight, void* packed) {
    FC_ISA_PICK(winograd_rows_pack)
    (setup(p), true, static_cast<const float*>(weight), static_cast<float*>(packed));
}

void winograd_rows_fprop(const Conv2dProblem& p, const ConvArgs& args, Arena& arena) {
    WinogradRows g = setup(p);
    float* scratch =
        arena.take<float>(static_cast<size_t>(FC_ISA_PICK(winograd_rows_scratch)(g) * args.team));
    if (arena.counting()) return;
    g.x = static_cast<const float*>(args.in);
    set_floats(args, g);
    g.activate = args.epilogue.activate;
    g.activation = args.epilogue.activation, g.slope = static_cast<float>(args.epilogue.slope);
    FC_ISA_PICK(winograd_rows_fprop)(g, scratch, args.team);
}

void winograd_rows_dgrad(const Conv2dProblem& p, const ConvArgs& args, Arena& arena) {
    WinogradRows g = setup(p);
    float* scratch =
        arena.take<float>(static_cast<size_t>(FC_ISA_PICK(winograd_rows_scratch)(g) * args.team));
    if (arena.counting()) return;
    g.dy = static_cast<const float*>(args.in);
    set_floats(args, g);
    FC_ISA_PICK(winograd_rows_dgrad)(g, scratch, args.team);
}

void winograd_rows_wgrad(const Conv2dProblem& p, const WgradArgs& args, Arena& arena) {
    WinogradRows g = setup(p);
    float* partial = arena.take<float>(static_cast<size_t>(g.parts * p.k * p.c * p.taps()));
    float* scratch =
        arena.take<float>(static_cast<size_t>(FC_ISA_PICK(winograd_rows_wgrad_scratch)(g) * args.team));
    if (arena.counting()) return;
    g.x = static_cast<const float*>(args.x), g.dy = static_cast<const float*>(args.dy);
    g.out = static_cast<float*>(args.dweight);
    FC_ISA_PICK(winograd_rows_wgrad)(g, partial, scratch, args.team);
}

int64_t pooled_conv_lanes() { return FC_ISA_PICK(winograd_rows_lanes)(); }

const char* pooled_conv_declines(const Conv2dProblem& p, ConvDirection direction) {
    if (p.n % pooled_conv_lanes()) return "images leave lanes empty";
    if (p.p < 2 || p.q < 2) return "there is nothing to average";
    return direction == ConvDirection::fprop   ? winograd_rows_fprop_declines(p)
           : direction == ConvDirection::dgrad ? winograd_rows_dgrad_declines(p)
                                               : winograd_rows_wgrad_declines(p);
}

void pooled_conv_run(const Conv2dProblem& p, const PooledConv& pooled, const PooledConvArgs& args,
                     Arena& arena) {
    const bool wgrad = pooled.direction == ConvDirection::wgrad;
    WinogradRows g = setup(p);
    g.activate = g.pools = true;
    g.activation = pooled.activation, g.slope = static_cast<float>(pooled.slope);
    g.x_lanes = pooled.x_lanes, g.y_lanes = pooled.y_lanes;
    float* partial =
        wgrad ? arena.take<float>(static_cast<size_t>(g.parts * p.k * (p.c * p.taps() + 1))) : nullptr;
    const int64_t floats =
        wgrad ? FC_ISA_PICK(winograd_rows_wgrad_scratch)(g) : FC_ISA_PICK(winograd_rows_scratch)(g);
    float* scratch = arena.take<float>(static_cast<size_t>(floats * args.team));
    if (arena.counting()) return;
    g.x = args.x, g.dy = args.dy, g.packed = args.packed, g.bias = args.bias, g.kept = args.kept;
    g.out = args.out, g.dbias = args.dbias;
    switch (pooled.direction) {
        case ConvDirection::fprop:
            return FC_ISA_PICK(winograd_rows_fprop)(g, scratch, args.team);
        case ConvDirection::dgrad:
            return FC_ISA_PICK(winograd_rows_dgrad)(g, scratch, args.team);
        case ConvDirection::wgrad:
            return FC_ISA_PICK(winograd_rows_wgrad)(g, partial, scratch, args.team);
    }
}

}  // namespace fastconv
