// Brings the three directions of a bfloat16 convolution into the form of bf16.h.
#include "ops/conv2d/bf16.h"

#include <algorithm>
#include <vector>

#include "core/bfloat16.h"
#include "cpu/threads.h"
#include "ops/conv2d/kernels.h"
#include "ops/conv2d/taps.h"

namespace fastconv {

#ifdef FASTCONV_HAS_X86

namespace {

namespace kernels = isa_avx512_bf16;

// Up to this many channels a filter's row is one tap of several times the channels: a tile's step is 32.
constexpr int64_t kFewChannels = 16;
// Residue classes of dgrad are walked one by one.
constexpr int64_t kMostStride = 16;

// An array of p.n images; channels-last at `data` once `reorder` has run.
struct Image {
    int64_t n, c, h, w;
    bool nchw;
    const uint16_t* data = nullptr;

    bool reordered() const { return nchw && c > 1 && h * w > 1; }
    uint16_t* room(Arena& arena) const {
        return reordered() ? arena.take<uint16_t>(static_cast<size_t>(n * c * h * w)) : nullptr;
    }
    void reorder(uint16_t* copy, int team) {
        if (!reordered()) return;
        kernels::bf16_transpose_batch(data, copy, n, c, h * w, team);
        data = copy;
    }
    template <class G>
    void describe(G& g) const {
        g.in = data;
        g.n = n, g.h = h, g.w = w;
        g.in_w = c, g.in_h = c * w, g.in_n = c * w * h;
    }
};

Image input_of(const Conv2dProblem& p) { return {p.n, p.c, p.h, p.w, p.layout == Layout::nchw}; }
Image output_of(const Conv2dProblem& p) { return {p.n, p.k, p.p, p.q, p.layout == Layout::nchw}; }

std::vector<Bf16Tap> tap_list(const std::vector<AxisTap>& vertical, const std::vector<AxisTap>& horizontal,
                              int64_t s) {
    std::vector<Bf16Tap> taps;
    for (const AxisTap& v : vertical)
        for (const AxisTap& h : horizontal) taps.push_back({v.offset, h.offset, v.index * s + h.index});
    return taps;
}

bool neighbours(const std::vector<AxisTap>& taps) {
    for (size_t i = 1; i < taps.size(); ++i)
        if (taps[i].offset != taps[i - 1].offset + 1) return false;
    return taps.size() > 1;
}

// One convolution of a direction: fprop is one, dgrad one for each residue class of rows and columns.
struct Part {
    std::vector<Bf16Tap> taps;
    Bf16Conv conv;  // without arrays; `out` is an offset in elements until they are known
    int64_t out_offset;
};

Part make_part(const Conv2dProblem& p, const Image& in, int64_t depth, int64_t width,
               const std::vector<AxisTap>& vertical, const std::vector<AxisTap>& horizontal) {
    Part part{tap_list(vertical, horizontal, p.s), {}, 0};
    Bf16Conv& g = part.conv;
    in.describe(g);
    g.groups = p.groups, g.depth = depth, g.width = width;
    g.tap_count = static_cast<int64_t>(part.taps.size());
    const bool few = depth <= kFewChannels && p.groups == 1 && neighbours(horizontal);
    g.run = few ? static_cast<int64_t>(horizontal.size()) : 1;
    g.step_h = g.step_w = 1;
    g.weight_g = p.group_k() * p.group_c() * p.taps();
    g.weight_taps = p.taps();
    g.amx = bf16_tier() == Bf16Tier::amx;
    return part;
}

void set_output(Bf16Conv& g, int64_t channels, int64_t h, int64_t w) {
    g.out_w = channels, g.out_h = channels * w, g.out_n = channels * w * h;
}

std::vector<Part> fprop_parts(const Conv2dProblem& p) {
    std::vector<Part> parts;
    parts.push_back(make_part(p, input_of(p), p.group_c(), p.group_k(), forward_taps(p.vertical),
                              forward_taps(p.horizontal)));
    Bf16Conv& g = parts[0].conv;
    g.step_h = p.vertical.stride, g.step_w = p.horizontal.stride;
    g.rows = p.p, g.cols = p.q;
    g.weight_o = p.group_c() * p.taps(), g.weight_c = p.taps();
    set_output(g, p.k, p.p, p.q);
    return parts;
}

// Parts that no tap reaches are left out: their pixels are the bias.
std::vector<Part> dgrad_parts(const Conv2dProblem& p) {
    std::vector<Part> parts;
    const int64_t sh = p.vertical.stride, sw = p.horizontal.stride;
    for (int64_t a = 0; a < std::min(sh, p.h); ++a)
        for (int64_t b = 0; b < std::min(sw, p.w); ++b) {
            const auto vertical = backward_taps(p.vertical, a), horizontal = backward_taps(p.horizontal, b);
            if (vertical.empty() || horizontal.empty()) continue;
            Part part = make_part(p, output_of(p), p.group_k(), p.group_c(), vertical, horizontal);
            Bf16Conv& g = part.conv;
            g.rows = (p.h - a + sh - 1) / sh, g.cols = (p.w - b + sw - 1) / sw;
            g.weight_o = p.taps(), g.weight_c = p.group_c() * p.taps();
            set_output(g, p.c, p.h, p.w);
            part.out_offset = a * g.out_h + b * g.out_w;
            g.out_h *= sh, g.out_w *= sw;
            parts.push_back(std::move(part));
        }
    return parts;
}

bool covers(const std::vector<Part>& parts, const Conv2dProblem& p) {
    const int64_t classes = std::min(p.vertical.stride, p.h) * std::min(p.horizontal.stride, p.w);
    return static_cast<int64_t>(parts.size()) == classes;
}

const char* no_tier(const Conv2dProblem& p) {
    if (p.dtype != DType::bf16) return "element type is not bfloat16";
    if (bf16_tier() == Bf16Tier::emulated) return "no bfloat16 instructions";
    if (p.groups > 1 && std::min(p.group_c(), p.group_k()) < kFewChannels) return "few channels in a group";
    return nullptr;
}

const char* parts_decline(std::vector<Part> parts) {
    for (Part& part : parts) {
        part.conv.taps = part.taps.data();
        if (!kernels::bf16_conv_fits(part.conv))
            return "padding, dilation or stride is large against the image";
    }
    return nullptr;
}

size_t parts_packed_bytes(std::vector<Part> parts) {
    size_t bytes = 0;
    for (Part& part : parts) {
        part.conv.taps = part.taps.data();
        bytes += kernels::bf16_conv_sizes(part.conv).shared;
    }
    return bytes;
}

bool parts_pack_themselves(std::vector<Part> parts) {
    if (parts.size() != 1) return false;
    parts[0].conv.taps = parts[0].taps.data();
    return kernels::bf16_conv_packs_itself(parts[0].conv);
}

void parts_pack(std::vector<Part> parts, const void* weight, void* packed) {
    if (parts.empty()) return;
    std::vector<Bf16Conv> convs;
    for (Part& part : parts) {
        convs.push_back(part.conv);
        convs.back().taps = part.taps.data();
        convs.back().weight = static_cast<const uint16_t*>(weight);
    }
    kernels::bf16_conv_pack(convs.data(), static_cast<int64_t>(convs.size()), static_cast<char*>(packed),
                            num_threads());
}

struct Fill {
    const bfloat16* bias;
    uint16_t* out;
    int64_t channels;
};

void fill_pixels(uint16_t* out, int64_t pixels, int64_t channels, const void* bias, int team) {
    Fill fill{static_cast<const bfloat16*>(bias), out, channels};
    parallel_run(
        pixels, 65536 / channels + 1,
        [](void* context, int64_t begin, int64_t end, int) {
            const Fill& f = *static_cast<Fill*>(context);
            if (!f.bias)
                return void(std::fill(f.out + begin * f.channels, f.out + end * f.channels, uint16_t{0}));
            for (int64_t i = begin; i < end; ++i)
                for (int64_t c = 0; c < f.channels; ++c) f.out[i * f.channels + c] = f.bias[c].bits;
        },
        &fill, team);
}

// What the kernels do before they round; other activations are passes over the result.
bool relu_alone(const ConvEpilogue& e) {
    return (!e.activate && !e.saved) || e.activation == Activation::relu;
}

void run_parts(const Conv2dProblem& p, std::vector<Part> parts, bool fill, Image in, Image out,
               const ConvArgs& args, Arena& arena) {
    uint16_t *in_copy = in.room(arena), *out_copy = out.room(arena);
    const ConvEpilogue& e = args.epilogue;
    const bool filled = fill && !covers(parts, p);
    const bool fused = !out.reordered() && !filled && relu_alone(e);
    float* bias = arena.take<float>(static_cast<size_t>(out.c) + 32);  // whole vectors are read
    size_t scratch_bytes = 0;
    for (Part& part : parts) {
        part.conv.taps = part.taps.data();
        scratch_bytes = std::max(scratch_bytes, kernels::bf16_conv_sizes(part.conv).scratch);
    }
    char* scratch = arena.take<char>(scratch_bytes * static_cast<size_t>(args.team));
    if (arena.counting()) return;

    in.data = static_cast<const uint16_t*>(args.in);
    in.reorder(in_copy, args.team);
    uint16_t* target = out.reordered() ? out_copy : static_cast<uint16_t*>(args.out);
    if (args.epilogue.bias) {
        std::fill_n(bias, out.c + 32, 0.0f);
        for (int64_t c = 0; c < out.c; ++c)
            bias[c] = to_float(static_cast<const bfloat16*>(args.epilogue.bias)[c]);
    }
    if (filled) fill_pixels(target, out.n * out.h * out.w, out.c, args.epilogue.bias, args.team);
    const char* packed = static_cast<const char*>(args.packed);
    for (Part& part : parts) {
        Bf16Conv& g = part.conv;
        g.in = in.data;
        g.out = target + part.out_offset;
        g.bias = args.epilogue.bias ? bias : nullptr;
        if (fused) {
            const auto at = [&](const void* array) {
                return array ? static_cast<const uint16_t*>(array) + part.out_offset : nullptr;
            };
            g.residual = at(e.residual), g.saved = at(e.saved), g.relu = e.activate;
        }
        g.weight = static_cast<const uint16_t*>(args.weight);
        kernels::bf16_conv_run(g, packed, scratch, args.team);
        if (packed) packed += kernels::bf16_conv_sizes(g).shared;
    }
    if (out.reordered())
        kernels::bf16_transpose_batch(target, static_cast<uint16_t*>(args.out), out.n, out.h * out.w, out.c,
                                      args.team);
    if (!fused && !e.plain())
        apply_epilogue(p, fill ? ConvDirection::dgrad : ConvDirection::fprop, e, args.out);
}

// wgrad's form, without arrays; `taps` must outlive it.
Bf16Wgrad wgrad_form(const Conv2dProblem& p, std::vector<Bf16Tap>& taps) {
    const auto horizontal = forward_taps(p.horizontal);
    taps = tap_list(forward_taps(p.vertical), horizontal, p.s);
    Bf16Wgrad g{};
    input_of(p).describe(g);
    g.groups = p.groups, g.depth = p.group_c(), g.width = p.group_k();
    g.taps = taps.data();
    g.tap_count = static_cast<int64_t>(taps.size());
    const bool few = g.depth <= kFewChannels && p.groups == 1 && neighbours(horizontal);
    g.run = few ? p.s : 1;
    g.step_h = p.vertical.stride, g.step_w = p.horizontal.stride;
    g.rows = p.p, g.cols = p.q;
    g.weight_taps = p.taps();
    g.amx = bf16_tier() == Bf16Tier::amx;
    return g;
}

}  // namespace

const char* bf16_fprop_declines(const Conv2dProblem& p) {
    if (const char* reason = no_tier(p)) return reason;
    return parts_decline(fprop_parts(p));
}
size_t bf16_fprop_packed_bytes(const Conv2dProblem& p) { return parts_packed_bytes(fprop_parts(p)); }
void bf16_fprop_pack(const Conv2dProblem& p, const void* weight, void* packed) {
    parts_pack(fprop_parts(p), weight, packed);
}
bool bf16_fprop_packs_itself(const Conv2dProblem& p, int) { return parts_pack_themselves(fprop_parts(p)); }
void bf16_fprop(const Conv2dProblem& p, const ConvArgs& args, Arena& arena) {
    run_parts(p, fprop_parts(p), false, input_of(p), output_of(p), args, arena);
}

const char* bf16_dgrad_declines(const Conv2dProblem& p) {
    if (const char* reason = no_tier(p)) return reason;
    if (std::max(p.vertical.stride, p.horizontal.stride) > kMostStride) return "stride is large";
    return parts_decline(dgrad_parts(p));
}
size_t bf16_dgrad_packed_bytes(const Conv2dProblem& p) { return parts_packed_bytes(dgrad_parts(p)); }
void bf16_dgrad_pack(const Conv2dProblem& p, const void* weight, void* packed) {
    parts_pack(dgrad_parts(p), weight, packed);
}
bool bf16_dgrad_packs_itself(const Conv2dProblem& p, int) { return parts_pack_themselves(dgrad_parts(p)); }
void bf16_dgrad(const Conv2dProblem& p, const ConvArgs& args, Arena& arena) {
    run_parts(p, dgrad_parts(p), true, output_of(p), input_of(p), args, arena);
}

const char* bf16_wgrad_declines(const Conv2dProblem& p) {
    if (const char* reason = no_tier(p)) return reason;
    std::vector<Bf16Tap> taps;
    return kernels::bf16_wgrad_fits(wgrad_form(p, taps))
               ? nullptr
               : "padding, dilation or stride is large against the image";
}
void bf16_wgrad(const Conv2dProblem& p, const WgradArgs& args, Arena& arena) {
    std::vector<Bf16Tap> taps;
    Bf16Wgrad g = wgrad_form(p, taps);
    Image x = input_of(p), dy = output_of(p);
    uint16_t *x_copy = x.room(arena), *dy_copy = dy.room(arena);
    const Bf16Sizes sizes = kernels::bf16_wgrad_sizes(g);
    char* partial = arena.take<char>(sizes.shared);
    char* scratch = arena.take<char>(sizes.scratch * static_cast<size_t>(args.team));
    if (arena.counting()) return;
    x.data = static_cast<const uint16_t*>(args.x), dy.data = static_cast<const uint16_t*>(args.dy);
    x.reorder(x_copy, args.team);
    dy.reorder(dy_copy, args.team);
    g.in = x.data, g.dy = dy.data;
    kernels::bf16_wgrad_run(g, partial, scratch, args.dweight, false, args.team);
}

#else

const char* bf16_fprop_declines(const Conv2dProblem&) { return "no bfloat16 instructions"; }
size_t bf16_fprop_packed_bytes(const Conv2dProblem&) { return 0; }
void bf16_fprop_pack(const Conv2dProblem&, const void*, void*) {}
bool bf16_fprop_packs_itself(const Conv2dProblem&, int) { return false; }
void bf16_fprop(const Conv2dProblem&, const ConvArgs&, Arena&) {}
const char* bf16_dgrad_declines(const Conv2dProblem&) { return "no bfloat16 instructions"; }
size_t bf16_dgrad_packed_bytes(const Conv2dProblem&) { return 0; }
void bf16_dgrad_pack(const Conv2dProblem&, const void*, void*) {}
bool bf16_dgrad_packs_itself(const Conv2dProblem&, int) { return false; }
void bf16_dgrad(const Conv2dProblem&, const ConvArgs&, Arena&) {}
const char* bf16_wgrad_declines(const Conv2dProblem&) { return "no bfloat16 instructions"; }
void bf16_wgrad(const Conv2dProblem&, const WgradArgs&, Arena&) {}

#endif

}  // namespace fastconv
