// Brings the three directions into the form of gather.h: tap lists, strides, workspaces.
#include <algorithm>
#include <vector>

#include "core/checks.h"
#include "core/memory.h"
#include "cpu/layout/transpose.h"
#include "cpu/threads.h"
#include "ops/conv2d/gather.h"
#include "ops/conv2d/kernels.h"

namespace fastconv {
namespace {

// Below this many input channels a pixel's patch is copied rather than pointed at.
constexpr int64_t kFewChannels = 16;
// wgrad: parts of the reduction are made until there are this many work items.
constexpr int64_t kWgradItems = 16;

struct AxisTap {
    int64_t offset, index;
};

// fprop: tap r reads input position o * stride - pad + r * dilation.
std::vector<AxisTap> forward_taps(const WindowAxis& a) {
    std::vector<AxisTap> taps;
    for (int64_t r = 0; r < a.kernel; ++r) taps.push_back({r * a.dilation - a.pad_begin, r});
    return taps;
}

// dgrad: input position i * stride + residue is reached by the taps r with (residue + pad - r * dilation)
// divisible by the stride, from output position i + that quotient. In ascending order of the offset.
std::vector<AxisTap> backward_taps(const WindowAxis& a, int64_t residue) {
    std::vector<AxisTap> taps;
    for (int64_t r = a.kernel - 1; r >= 0; --r) {
        const int64_t distance = residue + a.pad_begin - r * a.dilation;
        if (distance % a.stride == 0) taps.push_back({distance / a.stride, r});
    }
    return taps;
}

struct TapList {
    std::vector<Tap> taps;
    std::vector<TapRun> runs;

