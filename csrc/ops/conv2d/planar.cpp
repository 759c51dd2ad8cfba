// Brings fprop and dgrad into the form of planar.h.
#include "ops/conv2d/planar.h"

#include <algorithm>
#include <vector>

#include "ops/conv2d/bands.h"
#include "ops/conv2d/kernels.h"

namespace fastconv {
namespace {

// Floats of a band that all of a tile's passes should find in L1 or near it.
constexpr int64_t kBand = 8 << 10;
constexpr int64_t kMostStride = 4;

using Class = BandClass<PlanarClass, PlanarVector>;

void fill_class(const PlanarConv& g, Class& c) {
    set_offsets(g, c, 1);
    PlanarClass& view = c.view;
    const int64_t lanes = FC_ISA_PICK(planar_lanes)();
    for (int64_t i = 0; i < g.band; ++i)
        for (int64_t j = 0; j < view.cols; j += lanes)
            c.vectors.push_back({i * g.row_step * g.band_row() + j,
                                 i * (g.direct ? g.out_h : g.piece_row()) + j,
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

// A problem in the kernel's form.
struct Setup {
    PlanarConv g{};
    std::vector<Class> classes;
    BandWeight weight;
    Setup(const Conv2dProblem& p, ConvDirection direction) : weight(p, direction) {
        set_classes(p, direction, g, classes);
        const bool nchw = p.layout == Layout::nchw, dgrad = direction == ConvDirection::dgrad;
        set_strides(nchw, g.groups * g.depth, g.h, g.w, g.in_n, g.in_c, g.in_h, g.in_w);
        set_strides(nchw, g.groups * g.width, dgrad ? p.h : p.p, dgrad ? p.w : p.q, g.out_n, g.out_c, g.out_h,
                    g.out_w);
        g.direct = nchw && g.stride_h == 1 && g.stride_w == 1;
        // As many rows as fit, or so many that few are copied for two bands; sixteen items for the threads.
        const int64_t reach = set_frame(g, classes);
        set_band(g, reach,
                 std::min({std::max(rows_of_little_overlap(g, reach), band_rows_in(g, reach, kBand)),
                           band_rows_in(g, reach, kMostBand), ceil_div(g.rows * g.n * g.groups, 16)}));
    }
    int64_t floats(const Class& c) const { return g.groups * g.width * c.steps(g.depth); }
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
                c.each_step(g.depth, s, [&](int64_t d, int64_t tap) {
                    for (int64_t o = b * g.width / g.blocks(); o < (b + 1) * g.width / g.blocks(); ++o)
                        *to++ = weight[setup.weight.at(group, o, d, tap)];
                });
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

// Channels-last rows become planes; lanes along that many channels (cpu/gemm/dot.h) need none, and are as
// full.
constexpr int64_t kManyChannels = 60, kPhasedChannels = 12;
const char* planar_fprop_unwanted(const Conv2dProblem& p) {
    if (p.layout == Layout::nchw) return nullptr;
    const int64_t many = p.horizontal.stride > 1 ? kPhasedChannels : kManyChannels;
    return p.group_c() >= many ? "many input channels" : nullptr;
}
const char* planar_dgrad_unwanted(const Conv2dProblem& p) {
    return p.layout == Layout::nhwc && p.group_k() >= kManyChannels ? "many output channels" : nullptr;
}

size_t planar_fprop_packed_bytes(const Conv2dProblem& p) {
    return packed_bytes(Setup(p, ConvDirection::fprop));
}
void planar_fprop_pack(const Conv2dProblem& p, const void* weight, void* packed) {
    pack(Setup(p, ConvDirection::fprop), p.s, static_cast<const float*>(weight), static_cast<float*>(packed));
}
void planar_fprop(const Conv2dProblem& p, const ConvArgs& args, Arena& arena) {
    Setup setup(p, ConvDirection::fprop);
    run(setup, args, arena);
}

size_t planar_dgrad_packed_bytes(const Conv2dProblem& p) {
    return packed_bytes(Setup(p, ConvDirection::dgrad));
}
void planar_dgrad_pack(const Conv2dProblem& p, const void* weight, void* packed) {
    pack(Setup(p, ConvDirection::dgrad), p.s, static_cast<const float*>(weight), static_cast<float*>(packed));
}
void planar_dgrad(const Conv2dProblem& p, const ConvArgs& args, Arena& arena) {
    Setup setup(p, ConvDirection::dgrad);
    run(setup, args, arena);
}

}  // namespace fastconv
