// Brings the three directions into the form of gather.h: tap lists, strides, workspaces.
#include <algorithm>
#include <vector>

#include "core/checks.h"
#include "core/memory.h"
#include "cpu/layout/transpose.h"
#include "cpu/threads.h"
#include "ops/conv2d/gather.h"
#include "ops/conv2d/kernels.h"
#include "ops/conv2d/taps.h"

namespace fastconv {
namespace {

// Below this many input channels the filter is one loop over offsets in a padded copy: the microkernel's
// start at each tap costs about as much as two dozen steps of its loop.
constexpr int64_t kFewChannels = 32;
// wgrad: from this many output channels on, x is copied into panels before the tiles pass over it, so that no
// power-of-two stride makes the lines of a column fight for one set of L1; few runs of taps share a panel, up
// to this many columns.
constexpr int64_t kPackRows = 24;
constexpr int64_t kSliceColumns = 256;
// wgrad: parts of the reduction are made until there are this many work items.
constexpr int64_t kWgradItems = 16;

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

// The array itself where it is channels-last, or a reordered copy in `keep`.
const float* channels_last(const float* data, bool nchw, int64_t n, int64_t c, int64_t pixels,
                           Workspace& keep) {
    if (!nchw || c == 1 || pixels == 1) return data;
    keep = Workspace(static_cast<size_t>(n * c * pixels) * sizeof(float));
    FC_ISA_PICK(transpose_batch_f32)(data, keep.as<float>(), n, c, pixels);
    return keep.as<float>();
}

// Sizes and strides of a channels-last input, into any struct of gather.h.
template <class G>
void set_input(G& g, int64_t n, int64_t c, int64_t h, int64_t w) {
    g.n = n, g.h = h, g.w = w;
    g.in_n = c * h * w;
    g.in_h = c * w;
    g.in_w = c;
}

// The input of a gather: channels-last, and in a frame of zeros where `pad` asks for one.
class Input {
  public:
    // Whether a frame of this size is worth its memory: a large padding or dilation could need far more than
    // the arrays themselves.
    static bool worth_padding(int64_t planes, int64_t h, int64_t w, int64_t padded_h, int64_t padded_w) {
        return padded_h <= 2 * h + 16 && padded_w <= 2 * w + 16 &&
               frame_fits(planes, h * w, padded_h * padded_w);
    }
    Input(const void* data, bool nchw, int64_t n, int64_t c, int64_t h, int64_t w)
        : data_(static_cast<const float*>(data)), nchw_(nchw), n_(n), c_(c), h_(h), w_(w) {}

    void reorder() {
        data_ = channels_last(data_, nchw_, n_, c_, h_ * w_, copy_);
        nchw_ = false;
    }
    // So many rows and columns of zeros first, and this size in all.
    void pad(int64_t top, int64_t left, int64_t padded_h, int64_t padded_w) {
        if (padded_h == h_ && padded_w == w_) return reorder();
        Workspace copy(static_cast<size_t>(checked_mul("conv2d", n_ * c_ * padded_h, padded_w)) *
                       sizeof(float));
        FC_ISA_PICK(padded_copy_f32)
        ({data_, nchw_, n_, c_, h_, w_, top, left, padded_h, padded_w}, copy.as<float>());
        copy_ = std::move(copy);
        data_ = copy_.as<float>();
        h_ = padded_h, w_ = padded_w;
        nchw_ = false;
    }
    template <class G>
    const float* describe(G& g) const {
        set_input(g, n_, c_, h_, w_);
        return data_;
    }

