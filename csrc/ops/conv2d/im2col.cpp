#include "ops/conv2d/im2col.h"

#include <algorithm>

#include "cpu/layout/transpose.h"
#include "ops/conv2d/kernels.h"
#include "ops/linear/kernels.h"

namespace fastconv {
namespace {

constexpr double kMostlyInside = 0.4;

// Floats of patches, so that a large picture cannot ask for many times its own memory.
constexpr int64_t kMostPatches = 8 << 20;
// Where the choice takes it: most pixels, channels that other kernels serve, weights that L2 holds.
constexpr int64_t kMostPixels = 64, kMostNarrow = 16, kSmallWeights = 64 << 10;

int64_t pixels(const Conv2dProblem& p) { return p.n * p.pixels_out(); }
bool strided(const Conv2dProblem& p) { return p.vertical.stride * p.horizontal.stride > 1; }

Im2col geometry(const Conv2dProblem& p) {
    Im2col g{};
    g.nchw = p.layout == Layout::nchw;
    g.n = p.n, g.c = p.c, g.h = p.h, g.w = p.w, g.r = p.r, g.s = p.s, g.p = p.p, g.q = p.q;
    g.stride_h = p.vertical.stride, g.stride_w = p.horizontal.stride;
    g.pad_h = p.vertical.pad_begin, g.pad_w = p.horizontal.pad_begin;
    g.dilation_h = p.vertical.dilation, g.dilation_w = p.horizontal.dilation;
    return g;
}

LinearProblem product(const Im2col& g, int64_t k) {
    LinearProblem p;
    p.rows = g.pixels(), p.in = g.columns(), p.out = k;
    return p;
}

float* take(Arena& arena, int64_t count) { return arena.take<float>(static_cast<size_t>(count)); }

// Channels-last pixels of x are its patches.
bool patches_lie_ready(const Conv2dProblem& p) {
    return p.layout == Layout::nhwc && p.unpadded_1x1() && p.vertical.stride == 1 && p.horizontal.stride == 1;
}

const float* patches_of(const Conv2dProblem& p, const Im2col& g, const void* x, Arena& arena, int team) {
    if (patches_lie_ready(p)) return static_cast<const float*>(x);
    float* patches = take(arena, g.pixels() * g.columns());
    float* scratch = take(arena, g.scratch() * team);
    if (!arena.counting())
        FC_ISA_PICK(im2col_unfold)(g, static_cast<const float*>(x), patches, scratch, team);
    return patches;
}

// dy as one row a pixel.
const float* rows_of(const Conv2dProblem& p, const void* dy, Arena& arena) {
    if (p.layout == Layout::nhwc || p.pixels_out() == 1) return static_cast<const float*>(dy);
    float* rows = take(arena, p.n * p.k * p.pixels_out());
    if (!arena.counting())
        FC_ISA_PICK(transpose_batch_f32)(static_cast<const float*>(dy), rows, p.n, p.k, p.pixels_out());
    return rows;
}

// Of an axis' pairs of an output and a tap, those that reach an input.
double share_inside(const WindowAxis& a, int64_t size, int64_t outputs) {
    int64_t inside = 0;
    for (int64_t r = 0; r < a.kernel; ++r) {
        const int64_t from = a.pad_begin - r * a.dilation;  // o * stride >= from, < from + size
        const int64_t first = from > 0 ? (from + a.stride - 1) / a.stride : 0;
        const int64_t last = from + size <= 0 ? 0 : (from + size - 1) / a.stride + 1;
        inside += std::max<int64_t>(0, std::min(outputs, last) - first);
    }
    return static_cast<double>(inside) / static_cast<double>(a.kernel * outputs);
}

}  // namespace

const char* im2col_declines(const Conv2dProblem& p) {
    if (p.dtype != DType::f32) return "element type is not float32";
    if (p.groups > 1) return "groups";
    const int64_t columns = p.c * p.taps();
    if (p.pixels_out() > kMostPatches / columns || p.n * p.pixels_out() > kMostPatches / columns)
        return "patches would take over 32 MiB";
    return nullptr;
}

// Measured over the random shapes of the benchmarks: up to how many pixels packing weights costs more than
// products that find them unpacked. dgrad of a stride packs a filter's taps in classes, large filters page by
// page; wgrad's packing is that of the result.
const char* im2col_fprop_unwanted(const Conv2dProblem& p) {
    if (p.k < kMostNarrow) return "few outputs";
    if (pixels(p) > 32 && !(strided(p) && p.taps() > 1 && pixels(p) <= 50)) return "many pixels";
    return p.c * p.taps() < 128 && pixels(p) > 4 ? "few weights" : nullptr;
}
const char* im2col_dgrad_unwanted(const Conv2dProblem& p) {
    if (std::min(p.c, p.k) < kMostNarrow && pixels(p) > 4) return "few channels";
    if (pixels(p) > kMostPixels) return "many pixels";
    // Where most taps fall beside the picture, others leave them out.
    if (share_inside(p.vertical, p.h, p.p) * share_inside(p.horizontal, p.w, p.q) < kMostlyInside)
        return "most taps fall beside the picture";
    if (p.taps() > 1 && (strided(p) || p.taps() >= 36)) return nullptr;
    return pixels(p) > 16 || p.k * p.c * p.taps() > kSmallWeights ? "many pixels or weights" : nullptr;
}
const char* im2col_wgrad_unwanted(const Conv2dProblem& p) {
    if (p.taps() == 1) return "one tap";
    if (p.k < kMostNarrow || p.c * p.taps() < 32) return "few channels";
    if (p.c > 1 && pixels(p) <= 72) return nullptr;
    // Few inputs with many outputs: other kernels leave lanes empty, or broadcast from far apart.
    const bool few = p.c >= 6 && p.c < 32 && p.k >= 80;
    return few && pixels(p) <= (strided(p) ? 900 : 350) ? nullptr : "many pixels";
}

void im2col_fprop(const Conv2dProblem& p, const ConvArgs& args, Arena& arena) {
    const Im2col g = geometry(p);
    const LinearProblem linear = product(g, p.k);
    const float* patches = patches_of(p, g, args.in, arena, args.team);
    float* packed = take(arena, FC_ISA_PICK(linear_packed_floats)(linear));
    const bool turned = p.layout == Layout::nchw && p.pixels_out() > 1;
    float* rows = turned ? take(arena, g.pixels() * p.k) : static_cast<float*>(args.out);
    if (arena.counting()) return;
    FC_ISA_PICK(linear_forward_run)
    (linear, patches, static_cast<const float*>(args.weight), static_cast<const float*>(args.epilogue.bias),
     packed, rows);
    if (turned)
        FC_ISA_PICK(transpose_batch_f32)(rows, static_cast<float*>(args.out), p.n, p.pixels_out(), p.k);
}

void im2col_dgrad(const Conv2dProblem& p, const ConvArgs& args, Arena& arena) {
    const Im2col g = geometry(p);
    const float* dy = rows_of(p, args.in, arena);
    const bool ready = patches_lie_ready(p) && !args.epilogue.bias && !arena.counting();
    float* patches = ready ? static_cast<float*>(args.out) : take(arena, g.pixels() * g.columns());
    float* scratch = take(arena, g.scratch() * args.team);
    if (arena.counting()) return;
    FC_ISA_PICK(linear_input_grad_run)(product(g, p.k), static_cast<const float*>(args.weight), dy, patches);
    if (!ready) FC_ISA_PICK(im2col_fold)
    (g, patches, static_cast<const float*>(args.epilogue.bias), static_cast<float*>(args.out), scratch,
     args.team);
}

void im2col_wgrad(const Conv2dProblem& p, const WgradArgs& args, Arena& arena) {
    const Im2col g = geometry(p);
    const LinearProblem linear = product(g, p.k);
    const float* patches = patches_of(p, g, args.x, arena, args.team);
    const float* dy = rows_of(p, args.dy, arena);
    const int64_t splits = FC_ISA_PICK(linear_splits)(linear);
    float* partial = take(arena, splits == 1 ? 0 : splits * p.k * g.columns());
    if (arena.counting()) return;
    FC_ISA_PICK(linear_weight_grad_run)(linear, patches, dy, partial, static_cast<float*>(args.dweight));
}

}  // namespace fastconv
