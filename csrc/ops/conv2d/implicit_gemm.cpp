// Brings the three directions into the form of gather.h: tap lists, strides, workspaces.
#include <algorithm>
#include <vector>

#include "core/checks.h"
#include "cpu/layout/transpose.h"
#include "cpu/threads.h"
#include "ops/conv2d/gather.h"
#include "ops/conv2d/inverted.h"
#include "ops/conv2d/kernels.h"
#include "ops/conv2d/taps.h"

namespace fastconv {
namespace {

// Below this many input channels the filter is one loop over offsets in a padded copy: the microkernel's
// start at each tap costs about as much as two dozen steps of its loop.
constexpr int64_t kFewChannels = 32;
// The rows of input that a work item normalises for itself stay in L2; with large dilations that many rows
// would be read for few pixels.
constexpr size_t kMostBand = 1 << 20;
// dgrad: from this many channels on, a residual or an activation's gradient is applied pixel by pixel.
constexpr int64_t kLongRow = 64;
// wgrad: from this many output channels on, x is copied into panels before the tiles pass over it, so that no
// power-of-two stride makes the lines of a column fight for one set of L1; few runs of taps share a panel, up
// to this many columns.
constexpr int64_t kPackRows = 24;
constexpr int64_t kSliceColumns = 256;
// wgrad: from this many input channels on, their lanes are full enough for the direct kernel.
constexpr int64_t kDirectChannels = 16, kFewOutputs = 64;
// wgrad: parts of the reduction are made until there are this many work items, each of so many multiply-adds
// at least: below, nobody shares them, and each part's copy of the result would be written for nothing.
constexpr int64_t kWgradItems = 16;
constexpr double kWgradPart = 250e3;

std::vector<Tap> tap_list(const std::vector<AxisTap>& vertical, const std::vector<AxisTap>& horizontal,
                          int64_t s, int64_t shift_h = 0, int64_t shift_w = 0) {
    std::vector<Tap> taps;
    for (const AxisTap& v : vertical)
        for (const AxisTap& h : horizontal)
            taps.push_back({v.offset + shift_h, h.offset + shift_w, v.index * s + h.index});
    return taps;
}

// Runs of `length` taps each.
std::vector<TapRun> tap_runs(const std::vector<Tap>& taps, int64_t length) {
    std::vector<TapRun> runs;
    for (size_t t = 0; t < taps.size(); t += static_cast<size_t>(length))
        runs.push_back({static_cast<int64_t>(t), length, taps[t].dh, taps[t].dw});
    return runs;
}

// Sizes and strides of a channels-last input of `c` elements a pixel, into any struct of gather.h.
template <class G>
void set_input(G& g, int64_t n, int64_t c, int64_t h, int64_t w) {
    g.n = n, g.h = h, g.w = w;
    g.in_n = c * h * w;
    g.in_h = c * w;
    g.in_w = c;
}

// The input of a gather: channels-last, and in a frame of zeros where `frame` asked for one.
struct Input {
    bool nchw;
    int64_t n, c, h, w;
    bool apart;                                     // pixels need not follow each other
    int64_t pitch;                                  // elements from pixel to pixel
    int64_t top = 0, left = 0, padded_h, padded_w;  // the frame

    Input(bool nchw_, int64_t n_, int64_t c_, int64_t h_, int64_t w_, int64_t pitch_)
        : nchw(nchw_),
          n(n_),
          c(c_),
          h(h_),
          w(w_),
          apart(pitch_ != 0),
          pitch(apart ? pitch_ : c_),
          padded_h(h_),
          padded_w(w_) {}

