// Brings dgrad into the form of scatter.h.
#include "ops/conv2d/scatter.h"

#include <algorithm>

#include "ops/conv2d/kernels.h"

namespace fastconv {
namespace {

// Floats of weights and of a band's frame, which should be in L1 or near it together.
constexpr int64_t kMostWeights = 16 << 10, kFrame = 8 << 10, kMostFrame = 128 << 10;
constexpr int64_t kLong = 1 << 14;
// From so many channels on, Winograd serves filters of 3x3; up to so many, lanes run along dy's channels.
constexpr int64_t kWinogradInputs = 12, kFewDots = 8;
// What a multiply-add of this kernel takes against the others', whose loads are less regular; planes are
// transposed on the way in and out.
constexpr double kShare = 0.8, kPlanarShare = 1.0;

int64_t packed_floats(const Conv2dProblem& p) {
    return p.k * p.r * FC_ISA_PICK(scatter_vectors)(p.s * p.c) * FC_ISA_PICK(scatter_lanes)();
}

ScatterConv setup(const Conv2dProblem& p) {
    ScatterConv g{};
    g.nchw = p.layout == Layout::nchw;
    g.n = p.n, g.c = p.c, g.h = p.h, g.w = p.w, g.k = p.k, g.p = p.p, g.q = p.q, g.r = p.r, g.s = p.s;
    g.stride_h = p.vertical.stride, g.stride_w = p.horizontal.stride;
    g.pad_h = p.vertical.pad_begin, g.pad_w = p.horizontal.pad_begin;
    g.dilation_h = p.vertical.dilation;
    // Whole images where they fit, and items for the threads to share.
    g.band = std::clamp<int64_t>(kFrame / (g.cols() * g.c), 1, std::max<int64_t>(1, p.h));
    g.band = std::min(g.band, std::max<int64_t>(1, p.n * p.h / 16));
    return g;
}

}  // namespace

const char* scatter_dgrad_declines(const Conv2dProblem& p) {
    if (p.dtype != DType::f32) return "element type is not float32";
    if (p.groups > 1) return "groups";
    if (p.horizontal.dilation != 1) return "dilated rows";
    if (p.unpadded_1x1()) return "1x1";
    if (FC_ISA_PICK(scatter_vectors)(p.s * p.c) == 0) return "a filter's row has too many values";
    if (packed_floats(p) > kMostWeights) return "weights leave L1";
    if (p.vertical.stride > kLong || p.horizontal.stride > kLong || p.vertical.extent() > kLong ||
        p.horizontal.pad_begin > kLong || p.q * p.horizontal.stride > kMostFrame ||
        ((p.q + 1) * p.horizontal.stride + p.s + p.horizontal.pad_begin + p.w) * p.c > kMostFrame)
        return "rows are too long";
    return nullptr;
}

// Multiply-adds of vectors, against those of lanes along the pixels (planar) or along either side's channels.
const char* scatter_dgrad_unwanted(const Conv2dProblem& p) {
    const int64_t lanes = FC_ISA_PICK(scatter_lanes)(), taps = p.taps();
    const int64_t sh = p.vertical.stride, sw = p.horizontal.stride;
    const auto vectors = [&](int64_t count) { return (count + lanes - 1) / lanes; };
    if (p.r == 3 && p.s == 3 && sh == 1 && sw == 1 && p.c >= kWinogradInputs) return "Winograd saves more";
    const double mine = static_cast<double>(p.pixels_out() * (p.k + 2) * p.r) *
                        static_cast<double>(FC_ISA_PICK(scatter_vectors)(p.s * p.c)) *
                        (p.layout == Layout::nchw ? kPlanarShare : kShare);
    const bool planar = !planar_dgrad_declines(p) && !planar_dgrad_unwanted(p);
    const int64_t rows = (p.h + sh - 1) / sh, cols = (p.w + sw - 1) / sw;
    if (planar && mine > static_cast<double>(rows * vectors(cols) * p.c * p.k) * static_cast<double>(taps))
        return "rows of pixels fill more lanes";
    const double pixels = static_cast<double>(p.pixels_in()),
                 some = static_cast<double>(taps) / static_cast<double>(sh * sw);
    const double by_output = pixels * static_cast<double>(p.k * vectors(p.c)) * some;
    const double by_input =
        pixels * static_cast<double>(p.c) * (static_cast<double>(vectors(p.k)) * some + 4);
    if (mine > by_output || (p.c <= kFewDots && mine > by_input)) return "channels fill more lanes";
    return nullptr;
}

size_t scatter_dgrad_packed_bytes(const Conv2dProblem& p) {
    return static_cast<size_t>(packed_floats(p)) * sizeof(float);
}

void scatter_dgrad_pack(const Conv2dProblem& p, const void* weight, void* packed) {
    const int64_t row = FC_ISA_PICK(scatter_vectors)(p.s * p.c) * FC_ISA_PICK(scatter_lanes)();
    const float* const from = static_cast<const float*>(weight);
    float* const to = static_cast<float*>(packed);
    std::fill_n(to, packed_floats(p), 0.0f);
    for (int64_t k = 0; k < p.k; ++k)
        for (int64_t c = 0; c < p.c; ++c)
            for (int64_t r = 0; r < p.r; ++r)
                for (int64_t s = 0; s < p.s; ++s)
                    to[(k * p.r + r) * row + s * p.c + c] = from[((k * p.c + c) * p.r + r) * p.s + s];
}

void scatter_dgrad(const Conv2dProblem& p, const ConvArgs& args, Arena& arena) {
    ScatterConv g = setup(p);
    float* scratch = arena.take<float>(
        static_cast<size_t>(args.team * ((FC_ISA_PICK(scatter_scratch)(g) + 15) / 16 * 16)));
    if (arena.counting()) return;
    g.dy = static_cast<const float*>(args.in);
    g.dx = static_cast<float*>(args.out);
    g.bias = static_cast<const float*>(args.epilogue.bias);
    g.packed = static_cast<const float*>(args.packed);
    FC_ISA_PICK(scatter_run)(g, scratch, args.team);
}

}  // namespace fastconv
