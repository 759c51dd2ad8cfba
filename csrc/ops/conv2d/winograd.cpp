// Winograd convolution of conv2d's three directions: geometry, workspaces.
#include "ops/conv2d/winograd.h"

#include <algorithm>
#include <string>

#include "core/precision.h"
#include "ops/conv2d/bf16.h"
#include "ops/conv2d/cost.h"
#include "ops/conv2d/kernels.h"

namespace fastconv {
namespace {

WinogradImage image_of(Layout layout, int64_t c, int64_t h, int64_t w, int64_t pitch) {
    if (layout == Layout::nchw) return {h, w, c * h * w, w, 1, h * w};
    if (pitch) c = pitch;
    return {h, w, c * h * w, w * c, c, 1};
}

// Taps of a phase of the stride.
int64_t taps_of(const WindowAxis& axis) { return (axis.kernel + axis.stride - 1) / axis.stride; }
bool strided(const Conv2dProblem& p) { return p.vertical.stride > 1 || p.horizontal.stride > 1; }

WinogradPhases phases_of(const Conv2dProblem& p) {
    return {p.vertical.stride, p.horizontal.stride, p.group_c(), p.r, p.s, p.layout == Layout::nchw};
}

int64_t depth_of(const Conv2dProblem& p) { return p.group_c() * p.vertical.stride * p.horizontal.stride; }

WinogradWeight forward_filter(const Conv2dProblem& p, int tile) {
    const int64_t filter = p.group_c() * p.taps();
    return {p.groups,     depth_of(p), p.group_k(), p.group_k() * filter,
            p.taps(),     filter,      false,       winograd_form(p, tile),
            phases_of(p), p.dtype};
}

// dgrad over phases along an axis. dx[s t + a] has the taps r = a + start - s i of dy[t - before + i].
struct BackwardAxis {
    int64_t before, start, taps;
    explicit BackwardAxis(const WindowAxis& axis) : before(0), start(0), taps(0) {
        const int64_t s = axis.stride;
        int64_t first = INT64_MAX, last = INT64_MIN;  // pixels of dy from t on
        for (int64_t a = 0; a < s; ++a) {
            const int64_t at = a + axis.pad_begin, r = at % s;
            if (r >= axis.kernel) continue;
            last = std::max(last, at / s);
            first = std::min(first, at / s - (axis.kernel - 1 - r) / s);
        }
        before = -first, start = axis.pad_begin + s * before, taps = last - first + 1;
    }
};

int64_t whole_vectors(int64_t channels) {
    const int64_t lanes = FC_ISA_PICK(winograd_lanes)();
    return (channels + lanes - 1) / lanes * lanes;
}

WinogradWeight backward_phases_filter(const Conv2dProblem& p) {
    const int64_t filter = p.group_c() * p.taps();
    WinogradPhases phases = phases_of(p);
    phases.channels = whole_vectors(p.group_c());
    phases.columns_first = false, phases.outputs = true;
    phases.start_row = BackwardAxis(p.vertical).start, phases.start_col = BackwardAxis(p.horizontal).start;
    return {p.groups,
            p.group_k(),
            phases.channels * phases.down * phases.across,
            p.group_k() * filter,
            filter,
            p.taps(),
            false,
            winograd_form(p, 4),
            phases,
            p.dtype,
            p.group_c()};
}

// dx = dy convolved with the filter rotated, its two channel axes exchanged.
WinogradWeight backward_filter(const Conv2dProblem& p, int tile) {
    if (strided(p)) return backward_phases_filter(p);
    const int64_t filter = p.group_c() * p.taps();
    WinogradPhases phases = phases_of(p);
    phases.channels = p.group_k();
    return {p.groups, p.group_k(), p.group_c(), p.group_k() * filter,
            filter,   p.taps(),    true,        winograd_form(p, tile),
            phases,   p.dtype};
}

WinogradConv forward(const Conv2dProblem& p, int tile) {
    WinogradConv conv{};
    conv.input = image_of(p.layout, p.c, p.h, p.w, p.x_pitch);
    conv.output = image_of(p.layout, p.k, p.p, p.q, p.y_pitch);
    conv.n = p.n;
    conv.top = p.vertical.pad_begin, conv.left = p.horizontal.pad_begin;
    conv.groups = p.groups, conv.depth = depth_of(p), conv.width = p.group_k();
    conv.filter = forward_filter(p, tile);
    return conv;
}

WinogradConv backward(const Conv2dProblem& p, int tile) {
    WinogradConv conv{};
    conv.input = image_of(p.layout, p.k, p.p, p.q, p.y_pitch);
    conv.output = image_of(p.layout, p.c, p.h, p.w, p.x_pitch);
    conv.n = p.n;
    conv.top = p.r - 1 - p.vertical.pad_begin, conv.left = p.s - 1 - p.horizontal.pad_begin;
    conv.groups = p.groups, conv.depth = p.group_k();
    conv.filter = backward_filter(p, tile);
    conv.width = conv.filter.width;
    if (strided(p)) {
        const int64_t down = p.vertical.stride, across = p.horizontal.stride;
        conv.whole = conv.output;
        conv.output.h /= down, conv.output.step_h *= down;
        conv.output.w /= across, conv.output.step_w *= across;
        conv.top = BackwardAxis(p.vertical).before, conv.left = BackwardAxis(p.horizontal).before;
    }
    return conv;
}

WinogradWgrad weights(const Conv2dProblem& p) {
    WinogradWgrad conv{};
    conv.form = winograd_form(p, 4);
    conv.dtype = p.dtype;
    conv.phases = phases_of(p);
    conv.input = image_of(p.layout, p.c, p.h, p.w, p.x_pitch);
    conv.output = image_of(p.layout, p.k, p.p, p.q, p.y_pitch);
    conv.n = p.n;
    conv.top = p.vertical.pad_begin, conv.left = p.horizontal.pad_begin;
    conv.groups = p.groups, conv.depth = depth_of(p), conv.width = p.group_k();
    return conv;
}

size_t packed_bytes(const WinogradWeight& w) {
    return static_cast<size_t>(FC_ISA_PICK(winograd_packed_floats)(w)) * sizeof(float);
}

void pack(const WinogradWeight& w, const void* weight, void* packed) {
    FC_ISA_PICK(winograd_pack)(w, weight, static_cast<float*>(packed));
}

WinogradPlan plan_of(WinogradConv conv, bool packed, int team) {
    static const float present = 0;
    conv.packed = packed ? &present : nullptr;
    return FC_ISA_PICK(winograd_plan)(conv, team);
}

// Only the stationary way transforms the weights as it goes.
bool packs_itself(const WinogradConv& conv, int team) { return plan_of(conv, false, team).stationary; }

void run(WinogradConv conv, const ConvArgs& args, Arena& arena) {
    // Room for a run with packed weights and for one without.
    WinogradPlan plan = plan_of(conv, args.packed || !packs_itself(conv, args.team), args.team);
    const WinogradPlan packed = plan_of(conv, true, args.team), itself = plan_of(conv, false, args.team);
    const size_t team = static_cast<size_t>(args.team);
    char* const shared = arena.take<char>(std::max(packed.shared, itself.stationary ? itself.shared : 0));
    char* const scratch =
        arena.take<char>(std::max(packed.scratch, itself.stationary ? itself.scratch : 0) * team);
    if (arena.counting()) return;
    conv.in = args.in, conv.out = args.out, conv.weight = args.weight;
    conv.packed = static_cast<const float*>(args.packed);
    conv.epilogue = args.epilogue;
    FC_ISA_PICK(winograd_run)(conv, plan, shared, scratch, args.team);
}

// Fewer reduced channels than this, of 3x3 and of other filters, leave each product with less work than its
// start; measured, direct wins.
constexpr int64_t kFewestChannels = 6, kFewestOfOthers = 8;
// And of outputs, and of a group, over the phases of a stride.
constexpr int64_t kFewestOutputs = 16;

// Weights of phases, transformed, are up to sixteen times the filter.
constexpr size_t kMostPhaseWeights = 256 << 20;

const char* bf16_declines(const Conv2dProblem& p, ConvDirection direction) {
    return direction == ConvDirection::fprop   ? bf16_fprop_declines(p)
           : direction == ConvDirection::dgrad ? bf16_dgrad_declines(p)
                                               : bf16_wgrad_declines(p);
}

// What vdpbf16ps takes of the time that the model has for float32's direct kernels, at FMA's speed.
// More where it reorders few channels.
constexpr double kDots = 0.52, kDotsWgrad = 0.675, kDotsFew = 1.4;
constexpr int64_t kFewInputs = 16;
// Cycles of a vector of wgrad's sums, each time that they pass through memory, and the bytes that do.
constexpr double kFarSums = 18;
constexpr size_t kFarBytes = 16 << 20;

// bfloat16 goes the way of float32 but where its own instructions, which multiply up to twice what an FMA
// does in its time, are faster.
const char* unwanted_narrow(const Conv2dProblem& p, ConvDirection direction, int tile) {
    Conv2dProblem wide = p;
    wide.dtype = DType::f32;
    const std::string algorithm = ConvPlan(wide, direction, "", true).algorithm();
    if (algorithm != (strided(p) ? "winograd_phases" : tile == 6 ? "winograd6" : "winograd"))
        return "float32 has another choice";
    if (bf16_tier() == Bf16Tier::emulated || bf16_declines(p, direction)) return nullptr;
    const char* const faster = "bfloat16's own instructions are expected to be faster";
    if (bf16_tier() != Bf16Tier::avx512_bf16) return faster;
    const ConvCost cost = conv_cost(wide, direction);
    double winograd = tile == 6 ? cost.winograd6 : cost.winograd;
    const bool wgrad = direction == ConvDirection::wgrad;
    if (wgrad) {
        const WinogradWgradPlan plan = FC_ISA_PICK(winograd_wgrad_plan)(weights(p), 1);
        const size_t bytes = plan.shared / static_cast<size_t>(plan.parts);
        if (bytes > kFarBytes) winograd += kFarSums * static_cast<double>(bytes) / 64;
    }
    const double dots = (wgrad ? kDotsWgrad : kDots) *
                        (strided(p) && p.group_c() <= kFewInputs ? kDotsFew : 1) * bf16_dot_time();
    return winograd < dots * cost.direct ? nullptr : faster;
}

const char* unwanted(const Conv2dProblem& p, ConvDirection direction, int tile) {
    if (p.dtype == DType::bf16) return unwanted_narrow(p, direction, tile);
    if (precision() == Precision::highest) return "set_precision('highest') asks for direct arithmetic";
    const int64_t depth = direction == ConvDirection::dgrad ? p.group_k() : depth_of(p);
    if (direction != ConvDirection::wgrad && depth < (p.r == 3 ? kFewestChannels : kFewestOfOthers))
        return "the direct convolution is expected to be faster";
    // Other candidates than those that the costs are of.
    if (strided(p) && (p.group_k() < kFewestOutputs || (p.groups > 1 && p.group_c() < kFewestOutputs)))
        return "few channels";
    if (strided(p) && direction != ConvDirection::wgrad &&
        packed_bytes(direction == ConvDirection::dgrad ? backward_filter(p, tile) : forward_filter(p, tile)) >
            kMostPhaseWeights)
        return "transformed weights would take over 256 MiB";
    const ConvCost cost = conv_cost(p, direction);
    if (tile == 6 && cost.winograd <= cost.winograd6) return "the 4x4 tiles are expected to be faster";
    return (tile == 6 ? cost.winograd6 : cost.winograd) < cost.direct
               ? nullptr
               : "the direct convolution is expected to be faster";
}

}  // namespace

WinogradForm winograd_form(const Conv2dProblem& p, int tile) {
    const int taps = static_cast<int>(taps_of(p.vertical));
    return {taps == 3 ? tile : taps == 5 ? 4 : 5, taps};
}

// Scalar kernels have float32's forms of 3x3 alone, since instances take room. Others go to the direct
// kernels, bfloat16 to "widened", which runs float32's kernels on a copy.
static const char* scalar_declines(const Conv2dProblem& p) {
    if (active_isa() != Isa::scalar) return nullptr;
    return p.dtype == DType::bf16 ? "element type is bfloat16"
           : strided(p)           ? "scalar kernels have no phases"
           : p.r != 3             ? "kernel is not 3x3"
                                  : nullptr;
}

template <int T>
const char* winograd_declines(const Conv2dProblem& p) {
    if (p.dtype == DType::f64) return "element type is float64";
    if (strided(p)) return "stride is not 1";
    if (p.vertical.dilation != 1 || p.horizontal.dilation != 1) return "dilation is not 1";
    if (T == 6 && (p.r != 3 || p.s != 3)) return "kernel is not 3x3";
    if (p.r != p.s || p.r < 2 || p.r > 5) return "kernel is not 2x2, 3x3, 4x4 or 5x5";
    return scalar_declines(p);
}

const char* winograd_phases_declines(const Conv2dProblem& p) {
    if (p.dtype == DType::f64) return "element type is float64";
    if (!strided(p)) return "stride is 1";
    if (p.vertical.dilation != 1 || p.horizontal.dilation != 1) return "dilation is not 1";
    if (p.r > kMostPhaseTaps || p.taps() > kMostPhaseTaps) return "kernel is too large";
    const int64_t taps = taps_of(p.vertical);
    if (taps != taps_of(p.horizontal) || taps < 2 || taps > 5)
        return "kernel is not 2 to 5 times the stride, the same along both axes";
    return scalar_declines(p);
}

const char* winograd_phases_dgrad_declines(const Conv2dProblem& p) {
    if (const char* const why = winograd_phases_declines(p)) return why;
    if (p.dtype != DType::f32) return "element type is not float32";
    if (p.layout != Layout::nhwc) return "layout is not NHWC";
    if (p.h % p.vertical.stride || p.w % p.horizontal.stride) return "size is no multiple of the stride";
    const int64_t taps = taps_of(p.vertical);
    if (BackwardAxis(p.vertical).taps != taps || BackwardAxis(p.horizontal).taps != taps)
        return "phases reach further than their taps";
    return nullptr;
}

const char* winograd_wgrad_unwanted(const Conv2dProblem& p) { return unwanted(p, ConvDirection::wgrad, 4); }

template <int T>
const char* winograd_fprop_unwanted(const Conv2dProblem& p) {
    return unwanted(p, ConvDirection::fprop, T);
}
template <int T>
size_t winograd_fprop_packed_bytes(const Conv2dProblem& p) {
    return packed_bytes(forward_filter(p, T));
}
template <int T>
void winograd_fprop_pack(const Conv2dProblem& p, const void* weight, void* packed) {
    pack(forward_filter(p, T), weight, packed);
}
template <int T>
bool winograd_fprop_packs_itself(const Conv2dProblem& p, int team) {
    return packs_itself(forward(p, T), team);
}
template <int T>
void winograd_fprop(const Conv2dProblem& p, const ConvArgs& args, Arena& arena) {
    run(forward(p, T), args, arena);
}

template <int T>
const char* winograd_dgrad_unwanted(const Conv2dProblem& p) {
    return unwanted(p, ConvDirection::dgrad, T);
}
template <int T>
size_t winograd_dgrad_packed_bytes(const Conv2dProblem& p) {
    return packed_bytes(backward_filter(p, T));
}
template <int T>
void winograd_dgrad_pack(const Conv2dProblem& p, const void* weight, void* packed) {
    pack(backward_filter(p, T), weight, packed);
}
template <int T>
bool winograd_dgrad_packs_itself(const Conv2dProblem& p, int team) {
    return packs_itself(backward(p, T), team);
}
template <int T>
void winograd_dgrad(const Conv2dProblem& p, const ConvArgs& args, Arena& arena) {
    run(backward(p, T), args, arena);
}

#define FC_FOR_TILE(T)                                                              \
    template const char* winograd_fprop_unwanted<T>(const Conv2dProblem&);          \
    template size_t winograd_fprop_packed_bytes<T>(const Conv2dProblem&);           \
    template void winograd_fprop_pack<T>(const Conv2dProblem&, const void*, void*); \
    template bool winograd_fprop_packs_itself<T>(const Conv2dProblem&, int);        \
    template void winograd_fprop<T>(const Conv2dProblem&, const ConvArgs&, Arena&); \
    template const char* winograd_dgrad_unwanted<T>(const Conv2dProblem&);          \
    template size_t winograd_dgrad_packed_bytes<T>(const Conv2dProblem&);           \
    template void winograd_dgrad_pack<T>(const Conv2dProblem&, const void*, void*); \
    template bool winograd_dgrad_packs_itself<T>(const Conv2dProblem&, int);        \
    template void winograd_dgrad<T>(const Conv2dProblem&, const ConvArgs&, Arena&);
template const char* winograd_declines<4>(const Conv2dProblem&);
template const char* winograd_declines<6>(const Conv2dProblem&);
FC_FOR_TILE(4)
FC_FOR_TILE(6)
#undef FC_FOR_TILE

void winograd_wgrad(const Conv2dProblem& p, const WgradArgs& args, Arena& arena) {
    WinogradWgrad conv = weights(p);
    const WinogradWgradPlan plan = FC_ISA_PICK(winograd_wgrad_plan)(conv, args.team);
    char* const shared = arena.take<char>(plan.shared);
    char* const scratch = arena.take<char>(plan.scratch * static_cast<size_t>(args.team));
    if (arena.counting()) return;
    conv.x = args.x, conv.dy = args.dy, conv.dw = args.dweight;
    FC_ISA_PICK(winograd_wgrad_run)(conv, plan, shared, scratch, args.team);
}

}  // namespace fastconv
