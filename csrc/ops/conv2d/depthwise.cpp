#include "ops/conv2d/depthwise.h"

#include <algorithm>

#include "core/memory.h"
#include "cpu/layout/transpose.h"
#include "cpu/threads.h"
#include "ops/conv2d/kernels.h"

namespace fastconv {
namespace {

// The problem on arrays of K channels (a depth multiplier's input is widened to as many).
DepthwiseNhwc geometry(const Conv2dProblem& p) {
    DepthwiseNhwc g{};
    g.n = p.n, g.c = p.k, g.h = p.h, g.w = p.w, g.p = p.p, g.q = p.q, g.r = p.r, g.s = p.s;
    g.stride_h = p.vertical.stride, g.stride_w = p.horizontal.stride;
    g.pad_h = p.vertical.pad_begin, g.pad_w = p.horizontal.pad_begin;
    g.dilation_h = p.vertical.dilation, g.dilation_w = p.horizontal.dilation;
    // Enough parts for many threads, few enough that their partial sums cost little against reading x and dy.
    g.splits = std::clamp<int64_t>(p.n * (p.pixels_in() + p.pixels_out()) / (16 * p.taps()), 1,
                                   std::min<int64_t>(16, std::max<int64_t>(1, p.n * p.p)));
    return g;
}

// dgrad of stride 1 is fprop over dy with the taps turned round.
DepthwiseNhwc turned(DepthwiseNhwc g) {
    std::swap(g.h, g.p);
    std::swap(g.w, g.q);
    g.pad_h = (g.r - 1) * g.dilation_h - g.pad_h;
    g.pad_w = (g.s - 1) * g.dilation_w - g.pad_w;
    return g;
}

size_t bytes(int64_t floats) { return static_cast<size_t>(floats) * sizeof(float); }

// x in channels-last order with K channels: itself, or copies of it.
class Input {
  public:
    Input(const Conv2dProblem& p, const void* data) : data_(static_cast<const float*>(data)) {
        if (p.layout == Layout::nchw) {
            reordered_ = Workspace(bytes(p.n * p.c * p.pixels_in()));
            FC_ISA_PICK(transpose_batch_f32)(data_, reordered_.as<float>(), p.n, p.c, p.pixels_in());
            data_ = reordered_.as<float>();
        }
        if (p.k == p.c) return;
        repeated_ = Workspace(bytes(p.n * p.k * p.pixels_in()));
        FC_ISA_PICK(repeat_channels_f32)
        (data_, repeated_.as<float>(), p.n * p.pixels_in(), p.c, p.k / p.c);
        data_ = repeated_.as<float>();
    }
    const float* data() const { return data_; }

  private:
    const float* data_;
    Workspace reordered_, repeated_;
};

// dy in channels-last order: itself or a copy.
class Gradient {
  public:
    Gradient(const Conv2dProblem& p, const void* data) : data_(static_cast<const float*>(data)) {
        if (p.layout == Layout::nhwc) return;
        copy_ = Workspace(bytes(p.n * p.k * p.pixels_out()));
        FC_ISA_PICK(transpose_batch_f32)(data_, copy_.as<float>(), p.n, p.k, p.pixels_out());
        data_ = copy_.as<float>();
    }
    const float* data() const { return data_; }