  private:
    const float* data_;
    bool nchw_;
    int64_t n_, c_, h_, w_;
    Workspace copy_;
};

// offsets[t * depth + c] of every tap and channel, for GatherConv.
std::vector<int64_t> offset_list(const GatherConv& g) {
    std::vector<int64_t> offsets;
    offsets.reserve(static_cast<size_t>(g.tap_count * g.depth));
    for (int64_t t = 0; t < g.tap_count; ++t)
        for (int64_t c = 0; c < g.depth; ++c)
            offsets.push_back(g.taps[t].dh * g.in_h + g.taps[t].dw * g.in_w + c);
    return offsets;
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
        int64_t c, pixels;
        bool planar;
    } fill{bias, dx, p.c, p.pixels_in(), p.layout == Layout::nchw};
    parallel_run(
        p.n * (fill.planar ? p.c : fill.pixels), 32768 / (fill.planar ? fill.pixels : p.c) + 1,
        [](void* context, int64_t begin, int64_t end, int) {
            const Fill& f = *static_cast<Fill*>(context);
            if (f.planar)
                for (int64_t plane = begin; plane < end; ++plane)
                    std::fill_n(f.dx + plane * f.pixels, f.pixels, f.bias ? f.bias[plane % f.c] : 0.0f);
            else if (f.bias)
                for (int64_t pixel = begin; pixel < end; ++pixel)
                    std::copy_n(f.bias, f.c, f.dx + pixel * f.c);
            else
                std::fill(f.dx + begin * f.c, f.dx + end * f.c, 0.0f);
        },
        &fill, num_threads());
}

}  // namespace

void implicit_gemm_fprop(const Conv2dProblem& p, const void* x, const void* w, const void* bias, void* y) {
    const bool nchw = p.layout == Layout::nchw;
    const auto vertical = forward_taps(p.vertical), horizontal = forward_taps(p.horizontal);
    Reach rows, cols;
    rows.add(vertical);
    cols.add(horizontal);
    const int64_t padded_h = rows.padded(p.h, p.p, p.vertical.stride);
    const int64_t padded_w = cols.padded(p.w, p.q, p.horizontal.stride);
    const bool offsets = p.group_c() < kFewChannels && p.taps() > 1 &&
                         Input::worth_padding(p.n * p.c, p.h, p.w, padded_h, padded_w);
    Input input(x, nchw, p.n, p.c, p.h, p.w);
    if (offsets)
        input.pad(rows.before(), cols.before(), padded_h, padded_w);
    else
        input.reorder();
    GatherConv g{};
    g.in = input.describe(g);
    const std::vector<Tap> taps =
        tap_list(vertical, horizontal, p.s, offsets ? rows.before() : 0, offsets ? cols.before() : 0);
    g.taps = taps.data();
    g.tap_count = p.taps();
    g.groups = p.groups, g.depth = p.group_c(), g.width = p.group_k();
    g.step_h = p.vertical.stride, g.step_w = p.horizontal.stride;
    g.rows = p.p, g.cols = p.q;
    set_output(g, nchw, p.k, p.p, p.q, static_cast<float*>(y));
    g.bias = static_cast<const float*>(bias);
    g.weight = static_cast<const float*>(w);
    g.weight_g = p.group_k() * p.group_c() * p.taps();
    g.weight_o = p.group_c() * p.taps();
    g.weight_c = g.weight_taps = p.taps();
    const std::vector<int64_t> list = offsets ? offset_list(g) : std::vector<int64_t>();
    g.offsets = offsets ? list.data() : nullptr;
    run(g);
}