    // Puts it into the frame that no tap leaves. False where that is not worth its memory: a large padding or
    // dilation could need far more than the arrays themselves.
    bool frame(const Reach& rows, const Reach& cols, int64_t out_h, int64_t out_w, int64_t step_h,
               int64_t step_w) {
        if (apart) return false;
        const int64_t framed_h = rows.padded(h, out_h, step_h), framed_w = cols.padded(w, out_w, step_w);
        if (framed_h > 2 * h + 16 || framed_w > 2 * w + 16 ||
            !frame_fits(std::max<int64_t>(1, n * c), h * w, framed_h * framed_w))
            return false;
        top = rows.before(), left = cols.before(), padded_h = framed_h, padded_w = framed_w;
        return true;
    }
    // The array itself, or a copy in the arena.
    const float* make(const void* array, Arena& arena) const {
        const float* data = static_cast<const float*>(array);
        const bool framed = padded_h != h || padded_w != w;
        if (!framed && (!nchw || c == 1 || h * w == 1)) return data;
        const int64_t count = checked_mul("conv2d", checked_mul("conv2d", n * c, padded_h), padded_w);
        float* copy = arena.take<float>(static_cast<size_t>(count));
        if (arena.counting()) return copy;
        if (framed)
            FC_ISA_PICK(padded_copy_f32)({data, nchw, n, c, h, w, top, left, padded_h, padded_w}, copy);
        else
            FC_ISA_PICK(transpose_batch_f32)(data, copy, n, c, h * w);
        return copy;
    }
    template <class G>
    void describe(G& g) const {
        set_input(g, n, pitch, padded_h, padded_w);
    }
};

// offsets[t * depth + c] of every tap and channel, for GatherConv.
std::vector<int64_t> offset_list(const std::vector<Tap>& taps, const GatherConv& g) {
    std::vector<int64_t> offsets;
    offsets.reserve(taps.size() * static_cast<size_t>(g.depth));
    for (const Tap& t : taps)
        for (int64_t c = 0; c < g.depth; ++c) offsets.push_back(t.dh * g.in_h + t.dw * g.in_w + c);
    return offsets;
}

void set_output(GatherConv& g, bool nchw, int64_t c, int64_t h, int64_t w, int64_t pitch) {
    if (pitch) c = pitch;
    g.out_n = c * h * w;
    g.out_c = nchw ? h * w : 1;
    g.out_w = nchw ? 1 : c;
    g.out_h = g.out_w * w;
}

// fprop, or one residue class of dgrad.
struct Gather {
    std::vector<Tap> taps;
    std::vector<int64_t> offsets;
    GatherConv g{};
    int64_t out_at = 0;  // elements from the output's start
};
// A whole direction: the same input gathered for each class.
struct Gathers {
    Input input;
    std::vector<Gather> list;
    bool gaps = false;  // some output pixels are reached by no class