  private:
    const float* data_;
    Workspace copy_;
};

// Runs kernel(out) on channels-last memory and reorders the result where the caller's layout is NCHW.
template <class Kernel>
void write(const Conv2dProblem& p, void* out, int64_t channels, int64_t pixels, const Kernel& kernel) {
    if (p.layout == Layout::nhwc) return kernel(static_cast<float*>(out));
    const Workspace room(bytes(p.n * channels * pixels));
    kernel(room.as<float>());
    FC_ISA_PICK(transpose_batch_f32)
    (room.as<float>(), static_cast<float*>(out), p.n, pixels, channels);
}

// [channel][tap] weights as [tap][channel], the taps in order or turned round.
Workspace pack(const Conv2dProblem& p, const void* w, bool turn) {
    Workspace packed(bytes(p.k * p.taps()));
    const float* from = static_cast<const float*>(w);
    if (!turn) {
        FC_ISA_PICK(transpose_batch_f32)(from, packed.as<float>(), 1, p.k, p.taps());
        return packed;
    }
    float* to = packed.as<float>();
    const int64_t taps = p.taps();
    for (int64_t t = 0; t < taps; ++t)
        for (int64_t k = 0; k < p.k; ++k) to[t * p.k + k] = from[k * taps + taps - 1 - t];
    return packed;
}

// Weights, scratch and team of the kernels for NCHW arrays.
struct Nchw {
    Workspace packed, scratch;
    int team;
    Nchw(const Conv2dProblem& p, const DepthwiseNhwc& g, int direction, const void* w, bool turn)
        : team(num_threads()) {
        if (w) {
            packed = Workspace(bytes(FC_ISA_PICK(depthwise_nchw_packed)(p.k, p.taps())));
            FC_ISA_PICK(depthwise_nchw_pack)
            (static_cast<const float*>(w), p.k, p.taps(), turn, packed.as<float>());
        }
        scratch = Workspace(bytes(FC_ISA_PICK(depthwise_nchw_scratch)(g, direction) * team));
    }
};

// Whether a band of one row of all lanes stays small.
bool planes(const Conv2dProblem& p) {
    constexpr int64_t kMostPixels = 1 << 15;
    const int64_t rows = std::min(p.h, (p.r - 1) * p.vertical.dilation + 1 + p.vertical.stride);
    return p.layout == Layout::nchw && p.k == p.c &&
           std::max(p.w, p.q) <= kMostPixels / std::max(rows, int64_t{1});
}

}  // namespace

void depthwise_fprop(const Conv2dProblem& p, const void* x, const void* w, const void* bias, void* y) {
    if (planes(p)) {
        const DepthwiseNhwc g = geometry(p);
        const Nchw room(p, g, 0, w, false);
        return FC_ISA_PICK(depthwise_nchw_fprop_run)(g, static_cast<const float*>(x), room.packed.as<float>(),
                                                     static_cast<const float*>(bias), static_cast<float*>(y),
                                                     room.scratch.as<float>(), room.team);
    }
    const Input input(p, x);
    const Workspace packed = pack(p, w, false);
    write(p, y, p.k, p.pixels_out(), [&](float* out) {
        FC_ISA_PICK(depthwise_fprop_run)
        (geometry(p), input.data(), packed.as<float>(), static_cast<const float*>(bias), out);
    });
}

void depthwise_dgrad(const Conv2dProblem& p, const void* w, const void* dy, const void* bias_data, void* dx) {
    const bool dense = p.vertical.stride == 1 && p.horizontal.stride == 1;
    const float* bias = static_cast<const float*>(bias_data);
    if (planes(p)) {
        const DepthwiseNhwc g = dense ? turned(geometry(p)) : geometry(p);
        const Nchw room(p, g, dense ? 0 : 1, w, dense);
        const float *from = static_cast<const float*>(dy), *packed = room.packed.as<float>();
        float *to = static_cast<float*>(dx), *scratch = room.scratch.as<float>();
        if (dense)
            FC_ISA_PICK(depthwise_nchw_fprop_run)(g, from, packed, bias, to, scratch, room.team);
        else
            FC_ISA_PICK(depthwise_nchw_dgrad_run)(g, packed, from, bias, to, scratch, room.team);
        return;
    }
    const Gradient gradient(p, dy);
    const Workspace packed = pack(p, w, dense);
    const int64_t m = p.k / p.c, pixels = p.n * p.pixels_in();
    const Workspace wide(m > 1 ? bytes(pixels * p.k) : 0);
    write(p, dx, p.c, p.pixels_in(), [&](float* out) {
        float* to = m > 1 ? wide.as<float>() : out;
        const float* add = m > 1 ? nullptr : bias;
        if (dense)
            FC_ISA_PICK(depthwise_fprop_run)(turned(geometry(p)), gradient.data(), packed.as<float>(), add,
                                             to);
        else
            FC_ISA_PICK(depthwise_dgrad_run)(geometry(p), packed.as<float>(), gradient.data(), add, to);
        if (m > 1) FC_ISA_PICK(sum_channels_f32)(to, bias, out, pixels, p.c, m);
    });
}

void depthwise_wgrad(const Conv2dProblem& p, const void* x, const void* dy, void* dw) {
    const DepthwiseNhwc g = geometry(p);
    const Workspace partial(bytes(FC_ISA_PICK(depthwise_wgrad_partial)(g)));
    if (planes(p)) {
        const Nchw room(p, g, 0, nullptr, false);
        return FC_ISA_PICK(depthwise_nchw_wgrad_run)(
            g, static_cast<const float*>(x), static_cast<const float*>(dy), partial.as<float>(),
            static_cast<float*>(dw), room.scratch.as<float>(), room.team);
    }
    const Input input(p, x);
    const Gradient gradient(p, dy);
    FC_ISA_PICK(depthwise_wgrad_run)
    (g, input.data(), gradient.data(), partial.as<float>(), static_cast<float*>(dw));
}

}  // namespace fastconv