void implicit_gemm_dgrad(const Conv2dProblem& p, const void* w, const void* dy, const void* bias, void* dx) {
    const bool nchw = p.layout == Layout::nchw;
    // One dense convolution for each residue class (a, b) of input pixels.
    const std::vector<AxisClass> classes_h = reached_classes(p.vertical),
                                 classes_w = reached_classes(p.horizontal);
    const int64_t classes = std::min(p.vertical.stride, p.h) * std::min(p.horizontal.stride, p.w);
    if (static_cast<int64_t>(classes_h.size() * classes_w.size()) < classes)
        fill_with_bias(p, static_cast<const float*>(bias), static_cast<float*>(dx));
    if (classes_h.empty() || classes_w.empty()) return;
    const auto rows_of = [&](int64_t a) { return (p.h - a + p.vertical.stride - 1) / p.vertical.stride; };
    const auto cols_of = [&](int64_t b) { return (p.w - b + p.horizontal.stride - 1) / p.horizontal.stride; };
    Reach rows, cols;
    for (const AxisClass& a : classes_h) rows.add(a.taps);
    for (const AxisClass& b : classes_w) cols.add(b.taps);
    const int64_t padded_h = rows.padded(p.p, rows_of(0), 1), padded_w = cols.padded(p.q, cols_of(0), 1);
    const bool offsets = p.group_k() < kFewChannels && p.taps() > 1 &&
                         Input::worth_padding(p.n * p.k, p.p, p.q, padded_h, padded_w);
    Input input(dy, nchw, p.n, p.k, p.p, p.q);
    if (offsets)
        input.pad(rows.before(), cols.before(), padded_h, padded_w);
    else
        input.reorder();
    GatherConv g{};
    g.in = input.describe(g);
    g.groups = p.groups, g.depth = p.group_k(), g.width = p.group_c();
    g.step_h = g.step_w = 1;
    g.bias = static_cast<const float*>(bias);
    g.weight = static_cast<const float*>(w);
    g.weight_g = p.group_k() * p.group_c() * p.taps();
    g.weight_o = g.weight_taps = p.taps();
    g.weight_c = p.group_c() * p.taps();
    for (const AxisClass& a : classes_h)
        for (const AxisClass& b : classes_w) {
            const std::vector<Tap> taps =
                tap_list(a.taps, b.taps, p.s, offsets ? rows.before() : 0, offsets ? cols.before() : 0);
            g.taps = taps.data();
            g.tap_count = static_cast<int64_t>(taps.size());
            g.rows = rows_of(a.residue);
            g.cols = cols_of(b.residue);
            set_output(g, nchw, p.c, p.h, p.w, static_cast<float*>(dx));
            g.out += a.residue * g.out_h + b.residue * g.out_w;
            g.out_h *= p.vertical.stride;
            g.out_w *= p.horizontal.stride;
            const std::vector<int64_t> list = offsets ? offset_list(g) : std::vector<int64_t>();
            g.offsets = offsets ? list.data() : nullptr;
            run(g);
        }
}

void implicit_gemm_wgrad(const Conv2dProblem& p, const void* x, const void* dy, void* dw) {
    const bool nchw = p.layout == Layout::nchw;
    const auto vertical = forward_taps(p.vertical), horizontal = forward_taps(p.horizontal);
    Reach rows, cols;
    rows.add(vertical);
    cols.add(horizontal);
    const int64_t padded_h = rows.padded(p.h, p.p, p.vertical.stride);
    const int64_t padded_w = cols.padded(p.w, p.q, p.horizontal.stride);
    const bool padded = p.group_c() < kFewChannels && p.taps() > 1 &&
                        Input::worth_padding(p.n * p.c, p.h, p.w, padded_h, padded_w);
    Input input(x, nchw, p.n, p.c, p.h, p.w);
    GatherWgrad g{};
    g.planar = nchw && p.unpadded_1x1() && p.vertical.stride == 1 && p.horizontal.stride == 1;
    if (padded)
        input.pad(rows.before(), cols.before(), padded_h, padded_w);
    else if (!g.planar)
        input.reorder();
    g.x = input.describe(g);
    const std::vector<Tap> taps =
        tap_list(vertical, horizontal, p.s, padded ? rows.before() : 0, padded ? cols.before() : 0);
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
    g.packed = p.group_k() >= kPackRows;
    g.slice_runs = 1;
    if (padded && g.packed)
        g.slice_runs = std::clamp<int64_t>(kSliceColumns / (runs[0].count * g.depth), 1, g.run_count);
    const int64_t slices = (g.run_count + g.slice_runs - 1) / g.slice_runs;
    g.dy_planar = nchw && g.packed && slices == 1;
    Workspace reordered;
    g.dy = static_cast<const float*>(dy);
    if (!g.planar && !g.dy_planar) g.dy = channels_last(g.dy, nchw, p.n, p.k, p.pixels_out(), reordered);
    const int64_t units = p.groups * slices * g.parts();
    g.splits = std::clamp<int64_t>(kWgradItems / units, 1, p.n * p.p);
    const int team = num_threads();
    const WgradSizes sizes = FC_ISA_PICK(wgrad_sizes)(g);
    const Workspace partial(sizes.partial), scratch(sizes.scratch * static_cast<size_t>(team));
    FC_ISA_PICK(wgrad_run)(g, partial.as<float>(), scratch.as<char>(), static_cast<float*>(dw), team);
}

}  // namespace fastconv