    // `mergeable`: input pixels that are neighbours in a row are neighbours in memory too.
    TapList(const std::vector<AxisTap>& vertical, const std::vector<AxisTap>& horizontal, int64_t s,
            bool mergeable) {
        for (const AxisTap& v : vertical)
            for (const AxisTap& h : horizontal) {
                taps.push_back({v.offset, h.offset, v.index * s + h.index});
                const int64_t place = static_cast<int64_t>(taps.size()) - 1;
                if (mergeable && !runs.empty() && runs.back().dh == v.offset &&
                    runs.back().dw + runs.back().count == h.offset)
                    ++runs.back().count;
                else
                    runs.push_back({place, 1, v.offset, h.offset});
            }
    }
};

// The array itself where it is channels-last, or a reordered copy in `keep`.
const float* channels_last(const float* data, bool nchw, int64_t n, int64_t c, int64_t pixels,
                           Workspace& keep) {
    if (!nchw || c == 1 || pixels == 1) return data;
    keep = Workspace(static_cast<size_t>(n * c * pixels) * sizeof(float));
    FC_ISA_PICK(transpose_batch_f32)(data, keep.as<float>(), n, c, pixels);
    return keep.as<float>();
}

// Sizes and strides of an (n, c, h, w) input, into any struct of gather.h.
template <class G>
void set_input(G& g, bool nchw, int64_t n, int64_t c, int64_t h, int64_t w) {
    g.n = n, g.h = h, g.w = w;
    g.in_n = c * h * w;
    g.in_c = nchw ? h * w : 1;
    g.in_w = nchw ? 1 : c;
    g.in_h = g.in_w * w;
}

template <class G>
void set_taps(G& g, const TapList& list) {
    g.taps = list.taps.data();
    g.tap_count = static_cast<int64_t>(list.taps.size());
    g.runs = list.runs.data();
    g.run_count = static_cast<int64_t>(list.runs.size());
}

void set_output(GatherConv& g, bool nchw, int64_t c, int64_t h, int64_t w, float* out) {
    g.out = out;
    g.out_n = c * h * w;
    g.out_c = nchw ? h * w : 1;
    g.out_w = nchw ? 1 : c;
    g.out_h = g.out_w * w;
}

void run(const GatherConv& g) {
    const int team = num_threads();
    const GatherSizes sizes = FC_ISA_PICK(gather_sizes)(g);
    const Workspace packed(sizes.packed), zeros(sizes.zeros),
        scratch(sizes.scratch * static_cast<size_t>(team));
    FC_ISA_PICK(gather_run)(g, packed.as<float>(), scratch.as<char>(), zeros.as<float>(), team);
}

// Whether an input is read as it stands in NCHW, patch by patch, and not reordered first.
bool reads_nchw(bool nchw, int64_t depth) { return nchw && depth < kFewChannels; }

// Fills dx with bias where no tap reaches a residue class of pixels.
void fill_class(const GatherConv& g) {
    for (int64_t n = 0; n < g.n; ++n)
        for (int64_t i = 0; i < g.rows; ++i)
            for (int64_t j = 0; j < g.cols; ++j)
                for (int64_t c = 0; c < g.groups * g.width; ++c)
                    g.out[n * g.out_n + i * g.out_h + j * g.out_w + c * g.out_c] = g.bias ? g.bias[c] : 0.0f;
}

}  // namespace

void implicit_gemm_fprop(const Conv2dProblem& p, const void* x, const void* w, const void* bias, void* y) {
    const bool nchw = p.layout == Layout::nchw, as_is = reads_nchw(nchw, p.group_c());
    Workspace reordered;
    GatherConv g{};
    g.in = static_cast<const float*>(x);
    if (!as_is) g.in = channels_last(g.in, nchw, p.n, p.c, p.pixels_in(), reordered);
    set_input(g, as_is, p.n, p.c, p.h, p.w);
    g.patches = as_is || (p.group_c() < kFewChannels && p.taps() > 1);
    g.channel_major = as_is;
    const TapList list(forward_taps(p.vertical), forward_taps(p.horizontal), p.s, as_is || p.groups == 1);
    set_taps(g, list);
    g.groups = p.groups, g.depth = p.group_c(), g.width = p.group_k();
    g.step_h = p.vertical.stride, g.step_w = p.horizontal.stride;
    g.rows = p.p, g.cols = p.q;
    set_output(g, nchw, p.k, p.p, p.q, static_cast<float*>(y));
    g.bias = static_cast<const float*>(bias);
    g.weight = static_cast<const float*>(w);
    g.weight_g = p.group_k() * p.group_c() * p.taps();
    g.weight_o = p.group_c() * p.taps();
    g.weight_c = g.weight_taps = p.taps();
    run(g);
}

void implicit_gemm_dgrad(const Conv2dProblem& p, const void* w, const void* dy, const void* bias, void* dx) {
    const bool nchw = p.layout == Layout::nchw, as_is = reads_nchw(nchw, p.group_k());
    Workspace reordered;
    GatherConv g{};
    g.in = static_cast<const float*>(dy);
    if (!as_is) g.in = channels_last(g.in, nchw, p.n, p.k, p.pixels_out(), reordered);
    set_input(g, as_is, p.n, p.k, p.p, p.q);
    g.channel_major = as_is;
    g.groups = p.groups, g.depth = p.group_k(), g.width = p.group_c();
    g.step_h = g.step_w = 1;
    g.bias = static_cast<const float*>(bias);
    g.weight = static_cast<const float*>(w);
    g.weight_g = p.group_k() * p.group_c() * p.taps();
    g.weight_o = g.weight_taps = p.taps();
    g.weight_c = p.group_c() * p.taps();
    for (int64_t a = 0; a < std::min(p.vertical.stride, p.h); ++a)
        for (int64_t b = 0; b < std::min(p.horizontal.stride, p.w); ++b) {
            const TapList list(backward_taps(p.vertical, a), backward_taps(p.horizontal, b), p.s,
                               as_is || p.groups == 1);
            set_taps(g, list);
            g.patches = as_is || (p.group_k() < kFewChannels && g.tap_count > 1);
            g.rows = (p.h - a + p.vertical.stride - 1) / p.vertical.stride;
            g.cols = (p.w - b + p.horizontal.stride - 1) / p.horizontal.stride;
            set_output(g, nchw, p.c, p.h, p.w, static_cast<float*>(dx));
            g.out += a * g.out_h + b * g.out_w;
            g.out_h *= p.vertical.stride;
            g.out_w *= p.horizontal.stride;
            if (g.tap_count == 0)
                fill_class(g);
            else
                run(g);
        }
}

void implicit_gemm_wgrad(const Conv2dProblem& p, const void* x, const void* dy, void* dw) {
    const bool nchw = p.layout == Layout::nchw, as_is = reads_nchw(nchw, p.group_c());
    Workspace x_reordered, dy_reordered;
    GatherWgrad g{};
    g.x = static_cast<const float*>(x);
    if (!as_is) g.x = channels_last(g.x, nchw, p.n, p.c, p.pixels_in(), x_reordered);
    g.dy = channels_last(static_cast<const float*>(dy), nchw, p.n, p.k, p.pixels_out(), dy_reordered);
    set_input(g, as_is, p.n, p.c, p.h, p.w);
    g.patches = as_is || (p.group_c() < kFewChannels && p.taps() > 1);
    g.channel_major = as_is;
    const TapList list(forward_taps(p.vertical), forward_taps(p.horizontal), p.s, as_is || p.groups == 1);
    set_taps(g, list);
    g.groups = p.groups, g.depth = p.group_c(), g.width = p.group_k();
    g.step_h = p.vertical.stride, g.step_w = p.horizontal.stride;
    g.rows = p.p, g.cols = p.q;
    g.weight_taps = p.taps();
    const int64_t units = p.groups * (g.patches ? 1 : p.taps()) * ((g.width + 95) / 96);
    g.splits = std::clamp<int64_t>(kWgradItems / units, 1, p.n * p.p);
    const int team = num_threads();
    const WgradSizes sizes = FC_ISA_PICK(wgrad_sizes)(g);
    const Workspace partial(sizes.partial), scratch(sizes.scratch * static_cast<size_t>(team));
    FC_ISA_PICK(wgrad_run)(g, partial.as<float>(), scratch.as<char>(), static_cast<float*>(dw), team);
}

}  // namespace fastconv