    // Points every member of the list at its own lists, once those will not move any more.
    void settle() {
        for (Gather& e : list) {
            e.g.taps = e.taps.data();
            e.g.tap_count = static_cast<int64_t>(e.taps.size());
            if (e.offsets.empty() && FC_ISA_PICK(gather_narrow_point)(e.g))
                e.offsets = offset_list(e.taps, e.g);
            e.g.offsets = e.offsets.empty() ? nullptr : e.offsets.data();
        }
    }
    size_t packed_bytes() const {
        size_t bytes = 0;
        for (const Gather& e : list) bytes += round_to_line(FC_ISA_PICK(gather_sizes)(e.g).packed);
        return bytes;
    }
    void pack(const void* weight, void* packed) {
        char* to = static_cast<char*>(packed);
        for (Gather& e : list) {
            e.g.weight = static_cast<const float*>(weight);
            FC_ISA_PICK(gather_pack)(e.g, reinterpret_cast<float*>(to), num_threads());
            to += round_to_line(FC_ISA_PICK(gather_sizes)(e.g).packed);
        }
    }
    void run(const ConvArgs& args, const Finish& finish, Arena& arena) {
        const float* in = input.make(args.in, arena);
        size_t scratch_bytes = 0, zero_bytes = 0, partial_bytes = 0;
        for (Gather& e : list) {
            e.g.line = InputLine(args.prologue);
            e.g.moments = OutputMoments(args.statistics);
            const GatherSizes sizes = FC_ISA_PICK(gather_sizes)(e.g);
            scratch_bytes = std::max(scratch_bytes, sizes.scratch * static_cast<size_t>(args.team));
            zero_bytes = std::max(zero_bytes, sizes.zeros);
            partial_bytes =
                e.g.sums.wanted ? partial_bytes + sizes.partials : std::max(partial_bytes, sizes.partials);
        }
        char* scratch = arena.take<char>(scratch_bytes);
        float* zeros = arena.take<float>(zero_bytes / sizeof(float));
        float* partials = arena.take<float>(partial_bytes / sizeof(float));
        if (arena.counting()) return;
        float* sums = partials;
        const char* packed = static_cast<const char*>(args.packed);
        std::vector<GatherClass> classes;
        for (Gather& e : list) {
            e.g.in = in;
            e.g.out = static_cast<float*>(args.out) + e.out_at;
            e.g.bias = static_cast<const float*>(args.epilogue.bias);
            e.g.finish = finish;
            e.g.cold = args.cold;
            e.g.moments.partials = partials;
            if (e.g.sums.wanted) {
                e.g.sums.x += e.out_at / e.g.sums.out_pitch * e.g.sums.x_pitch;
                e.g.sums.partials = sums;
                sums += FC_ISA_PICK(gather_sizes)(e.g).partials / sizeof(float);
            }
            classes.push_back({&e.g, reinterpret_cast<const float*>(packed)});
            packed += round_to_line(FC_ISA_PICK(gather_sizes)(e.g).packed);
        }
        FC_ISA_PICK(gather_run)
        (classes.data(), static_cast<int64_t>(classes.size()), scratch, zeros, args.team);
    }
};

// One residue class of an axis that some tap reaches. A stride beyond the kernel leaves most classes without
// one, and there may be as many as pixels, so only these are kept.
struct AxisClass {
    int64_t residue;
    std::vector<AxisTap> taps;
};

std::vector<AxisClass> reached_classes(const WindowAxis& a) {
    std::vector<int64_t> residues;
    for (int64_t r = 0; r < a.kernel; ++r) {
        const int64_t place = (r * a.dilation - a.pad_begin) % a.stride;
        residues.push_back(place < 0 ? place + a.stride : place);
    }
    std::sort(residues.begin(), residues.end());
    residues.erase(std::unique(residues.begin(), residues.end()), residues.end());
    std::vector<AxisClass> classes;
    for (int64_t residue : residues)
        if (residue < a.input) classes.push_back({residue, backward_taps(a, residue)});
    return classes;
}

// dx = bias everywhere, for the pixels that no tap reaches.
void fill_with_bias(const Conv2dProblem& p, const float* bias, float* dx) {
    struct Fill {
        const float* bias;
        float* dx;
        int64_t c, pitch, pixels;
        bool planar;
    } fill{bias, dx, p.c, p.x_pitch ? p.x_pitch : p.c, p.pixels_in(), p.layout == Layout::nchw};
    parallel_run(
        p.n * (fill.planar ? p.c : fill.pixels), 32768 / (fill.planar ? fill.pixels : p.c) + 1,
        [](void* context, int64_t begin, int64_t end, int) {
            const Fill& f = *static_cast<Fill*>(context);
            if (f.planar)
                for (int64_t plane = begin; plane < end; ++plane)
                    std::fill_n(f.dx + plane * f.pixels, f.pixels, f.bias ? f.bias[plane % f.c] : 0.0f);
            else if (f.bias)
                for (int64_t pixel = begin; pixel < end; ++pixel)
                    std::copy_n(f.bias, f.c, f.dx + pixel * f.pitch);
            else if (f.pitch == f.c)
                std::fill(f.dx + begin * f.c, f.dx + end * f.c, 0.0f);
            else
                for (int64_t pixel = begin; pixel < end; ++pixel)
                    std::fill_n(f.dx + pixel * f.pitch, f.c, 0.0f);
        },
        &fill, num_threads());
}

// Parts of the reduction, of which there may be `most`, for `units` of work that are independent.
int64_t wgrad_splits(const Conv2dProblem& p, int64_t units, int64_t most) {
    const double pixels = static_cast<double>(p.n) * static_cast<double>(p.pixels_out());
    const double weights = static_cast<double>(p.k) * static_cast<double>(p.group_c() * p.taps());
    const int64_t wanted = kWgradItems / units;
    if (pixels * weights < static_cast<double>(wanted) * kWgradPart)
        most = std::min(most, static_cast<int64_t>(pixels * weights / kWgradPart));
    return std::clamp<int64_t>(wanted, 1, std::max<int64_t>(1, most));
}

// The direct kernel for wgrad, on channels-last arrays. False where the panel of x would be out of
// proportion: large dilations or paddings.
bool run_direct(const Conv2dProblem& p, GatherWgrad& g, const WgradArgs& args, Arena& arena) {
    constexpr size_t kMostScratch = 4 << 20;
    g.team = args.team;
    if (FC_ISA_PICK(direct_wgrad_sizes)(g).scratch > kMostScratch) return false;
    g.dy = Input(p.layout == Layout::nchw, p.n, g.groups * g.width, p.p, p.q, 0).make(args.dy, arena);
    const WgradUnits work = FC_ISA_PICK(direct_wgrad_units)(g);
    // At least four bands a part, or its copy of the result costs more than it helps.
    g.splits = wgrad_splits(p, work.units, work.most_splits / 4);
    const WgradSizes sizes = FC_ISA_PICK(direct_wgrad_sizes)(g);
    float* partial = arena.take<float>(sizes.partial / sizeof(float));
    char* scratch = arena.take<char>(sizes.scratch * static_cast<size_t>(args.team));
    if (!arena.counting())
        FC_ISA_PICK(direct_wgrad_run)(g, partial, scratch, static_cast<float*>(args.dweight), args.team);
    return true;
}

// With a single tap the panel of x serves few outputs badly.
bool direct_point(const Conv2dProblem& p) {
    return p.group_c() >= kDirectChannels && (p.group_k() > kFewOutputs || p.group_c() <= p.group_k());
}

// There x and dy change places, where their pixels lie alike: the result is dW transposed.
bool swapped_point(const Conv2dProblem& p) {
    return p.layout == Layout::nhwc && p.unpadded_1x1() && p.groups == 1 && p.vertical.stride == 1 &&
           p.horizontal.stride == 1 && p.x_pitch == 0 && !direct_point(p) && p.k >= kDirectChannels;
}
bool run_swapped(const Conv2dProblem& p, const WgradArgs& args, Arena& arena) {
    GatherWgrad g{};
    set_input(g, p.n, p.k, p.p, p.q);
    const Tap tap{0, 0, 0};
    g.taps = &tap;
    g.tap_count = g.weight_taps = 1;
    g.groups = 1, g.depth = p.k, g.width = p.c;
    g.step_h = g.step_w = 1;
    g.rows = p.p, g.cols = p.q;
    float* const transposed = arena.take<float>(static_cast<size_t>(p.k * p.c));
    WgradArgs swapped = args;
    g.x = static_cast<const float*>(args.dy);
    swapped.dy = args.x, swapped.dweight = transposed;
    if (!run_direct(p, g, swapped, arena)) return false;
    if (!arena.counting())
        FC_ISA_PICK(transpose_batch_f32)(transposed, static_cast<float*>(args.dweight), 1, p.c, p.k);
    return true;
}

// A tile of dots reads a line for every few multiply-adds, and the pixels of a group may lie pages apart.
bool dots(const Conv2dProblem& p, int64_t depth, int64_t width) {
    return (p.groups == 1 || width <= kFewDots) && FC_ISA_PICK(gather_dots)(depth, width, p.taps());
}

Gathers fprop_gathers(const Conv2dProblem& p) {
    const bool nchw = p.layout == Layout::nchw;
    const auto vertical = forward_taps(p.vertical), horizontal = forward_taps(p.horizontal);
    Reach rows, cols;
    rows.add(vertical);
    cols.add(horizontal);
    Gathers all{Input(nchw, p.n, p.c, p.h, p.w, p.x_pitch), {}};
    const bool dot = dots(p, p.group_c(), p.group_k());
    const bool offsets = !dot && p.group_c() < kFewChannels && p.taps() > 1 &&
                         all.input.frame(rows, cols, p.p, p.q, p.vertical.stride, p.horizontal.stride);
    Gather& e = all.list.emplace_back();
    GatherConv& g = e.g;
    all.input.describe(g);
    e.taps = tap_list(vertical, horizontal, p.s, all.input.top, all.input.left);
    g.groups = p.groups, g.depth = p.group_c(), g.width = p.group_k();
    g.step_h = p.vertical.stride, g.step_w = p.horizontal.stride;
    g.rows = p.p, g.cols = p.q;
    set_output(g, nchw, p.k, p.p, p.q, p.y_pitch);
    g.weight_g = p.group_k() * p.group_c() * p.taps();
    g.weight_o = p.group_c() * p.taps();
    g.weight_c = g.weight_taps = p.taps();
    g.dot = dot;
    if (offsets) e.offsets = offset_list(e.taps, g);
    all.settle();
    return all;
}

// One dense convolution for each residue class (a, b) of input pixels.
Gathers dgrad_gathers(const Conv2dProblem& p) {
    const bool nchw = p.layout == Layout::nchw;
    const std::vector<AxisClass> classes_h = reached_classes(p.vertical),
                                 classes_w = reached_classes(p.horizontal);
    const int64_t classes = std::min(p.vertical.stride, p.h) * std::min(p.horizontal.stride, p.w);
    Gathers all{Input(nchw, p.n, p.k, p.p, p.q, p.y_pitch), {}};
    all.gaps = static_cast<int64_t>(classes_h.size() * classes_w.size()) < classes;
    if (classes_h.empty() || classes_w.empty()) return all;
    const auto rows_of = [&](int64_t a) { return (p.h - a + p.vertical.stride - 1) / p.vertical.stride; };
    const auto cols_of = [&](int64_t b) { return (p.w - b + p.horizontal.stride - 1) / p.horizontal.stride; };
    Reach rows, cols;
    for (const AxisClass& a : classes_h) rows.add(a.taps);
    for (const AxisClass& b : classes_w) cols.add(b.taps);
    const bool dot = dots(p, p.group_k(), p.group_c());
    const bool offsets = !dot && p.group_k() < kFewChannels && p.taps() > 1 &&
                         all.input.frame(rows, cols, rows_of(0), cols_of(0), 1, 1);
    for (const AxisClass& a : classes_h)
        for (const AxisClass& b : classes_w) {
            Gather& e = all.list.emplace_back();
            GatherConv& g = e.g;
            all.input.describe(g);
            e.taps = tap_list(a.taps, b.taps, p.s, all.input.top, all.input.left);
            g.groups = p.groups, g.depth = p.group_k(), g.width = p.group_c();
            g.step_h = g.step_w = 1;
            g.weight_g = p.group_k() * p.group_c() * p.taps();
            g.weight_o = g.weight_taps = p.taps();
            g.weight_c = p.group_c() * p.taps();
            g.dot = dot;
            g.rows = rows_of(a.residue);
            g.cols = cols_of(b.residue);
            set_output(g, nchw, p.c, p.h, p.w, p.x_pitch);
            e.out_at = a.residue * g.out_h + b.residue * g.out_w;
            g.out_h *= p.vertical.stride;
            g.out_w *= p.horizontal.stride;
            if (offsets) e.offsets = offset_list(e.taps, g);
        }
    all.settle();
    return all;
}

}  // namespace

// Whether the pieces of dx that are stored together are long enough to be finished at once.
bool finishes_pieces(const Conv2dProblem& p) {
    return p.layout == Layout::nchw ? p.horizontal.stride == 1 : p.group_c() >= kLongRow;
}

size_t implicit_gemm_fprop_packed_bytes(const Conv2dProblem& p) { return fprop_gathers(p).packed_bytes(); }
void implicit_gemm_fprop_pack(const Conv2dProblem& p, const void* weight, void* packed) {
    fprop_gathers(p).pack(weight, packed);
}
bool implicit_gemm_fuses_prologue(const Conv2dProblem& p) {
    Gathers all = fprop_gathers(p);
    Gather& e = all.list[0];
    e.g.line.wanted = true;
    return e.offsets.empty() && FC_ISA_PICK(gather_sizes)(e.g).band <= kMostBand;
}
void implicit_gemm_fprop(const Conv2dProblem& p, const ConvArgs& args, Arena& arena) {
    fprop_gathers(p).run(args, Finish(args), arena);
}

PointwiseRows pointwise_rows(const Conv2dProblem& p, int64_t most) {
    Conv2dProblem rows = p;
    rows.n = 1, rows.h = rows.p = rows.vertical.input = most;
    const auto all = std::make_shared<Gathers>(fprop_gathers(rows));
    all->settle();
    PointwiseRows result;
    result.g = all->list[0].g;
    for (int64_t h = 1; h <= most; ++h) {
        GatherConv g = result.g;
        g.h = g.rows = h;
        result.scratch = std::max(result.scratch, FC_ISA_PICK(gather_sizes)(g).scratch);
    }
    result.lists = all;
    return result;
}

size_t implicit_gemm_dgrad_packed_bytes(const Conv2dProblem& p) { return dgrad_gathers(p).packed_bytes(); }
void implicit_gemm_dgrad_pack(const Conv2dProblem& p, const void* weight, void* packed) {
    dgrad_gathers(p).pack(weight, packed);
}
bool implicit_gemm_fuses_sums(const Conv2dProblem& p) {
    return p.layout == Layout::nhwc && finishes_pieces(p) && !dgrad_gathers(p).gaps;
}
void implicit_gemm_dgrad(const Conv2dProblem& p, const ConvArgs& args, Arena& arena) {
    Gathers all = dgrad_gathers(p);
    for (Gather& e : all.list) e.g.sums = OutputSums(args.sums, p.c, p.x_pitch);
    if (all.gaps && !arena.counting())
        fill_with_bias(p, static_cast<const float*>(args.epilogue.bias), static_cast<float*>(args.out));
    // What follows is a pass over the result where pixels are left to the filling, and where the pieces that
    // are stored together are short.
    const bool together = finishes_pieces(p) && !all.gaps;
    all.run(args, together ? Finish(args) : Finish(), arena);
    if (!together && !arena.counting() && !args.epilogue.plain())
        apply_epilogue(p, ConvDirection::dgrad, args.epilogue, args.out);
}

// Where the direct kernel takes x into panels pixel by pixel.
bool implicit_gemm_wgrad_fuses_prologue(const Conv2dProblem& p) {
    return p.layout == Layout::nhwc && p.unpadded_1x1() && direct_point(p);
}

void implicit_gemm_wgrad(const Conv2dProblem& p, const WgradArgs& args, Arena& arena) {
    const bool nchw = p.layout == Layout::nchw;
    const auto vertical = forward_taps(p.vertical), horizontal = forward_taps(p.horizontal);
    Reach rows, cols;
    rows.add(vertical);
    cols.add(horizontal);
    Input input(nchw, p.n, p.c, p.h, p.w, p.x_pitch);
    const bool padded = p.group_c() < kFewChannels && p.taps() > 1 &&
                        input.frame(rows, cols, p.p, p.q, p.vertical.stride, p.horizontal.stride);
    if (swapped_point(p) && run_swapped(p, args, arena)) return;
    GatherWgrad g{};
    g.planar = nchw && p.unpadded_1x1() && p.vertical.stride == 1 && p.horizontal.stride == 1;
    // Enough channels for lanes along them: the direct kernel.
    const bool direct =
        !padded && !g.planar && (p.taps() > 1 ? p.group_c() >= kDirectChannels : direct_point(p));
    g.line = InputLine(args.prologue);
    g.x = g.planar ? static_cast<const float*>(args.x) : input.make(args.x, arena);
    input.describe(g);
    const std::vector<Tap> taps = tap_list(vertical, horizontal, p.s, input.top, input.left);
    // A filter's row of few channels is one run of columns; elsewhere each tap is by itself.
    const bool whole_rows = padded && p.groups == 1 && p.horizontal.dilation == 1;
    const std::vector<TapRun> runs = tap_runs(taps, whole_rows ? p.s : 1);
    g.taps = taps.data();
    g.tap_count = p.taps();
    g.runs = runs.data();
    g.run_count = static_cast<int64_t>(runs.size());
    g.groups = p.groups, g.depth = p.group_c(), g.width = p.group_k();
    g.step_h = p.vertical.stride, g.step_w = p.horizontal.stride;
    g.rows = p.p, g.cols = p.q;
    g.weight_taps = p.taps();
    if (direct && run_direct(p, g, args, arena)) return;
    g.packed = p.group_k() >= kPackRows;
    g.slice_runs = 1;
    if (padded && g.packed)
        g.slice_runs = std::clamp<int64_t>(kSliceColumns / (runs[0].count * g.depth), 1, g.run_count);
    const int64_t slices = (g.run_count + g.slice_runs - 1) / g.slice_runs;
    g.dy_planar = nchw && g.packed && slices == 1;
    g.dy = g.planar || g.dy_planar ? static_cast<const float*>(args.dy)
                                   : Input(nchw, p.n, p.k, p.p, p.q, 0).make(args.dy, arena);
    const int64_t units = p.groups * slices * g.parts();
    g.splits = wgrad_splits(p, units, p.n * p.p);
    const WgradSizes sizes = FC_ISA_PICK(wgrad_sizes)(g);
    float* partial = arena.take<float>(sizes.partial / sizeof(float));
    char* scratch = arena.take<char>(sizes.scratch * static_cast<size_t>(args.team));
    if (arena.counting()) return;
    FC_ISA_PICK(wgrad_run)(g, partial, scratch, static_cast<float*>(args.dweight), args.team);
}

}  // namespace fastconv
