// Brings fprop and dgrad into the form of planar.h.
#include "ops/conv2d/planar.h"

#include <algorithm>
#include <vector>

#include "ops/conv2d/kernels.h"
#include "ops/conv2d/taps.h"

namespace fastconv {
namespace {

// Floats of a band: what all of a tile's passes should find in L1 or near it, and the most that is allowed.
constexpr int64_t kBand = 8 << 10, kMostBand = 512 << 10;
constexpr int64_t kMostStride = 4;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Taps of a class and the tables made from them.
struct Class {
    PlanarClass view;
    std::vector<AxisTap> vertical, horizontal;
    std::vector<int64_t> offsets;
    std::vector<PlanarVector> vectors;
};

struct Axis {
    int64_t low = 0, high = 0;  // the classes' lowest and highest tap
    void add(const std::vector<AxisTap>& taps) {
        for (const AxisTap& t : taps) low = std::min(low, t.offset), high = std::max(high, t.offset);
    }
};

// Band geometry: the frame starts at the lowest tap.
void set_band(PlanarConv& g, const Axis& rows, const Axis& cols, int64_t grid_cols) {
    g.low_h = rows.low, g.low_w = cols.low;
    const int64_t reach = rows.high - rows.low + 1;
    g.pitch = ceil_div((grid_cols - 1) * g.phases + cols.high - cols.low + 1, g.phases);
    const int64_t row = g.depth * g.phases * g.pitch;
    // At most a quarter of the rows is copied for two bands, or as many as fit; sixteen items for the
    // threads.
    const int64_t overlap = ceil_div(4 * std::max<int64_t>(0, reach - g.row_step), g.row_step);
    const int64_t fit = (kBand / row - reach) / g.row_step + 1,
                  most = (kMostBand / row - reach) / g.row_step + 1;
    const int64_t share = ceil_div(g.rows * g.n * g.groups, 16);
    g.band = std::clamp<int64_t>(std::min({std::max(overlap, fit), most, share}), 1, g.rows);
    g.band_rows = (g.band - 1) * g.row_step + reach;
}

void fill_class(const PlanarConv& g, Class& c) {
    const int64_t row = g.phases * g.pitch;
    PlanarClass& view = c.view;
    for (int64_t d = 0; d < g.depth; ++d)
        for (const AxisTap& v : c.vertical)
            for (const AxisTap& u : c.horizontal) {
                const int64_t column = u.offset - g.low_w;
                c.offsets.push_back((d * g.band_rows + v.offset - g.low_h) * row +
                                    column % g.phases * g.pitch + column / g.phases);
            }
    view.steps = static_cast<int64_t>(c.offsets.size());
    view.offsets = c.offsets.data();
    const int64_t lanes = FC_ISA_PICK(planar_lanes)();
    for (int64_t i = 0; i < g.band; ++i)
        for (int64_t j = 0; j < view.cols; j += lanes)
            c.vectors.push_back({i * g.row_step * row + j, i * (g.direct ? g.out_h : g.piece_row()) + j,
                                 std::min(lanes, view.cols - j)});
    view.vectors = c.vectors.data();
    view.row_vectors = ceil_div(view.cols, lanes);
}

void set_strides(bool nchw, int64_t c, int64_t h, int64_t w, int64_t& sn, int64_t& sc, int64_t& sh,
                 int64_t& sw) {
    sn = c * h * w;
    sc = nchw ? h * w : 1;
    sw = nchw ? 1 : c;
    sh = sw * w;
}

// A problem in the kernel's form; the strides of groups, outputs and input planes in the weight array.
struct Setup {
    PlanarConv g{};
    std::vector<Class> classes;
    int64_t weight_g, weight_o, weight_c;
    int64_t floats(const Class& c) const {
        return g.groups * g.width * g.depth * static_cast<int64_t>(c.vertical.size() * c.horizontal.size());
    }
};

size_t packed_bytes(const Setup& setup) {
    int64_t floats = 0;
    for (const Class& c : setup.classes) floats += setup.floats(c);
    return static_cast<size_t>(floats) * sizeof(float);
}

// One class after the other.
void pack(const Setup& setup, int64_t s, const float* weight, float* to) {
    const PlanarConv& g = setup.g;
    for (const Class& c : setup.classes)
        for (int64_t group = 0; group < g.groups; ++group)
            for (int64_t b = 0; b < g.blocks(); ++b)
                for (int64_t d = 0; d < g.depth; ++d)
                    for (const AxisTap& v : c.vertical)
                        for (const AxisTap& u : c.horizontal)
                            for (int64_t o = b * g.width / g.blocks(); o < (b + 1) * g.width / g.blocks();
                                 ++o)
                                *to++ = weight[group * setup.weight_g + o * setup.weight_o +
                                               d * setup.weight_c + v.index * s + u.index];
}

void run(Setup& setup, const ConvArgs& args, Arena& arena) {
    PlanarConv& g = setup.g;
    std::vector<PlanarClass> views;
    for (const Class& c : setup.classes) views.push_back(c.view);
    g.classes = views.data();
    g.class_count = static_cast<int64_t>(views.size());
    float* scratch = arena.take<float>(static_cast<size_t>((g.band_floats() + g.piece_floats()) * args.team));
    if (arena.counting()) return;
    g.in = static_cast<const float*>(args.in);
    g.out = static_cast<float*>(args.out);
    g.bias = static_cast<const float*>(args.epilogue.bias);
    const float* weight = static_cast<const float*>(args.packed);
    for (size_t k = 0; k < views.size(); ++k) {
        Class& c = setup.classes[k];
        fill_class(g, c);
        c.view.weight = weight;
        weight += setup.floats(c);
        views[k] = c.view;
    }
    FC_ISA_PICK(planar_run)(g, scratch, args.team);
}

// Whether a band of one row stays small, whatever the padding and dilation.
bool band_fits(const WindowAxis& v, const WindowAxis& u, int64_t depth, int64_t cols, int64_t phases) {
    constexpr int64_t kLong = 1 << 14;
    const int64_t reach_h = v.extent() + v.stride, reach_w = u.extent() + u.stride + cols * phases;
    if (reach_h > kLong || reach_w > kLong || v.pad_begin > kLong || u.pad_begin > kLong) return false;
    return (reach_h + v.pad_begin) * (reach_w + u.pad_begin) <= kMostBand / depth;
}

Setup fprop_setup(const Conv2dProblem& p) {
    const bool nchw = p.layout == Layout::nchw;
    Setup setup;
    PlanarConv& g = setup.g;
    g.n = p.n, g.groups = p.groups, g.depth = p.group_c(), g.width = p.group_k();
    g.h = p.h, g.w = p.w;
    set_strides(nchw, p.c, p.h, p.w, g.in_n, g.in_c, g.in_h, g.in_w);
    g.row_step = p.vertical.stride, g.phases = p.horizontal.stride;
    set_strides(nchw, p.k, p.p, p.q, g.out_n, g.out_c, g.out_h, g.out_w);
    g.stride_h = g.stride_w = 1;
    g.direct = nchw;
    g.rows = p.p;
    std::vector<Class>& classes = setup.classes;
    classes.resize(1);
    classes[0].vertical = forward_taps(p.vertical);
    classes[0].horizontal = forward_taps(p.horizontal);
    classes[0].view.rows = p.p, classes[0].view.cols = p.q;
    Axis rows, cols;
    rows.low = rows.high = classes[0].vertical[0].offset,
    cols.low = cols.high = classes[0].horizontal[0].offset;
    rows.add(classes[0].vertical);
    cols.add(classes[0].horizontal);
    set_band(g, rows, cols, p.q);
    setup.weight_g = p.group_k() * p.group_c() * p.taps();
    setup.weight_o = p.group_c() * p.taps();
    setup.weight_c = p.taps();
    return setup;
}

Setup dgrad_setup(const Conv2dProblem& p) {
    const bool nchw = p.layout == Layout::nchw;
    Setup setup;
    PlanarConv& g = setup.g;
    g.n = p.n, g.groups = p.groups, g.depth = p.group_k(), g.width = p.group_c();
    g.h = p.p, g.w = p.q;
    set_strides(nchw, p.k, p.p, p.q, g.in_n, g.in_c, g.in_h, g.in_w);
    g.row_step = g.phases = 1;
    set_strides(nchw, p.c, p.h, p.w, g.out_n, g.out_c, g.out_h, g.out_w);
    g.stride_h = p.vertical.stride, g.stride_w = p.horizontal.stride;
    g.direct = nchw && g.stride_h == 1 && g.stride_w == 1;
    g.rows = ceil_div(p.h, g.stride_h);
    std::vector<Class>& classes = setup.classes;
    Axis rows, cols;
    for (int64_t a = 0; a < std::min(g.stride_h, p.h); ++a)
        for (int64_t b = 0; b < std::min(g.stride_w, p.w); ++b) {
            Class c{};
            c.view.residue_h = a, c.view.residue_w = b;
            c.view.rows = ceil_div(p.h - a, g.stride_h), c.view.cols = ceil_div(p.w - b, g.stride_w);
            c.vertical = backward_taps(p.vertical, a);
            c.horizontal = backward_taps(p.horizontal, b);
            rows.add(c.vertical);
            cols.add(c.horizontal);
            classes.push_back(std::move(c));
        }
    set_band(g, rows, cols, classes[0].view.cols);
    setup.weight_g = p.group_k() * p.group_c() * p.taps();
    setup.weight_o = p.taps();
    setup.weight_c = p.group_c() * p.taps();
    return setup;
}

}  // namespace

const char* planar_fprop_declines(const Conv2dProblem& p) {
    if (p.dtype != DType::f32) return "element type is not float32";
    if (p.horizontal.stride > kMostStride) return "stride along the row is above 4";
    if (p.layout == Layout::nchw) {
        if (p.group_c() > 4 && p.group_k() > 8) return "more than 4 input and 8 output channels per group";
        // Lanes behind the end of a row are lost: at most one in eight.
        if (p.group_k() > 8 && 8 * p.q < 7 * ceil_div(p.q, 16) * 16) return "rows leave lanes empty";
        if (p.q < 10) return "rows of fewer than 10 pixels";
    } else {
        if (p.group_k() > 8 || p.groups > 1) return "more than 8 output channels, or groups, in NHWC";
        if (p.q < 10) return "rows of fewer than 10 pixels";
    }
    if (p.unpadded_1x1()) return "1x1";
    if (!band_fits(p.vertical, p.horizontal, p.group_c(), p.q, p.horizontal.stride))
        return "rows are too long";
    return nullptr;
}

const char* planar_dgrad_declines(const Conv2dProblem& p) {
    if (p.dtype != DType::f32) return "element type is not float32";
    if (p.horizontal.stride > kMostStride || p.vertical.stride > kMostStride) return "a stride is above 4";
    if (p.group_c() > 8) return "more than 8 input channels per group";
    if (p.layout == Layout::nhwc && p.groups > 1) return "groups in NHWC";
    if (p.w < 7 * p.horizontal.stride) return "rows of few pixels";
    if (p.unpadded_1x1()) return "1x1";
    if (!band_fits(p.vertical, p.horizontal, p.group_k(), p.w, 1)) return "rows are too long";
    return nullptr;
}

size_t planar_fprop_packed_bytes(const Conv2dProblem& p) { return packed_bytes(fprop_setup(p)); }
void planar_fprop_pack(const Conv2dProblem& p, const void* weight, void* packed) {
    pack(fprop_setup(p), p.s, static_cast<const float*>(weight), static_cast<float*>(packed));
}
void planar_fprop(const Conv2dProblem& p, const ConvArgs& args, Arena& arena) {
    Setup setup = fprop_setup(p);
    run(setup, args, arena);
}

size_t planar_dgrad_packed_bytes(const Conv2dProblem& p) { return packed_bytes(dgrad_setup(p)); }
void planar_dgrad_pack(const Conv2dProblem& p, const void* weight, void* packed) {
    pack(dgrad_setup(p), p.s, static_cast<const float*>(weight), static_cast<float*>(packed));
}
void planar_dgrad(const Conv2dProblem& p, const ConvArgs& args, Arena& arena) {
    Setup setup = dgrad_setup(p);
    run(setup, args, arena);
}

}  // namespace fastconv
