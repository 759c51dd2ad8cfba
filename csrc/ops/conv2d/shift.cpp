// Brings convolutions of few channels on NCHW arrays into the forms of ShiftConv and ShiftWgrad.
#include "core/checks.h"
#include "core/memory.h"
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
           int64_t out_h, int64_t out_w, int64_t step)
        : h(rows.padded(h_, out_h, step)),
          w(cols.padded(w_, out_w, 1)),
          data_(static_cast<const float*>(data)) {
        if (h == h_ && w == w_) return;
        copy_ = Workspace(static_cast<size_t>(checked_mul("conv2d", planes * h, w)) * sizeof(float));
        // A plane is a channels-last image of one channel.
        FC_ISA_PICK(padded_copy_f32)
        ({data_, false, planes, 1, h_, w_, rows.before(), cols.before(), h, w}, copy_.as<float>());
        data_ = copy_.as<float>();
    }
    const float* data() const { return data_; }

  private:
    const float* data_;
    Workspace copy_;
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

void shift_fprop(const Conv2dProblem& p, const void* x, const void* w, const void* bias, void* y) {
    const auto vertical = forward_taps(p.vertical), horizontal = forward_taps(p.horizontal);
    Reach rows, cols;
    rows.add(vertical);
    cols.add(horizontal);
    const Framed in(x, p.n * p.c, p.h, p.w, rows, cols, p.p, p.q, p.vertical.stride);
    const std::vector<int64_t> offsets =
        plane_offsets(p.groups, p.group_c(), in.h, in.w, vertical, horizontal, rows, cols);
    ShiftConv g{};
    g.in = in.data();
    g.weight = static_cast<const float*>(w);
    g.bias = static_cast<const float*>(bias);
    g.out = static_cast<float*>(y);
    g.offsets = offsets.data();
    g.n = p.n, g.groups = p.groups, g.width = p.group_k(), g.depth = p.group_c() * p.taps();
    g.in_n = p.c * in.h * in.w;
    g.row_step = p.vertical.stride * in.w;
    g.rows = p.p, g.cols = p.q;
    FC_ISA_PICK(shift_run)(g);
}

void shift_dgrad(const Conv2dProblem& p, const void* w, const void* dy, const void* bias, void* dx) {
    // Stride 1: one residue class, taps in descending weight order.
    const auto vertical = backward_taps(p.vertical, 0), horizontal = backward_taps(p.horizontal, 0);
    Reach rows, cols;
    rows.add(vertical);
    cols.add(horizontal);
    const Framed in(dy, p.n * p.k, p.p, p.q, rows, cols, p.h, p.w, 1);
    const std::vector<int64_t> offsets =
        plane_offsets(p.groups, p.group_k(), in.h, in.w, vertical, horizontal, rows, cols);
    // weight[group][c][(k, tap reversed)]
    const int64_t cg = p.group_c(), kg = p.group_k(), taps = p.taps();
    const Workspace turned(static_cast<size_t>(p.k * cg * taps) * sizeof(float));
    const float* from = static_cast<const float*>(w);
    float* to = turned.as<float>();
    for (int64_t group = 0; group < p.groups; ++group)
        for (int64_t c = 0; c < cg; ++c)
            for (int64_t k = 0; k < kg; ++k)
                for (int64_t t = 0; t < taps; ++t)
                    to[((group * cg + c) * kg + k) * taps + t] =
                        from[((group * kg + k) * cg + c) * taps + taps - 1 - t];
    ShiftConv g{};
    g.in = in.data();
    g.weight = to;
    g.bias = static_cast<const float*>(bias);
    g.out = static_cast<float*>(dx);
    g.offsets = offsets.data();
    g.n = p.n, g.groups = p.groups, g.width = cg, g.depth = kg * taps;
    g.in_n = p.k * in.h * in.w;
    g.row_step = in.w;
    g.rows = p.h, g.cols = p.w;
    FC_ISA_PICK(shift_run)(g);
}

void shift_wgrad(const Conv2dProblem& p, const void* x, const void* dy, void* dw) {
    Reach rows, cols;
    rows.add(forward_taps(p.vertical));
    cols.add(forward_taps(p.horizontal));
    const Framed in(x, p.n * p.c, p.h, p.w, rows, cols, p.p, p.q, p.vertical.stride);
    // One input channel makes x the same in both layouts; dy's planes are copied out of channels-last pixels.
    Workspace planes;
    if (p.layout == Layout::nhwc) {
        planes = Workspace(static_cast<size_t>(p.n * p.k * p.pixels_out()) * sizeof(float));
        FC_ISA_PICK(transpose_batch_f32)
        (static_cast<const float*>(dy), planes.as<float>(), p.n, p.pixels_out(), p.k);
        dy = planes.as<float>();
    }
    ShiftWgrad g{};
    // The first tap's place: an input that starts inside (no padding) is not shifted.
    g.x = in.data() + (rows.low + rows.before()) * in.w + cols.low + cols.before();
    g.dy = static_cast<const float*>(dy);
    g.n = p.n, g.groups = p.groups, g.depth = p.group_c(), g.width = p.group_k(), g.r = p.r, g.s = p.s;
    g.rows = p.p, g.cols = p.q;
    g.x_plane = in.h * in.w;
    g.x_row = p.vertical.stride * in.w;
    g.tap_row = p.vertical.dilation * in.w;
    g.tap_column = p.horizontal.dilation;
    g.splits = std::min<int64_t>(p.n, 16);
    const Workspace partial(static_cast<size_t>(FC_ISA_PICK(shift_wgrad_partial)(g)) * sizeof(float));
    FC_ISA_PICK(shift_wgrad_run)(g, partial.as<float>(), static_cast<float*>(dw));
}

}  // namespace fastconv
