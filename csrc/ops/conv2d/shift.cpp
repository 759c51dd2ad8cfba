// Brings convolutions of few channels on NCHW arrays into the forms of ShiftConv and ShiftWgrad.
#include "core/checks.h"
#include "cpu/layout/transpose.h"
#include "ops/conv2d/gather.h"
#include "ops/conv2d/kernels.h"
#include "ops/conv2d/taps.h"

namespace fastconv {
namespace {

// An NCHW array of n x c planes of h x w, each in a frame of zeros.
class Framed {
  public:
    int64_t h, w;
    Framed(const void* data, int64_t planes, int64_t h_, int64_t w_, const Reach& rows, const Reach& cols,
           int64_t out_h, int64_t out_w, int64_t step, Arena& arena)
        : h(rows.padded(h_, out_h, step)),
          w(cols.padded(w_, out_w, 1)),
          data_(static_cast<const float*>(data)) {
        if (h == h_ && w == w_) return;
        float* copy = arena.take<float>(static_cast<size_t>(checked_mul("conv2d", planes * h, w)));
        if (arena.counting()) return;
        // A plane is a channels-last image of one channel.
        FC_ISA_PICK(padded_copy_f32)
        ({data_, false, planes, 1, h_, w_, rows.before(), cols.before(), h, w}, copy);
        data_ = copy;
    }
    const float* data() const { return data_; }

  private:
    const float* data_;
};

// offsets[group][(channel, tap)] for taps in weight order.
std::vector<int64_t> plane_offsets(int64_t groups, int64_t channels, int64_t h, int64_t w,
                                   const std::vector<AxisTap>& vertical,
                                   const std::vector<AxisTap>& horizontal, const Reach& rows,
                                   const Reach& cols) {
    std::vector<int64_t> offsets;
    for (int64_t c = 0; c < groups * channels; ++c)
        for (const AxisTap& v : vertical)
            for (const AxisTap& u : horizontal)
                offsets.push_back((c * h + v.offset + rows.before()) * w + u.offset + cols.before());
    return offsets;
}

}  // namespace

void shift_fprop(const Conv2dProblem& p, const ConvArgs& args, Arena& arena) {
    const auto vertical = forward_taps(p.vertical), horizontal = forward_taps(p.horizontal);
    Reach rows, cols;
    rows.add(vertical);
    cols.add(horizontal);
    const Framed in(args.in, p.n * p.c, p.h, p.w, rows, cols, p.p, p.q, p.vertical.stride, arena);
    if (arena.counting()) return;
    const std::vector<int64_t> offsets =
        plane_offsets(p.groups, p.group_c(), in.h, in.w, vertical, horizontal, rows, cols);
    ShiftConv g{};
    g.in = in.data();
    g.weight = static_cast<const float*>(args.weight);
    g.bias = static_cast<const float*>(args.epilogue.bias);
    g.out = static_cast<float*>(args.out);
    g.offsets = offsets.data();
    g.n = p.n, g.groups = p.groups, g.width = p.group_k(), g.depth = p.group_c() * p.taps();
    g.in_n = p.c * in.h * in.w;
    g.row_step = p.vertical.stride * in.w;
    g.rows = p.p, g.cols = p.q;
    FC_ISA_PICK(shift_run)(g);
}

// weight[group][c][(k, tap reversed)]
size_t shift_dgrad_packed_bytes(const Conv2dProblem& p) {
    return static_cast<size_t>(p.k * p.group_c() * p.taps()) * sizeof(float);
}
void shift_dgrad_pack(const Conv2dProblem& p, const void* weight, void* packed) {
    const int64_t cg = p.group_c(), kg = p.group_k(), taps = p.taps();
    const float* from = static_cast<const float*>(weight);
    float* to = static_cast<float*>(packed);
    for (int64_t group = 0; group < p.groups; ++group)
        for (int64_t c = 0; c < cg; ++c)
            for (int64_t k = 0; k < kg; ++k)
                for (int64_t t = 0; t < taps; ++t)
                    to[((group * cg + c) * kg + k) * taps + t] =
                        from[((group * kg + k) * cg + c) * taps + taps - 1 - t];
}

void shift_dgrad(const Conv2dProblem& p, const ConvArgs& args, Arena& arena) {
    // Stride 1: one residue class, taps in descending weight order.
    const auto vertical = backward_taps(p.vertical, 0), horizontal = backward_taps(p.horizontal, 0);
    Reach rows, cols;
    rows.add(vertical);
    cols.add(horizontal);
    const Framed in(args.in, p.n * p.k, p.p, p.q, rows, cols, p.h, p.w, 1, arena);
    if (arena.counting()) return;
    const std::vector<int64_t> offsets =
        plane_offsets(p.groups, p.group_k(), in.h, in.w, vertical, horizontal, rows, cols);
    ShiftConv g{};
    g.in = in.data();
    g.weight = static_cast<const float*>(args.packed);
    g.bias = static_cast<const float*>(args.epilogue.bias);
    g.out = static_cast<float*>(args.out);
    g.offsets = offsets.data();
    g.n = p.n, g.groups = p.groups, g.width = p.group_c(), g.depth = p.group_k() * p.taps();
    g.in_n = p.k * in.h * in.w;
    g.row_step = in.w;
    g.rows = p.h, g.cols = p.w;
    FC_ISA_PICK(shift_run)(g);
}

void shift_wgrad(const Conv2dProblem& p, const WgradArgs& args, Arena& arena) {
    Reach rows, cols;
    rows.add(forward_taps(p.vertical));
    cols.add(forward_taps(p.horizontal));
    const Framed in(args.x, p.n * p.c, p.h, p.w, rows, cols, p.p, p.q, p.vertical.stride, arena);
    ShiftWgrad g{};
    g.dy = static_cast<const float*>(args.dy);
    g.n = p.n, g.groups = p.groups, g.depth = p.group_c(), g.width = p.group_k(), g.r = p.r, g.s = p.s;
    g.rows = p.p, g.cols = p.q;
    g.x_plane = in.h * in.w;
    g.x_row = p.vertical.stride * in.w;
    g.tap_row = p.vertical.dilation * in.w;
    g.tap_column = p.horizontal.dilation;
    g.splits = std::min<int64_t>(p.n, 16);
    float* partial = arena.take<float>(static_cast<size_t>(FC_ISA_PICK(shift_wgrad_partial)(g)));
    if (arena.counting()) return;
    // The first tap's place: an input that starts inside (no padding) is not shifted.
    g.x = in.data() + (rows.low + rows.before()) * in.w + cols.low + cols.before();
    FC_ISA_PICK(shift_wgrad_run)(g, partial, static_cast<float*>(args.dweight));
}

}  // namespace fastconv
