#include "ops/conv2d/tap_wgrad.h"

#include <algorithm>
#include <vector>

#include "ops/conv2d/kernels.h"
#include "ops/conv2d/strips.h"

namespace fastconv {
namespace {

// Floats of dy that the tiles pass over again and again, from L1; and the most of a band.
constexpr int64_t kPanel = 6 << 10, kMostBand = 256 << 10;
constexpr int64_t kMostInputs = 24;
// Groups: taps of one that are worth copies of its own, floats of a line, and of such a band.
constexpr int64_t kManyTaps = 64, kLine = 16, kGroupBand = 24 << 10;

int64_t reach(const WindowAxis& a, int64_t outputs) { return (outputs - 1) * a.stride + a.extent(); }

}  // namespace

const char* tap_wgrad_declines(const Conv2dProblem& p) {
    if (p.dtype != DType::f32) return "element type is not float32";
    if (p.groups > 1 && p.layout == Layout::nchw) return "groups in NCHW";
    if (p.group_c() > (p.layout == Layout::nchw ? 4 : kMostInputs)) return "too many input channels";
    if (p.group_k() < (p.groups > 1 ? 9 : 12)) return "too few output channels";
    if (p.layout == Layout::nchw && p.unpadded_1x1()) return "1x1 in NCHW";
    constexpr int64_t kLong = 1 << 14;
    if (p.q * p.k > kMostBand) return "rows are too long";
    if (p.vertical.extent() > kLong || p.horizontal.extent() > kLong || p.vertical.stride > kLong ||
        reach(p.horizontal, p.q) * p.vertical.extent() > kMostBand / p.c)
        return "rows are too long";
    return nullptr;
}

// From so many input channels on.
constexpr int64_t kWinogradChannels = 6;

// The GEMM's lanes run along the filter's rows: where those are fuller by more than its other costs.
const char* tap_wgrad_unwanted(const Conv2dProblem& p) {
    if (p.layout == Layout::nchw || p.groups > 1) return nullptr;
    if (p.c >= kWinogradChannels && !winograd_declines<4>(p) && !winograd_wgrad_unwanted(p))
        return "Winograd is expected to be faster";
    const int64_t lanes = FC_ISA_PICK(strip_lanes)(), row = p.c * p.s;
    const auto used = [&](int64_t count) {
        return static_cast<double>(count) / static_cast<double>((count + lanes - 1) / lanes * lanes);
    };
    if (p.taps() == 1)
        return p.k > lanes && p.k < 2 * lanes ? "the second vector of outputs is not full" : nullptr;
    const double alone = p.k <= lanes ? 0.8 : 1;  // a broadcast for each multiply-add
    return used(p.k) * alone < 0.8 * used(row) ? "outputs leave lanes empty" : nullptr;
}

void tap_wgrad(const Conv2dProblem& p, const WgradArgs& args, Arena& arena) {
    TapWgrad g{};
    g.x = static_cast<const float*>(args.x);
    g.dy = static_cast<const float*>(args.dy);
    g.nchw = p.layout == Layout::nchw;
    g.n = p.n, g.c = p.c, g.h = p.h, g.w = p.w, g.k = p.k, g.p = p.p, g.q = p.q;
    g.stride_h = p.vertical.stride, g.stride_w = p.horizontal.stride;
    g.pad_h = p.vertical.pad_begin, g.pad_w = p.horizontal.pad_begin;
    g.groups = p.groups, g.filter = p.taps(), g.taps = p.group_c() * p.taps();
    g.band_cols = reach(p.horizontal, p.q);
    const int64_t lanes = FC_ISA_PICK(strip_lanes)();
    g.apart = p.groups > 1 && g.taps >= kManyTaps;
    const int64_t width = g.apart ? (p.group_k() + lanes - 1) / lanes * lanes : p.k;
    g.together = g.apart ? std::min(p.groups, (kLine + p.group_c() - 1) / p.group_c()) : p.groups;
    // One vector of outputs, and a filter's row in one run.
    if (p.horizontal.dilation == 1 && (g.apart || p.groups == 1) &&
        p.group_k() <= FC_ISA_PICK(tap_wgrad_run_outputs)())
        g.run = g.nchw ? p.s : p.s * p.group_c();
    g.by_pixel = !g.nchw && (g.apart || g.run > 0);
    g.band = std::clamp<int64_t>(kPanel / (p.q * width), 1, p.p);
    const int64_t most = g.apart ? kGroupBand : kMostBand;
    while (g.band > 1 && reach(p.vertical, g.band) * g.band_cols * g.band_channels() > most) --g.band;
    g.band_rows = reach(p.vertical, g.band);
    g.splits = std::clamp<int64_t>(std::min(16 / g.parts(), p.n * p.p / (2 * g.band)), 1, 16);
    const TapWgradSizes sizes = FC_ISA_PICK(tap_wgrad_sizes)(g);
    float* partial = arena.take<float>(static_cast<size_t>(sizes.partial));
    float* scratch = arena.take<float>(static_cast<size_t>(sizes.scratch * args.team));
    if (arena.counting()) return;
    std::vector<int64_t> offsets;
    const int64_t inputs = p.group_c();
    for (int64_t i = 0; i < g.taps; ++i) {
        const int64_t tap = g.by_pixel ? i / inputs : i % g.filter,
                      c = g.by_pixel ? i % inputs : i / g.filter;
        const int64_t row = tap / p.s * p.vertical.dilation, column = tap % p.s * p.horizontal.dilation;
        offsets.push_back(g.nchw ? (c * g.band_rows + row) * g.band_cols + column
                                 : (row * g.band_cols + column) * g.band_channels() + c);
    }
    g.offsets = offsets.data();
    FC_ISA_PICK(tap_wgrad_run)(g, partial, scratch, static_cast<float*>(args.dweight), args.team);
}

}  // namespace fastconv
