#include "ops/conv2d/depthwise.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <limits>

#include "cpu/layout/transpose.h"
#include "ops/conv2d/inverted.h"
#include "ops/conv2d/kernels.h"

namespace fastconv {
namespace {

constexpr int64_t kLine = 16;  // floats
// Floats of results that go past the caches: so many on every machine, and some on those where it is faster.
constexpr int64_t kStreamSome = 1 << 20, kStreamMany = 2 << 20;

// The problem on arrays of K channels (a depth multiplier's input is widened to as many).
DepthwiseNhwc geometry(const Conv2dProblem& p) {
    DepthwiseNhwc g{};
    g.n = p.n, g.c = p.k, g.h = p.h, g.w = p.w, g.p = p.p, g.q = p.q, g.r = p.r, g.s = p.s;
    g.stride_h = p.vertical.stride, g.stride_w = p.horizontal.stride;
    g.pad_h = p.vertical.pad_begin, g.pad_w = p.horizontal.pad_begin;
    g.dilation_h = p.vertical.dilation, g.dilation_w = p.horizontal.dilation;
    g.stream_from = kStreamMany;
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

size_t floats(int64_t count) { return static_cast<size_t>(count); }

// Whether a band of one row of all lanes stays small.
bool planes(const Conv2dProblem& p) {
    constexpr int64_t kMostPixels = 1 << 15;
    const int64_t rows = std::min(p.h, (p.r - 1) * p.vertical.dilation + 1 + p.vertical.stride);
    return p.layout == Layout::nchw && p.k == p.c &&
           std::max(p.w, p.q) <= kMostPixels / std::max(rows, int64_t{1});
}

// x in channels-last order with K channels: itself, or copies of it.
const float* widened(const Conv2dProblem& p, const void* data, Arena& arena) {
    const float* from = static_cast<const float*>(data);
    const int64_t pixels = p.pixels_in();
    if (p.layout == Layout::nchw) {
        float* copy = arena.take<float>(floats(p.n * p.c * pixels));
        if (!arena.counting()) FC_ISA_PICK(transpose_batch_f32)(from, copy, p.n, p.c, pixels);
        from = copy;
    }
    if (p.k == p.c) return from;
    float* wide = arena.take<float>(floats(p.n * p.k * pixels));
    if (!arena.counting()) FC_ISA_PICK(repeat_channels_f32)(from, wide, p.n * pixels, p.c, p.k / p.c);
    return wide;
}

// dy in channels-last order: itself or a copy.
const float* channels_last(const Conv2dProblem& p, const void* data, Arena& arena) {
    const float* from = static_cast<const float*>(data);
    if (p.layout == Layout::nhwc) return from;
    float* copy = arena.take<float>(floats(p.n * p.k * p.pixels_out()));
    if (!arena.counting()) FC_ISA_PICK(transpose_batch_f32)(from, copy, p.n, p.k, p.pixels_out());
    return copy;
}

// Runs kernel(out) on channels-last memory and reorders the result where the caller's layout is NCHW.
template <class Kernel>
void write(const Conv2dProblem& p, void* data, int64_t channels, int64_t pixels, Arena& arena,
           const Kernel& kernel) {
    float* out = static_cast<float*>(data);
    const bool reorder = p.layout == Layout::nchw;
    float* room = reorder ? arena.take<float>(floats(p.n * channels * pixels)) : out;
    if (arena.counting()) return;
    kernel(room);
    if (reorder) FC_ISA_PICK(transpose_batch_f32)(room, out, p.n, pixels, channels);
}

// run() writes `count` results to `out`. The first time that they are of a size where machines differ, it
// does so both ways in turns, and the faster way is kept: on Zen 5 past the caches, by a fifth to two fifths.
// The bits are the same.
template <class Run>
void choose_streaming(DepthwiseNhwc& g, const float* out, int64_t count, const Run& run) {
    const bool lines = g.c % kLine == 0 && reinterpret_cast<uintptr_t>(out) % kAlignment == 0;
    if (count < kStreamSome || count >= kStreamMany || !lines) return run();
    static std::atomic<int> known{0};  // 1: streams, -1: does not
    if (known.load(std::memory_order_relaxed) == 0) {
        using Clock = std::chrono::steady_clock;
        constexpr int kPasses = 3;
        auto plain = Clock::duration::max(), streaming = plain;
        for (int i = 0; i < 2 * kPasses; ++i) {
            auto& best = i % 2 ? streaming : plain;
            g.stream_from = i % 2 ? kStreamSome : kStreamMany;
            const auto start = Clock::now();
            run();
            best = std::min(best, Clock::now() - start);
        }
        known.store(streaming * 20 < plain * 19 ? 1 : -1, std::memory_order_relaxed);
        return;
    }
    g.stream_from = known.load(std::memory_order_relaxed) > 0 ? kStreamSome : kStreamMany;
    run();
}

// [channel][tap] weights in the kernels' order, the taps as they are or turned round.
void pack(const Conv2dProblem& p, const void* weight, bool turn, void* packed) {
    const float* from = static_cast<const float*>(weight);
    float* to = static_cast<float*>(packed);
    const int64_t taps = p.taps();
    if (planes(p)) return FC_ISA_PICK(depthwise_nchw_pack)(from, p.k, taps, turn, to);
    for (int64_t t = 0; t < taps; ++t)
        for (int64_t k = 0; k < p.k; ++k) to[t * p.k + k] = from[k * taps + (turn ? taps - 1 - t : t)];
}

bool dense(const Conv2dProblem& p) { return p.vertical.stride == 1 && p.horizontal.stride == 1; }

float* nchw_scratch(const DepthwiseNhwc& g, int direction, int team, Arena& arena) {
    return arena.take<float>(floats(FC_ISA_PICK(depthwise_nchw_scratch)(g, direction) * team));
}

}  // namespace

size_t depthwise_packed_bytes(const Conv2dProblem& p) {
    const int64_t count = planes(p) ? FC_ISA_PICK(depthwise_nchw_packed)(p.k, p.taps()) : p.k * p.taps();
    return floats(count) * sizeof(float);
}
void depthwise_fprop_pack(const Conv2dProblem& p, const void* weight, void* packed) {
    pack(p, weight, false, packed);
}
void depthwise_dgrad_pack(const Conv2dProblem& p, const void* weight, void* packed) {
    pack(p, weight, dense(p), packed);
}

bool depthwise_fuses_activation(const Conv2dProblem& p, Activation a) {
    return p.layout == Layout::nhwc && (a == Activation::relu || a == Activation::relu6);
}

DepthwiseNhwc depthwise_geometry(const Conv2dProblem& p, const ConvEpilogue& e) {
    DepthwiseNhwc g = geometry(p);
    g.clamp = e.activate;
    g.high = e.activation == Activation::relu6 ? 6.0f : std::numeric_limits<float>::infinity();
    return g;
}

void depthwise_fprop(const Conv2dProblem& p, const ConvArgs& args, Arena& arena) {
    DepthwiseNhwc g = depthwise_geometry(p, args.epilogue);
    const float *packed = static_cast<const float*>(args.packed),
                *bias = static_cast<const float*>(args.epilogue.bias);
    if (planes(p)) {
        float* scratch = nchw_scratch(g, 0, args.team, arena);
        if (arena.counting()) return;
        FC_ISA_PICK(depthwise_nchw_fprop_run)
        (g, static_cast<const float*>(args.in), packed, bias, static_cast<float*>(args.out), scratch,
         args.team);
        return;
    }
    const float* x = widened(p, args.in, arena);
    write(p, args.out, p.k, p.pixels_out(), arena, [&](float* y) {
        choose_streaming(g, y, p.n * p.k * p.pixels_out(),
                         [&] { FC_ISA_PICK(depthwise_fprop_run)(g, x, packed, bias, y); });
    });
}

void depthwise_dgrad(const Conv2dProblem& p, const ConvArgs& args, Arena& arena) {
    DepthwiseNhwc g = dense(p) ? turned(geometry(p)) : geometry(p);
    const float *packed = static_cast<const float*>(args.packed),
                *bias = static_cast<const float*>(args.epilogue.bias);
    if (planes(p)) {
        float* scratch = nchw_scratch(g, dense(p) ? 0 : 1, args.team, arena);
        if (arena.counting()) return;
        const float* from = static_cast<const float*>(args.in);
        float* to = static_cast<float*>(args.out);
        if (dense(p))
            FC_ISA_PICK(depthwise_nchw_fprop_run)(g, from, packed, bias, to, scratch, args.team);
        else
            FC_ISA_PICK(depthwise_nchw_dgrad_run)(g, packed, from, bias, to, scratch, args.team);
        return;
    }
    const float* dy = channels_last(p, args.in, arena);
    const int64_t m = p.k / p.c, pixels = p.n * p.pixels_in();
    float* wide = m > 1 ? arena.take<float>(floats(pixels * p.k)) : nullptr;
    write(p, args.out, p.c, p.pixels_in(), arena, [&](float* dx) {
        float* to = m > 1 ? wide : dx;
        const float* add = m > 1 ? nullptr : bias;
        choose_streaming(g, to, pixels * p.k, [&] {
            if (dense(p))
                FC_ISA_PICK(depthwise_fprop_run)(g, dy, packed, add, to);
            else
                FC_ISA_PICK(depthwise_dgrad_run)(g, packed, dy, add, to);
        });
        if (m > 1) FC_ISA_PICK(sum_channels_f32)(to, bias, dx, pixels, p.c, m);
    });
}

void depthwise_wgrad(const Conv2dProblem& p, const WgradArgs& args, Arena& arena) {
    const DepthwiseNhwc g = geometry(p);
    float* partial = arena.take<float>(floats(FC_ISA_PICK(depthwise_wgrad_partial)(g)));
    float* dw = static_cast<float*>(args.dweight);
    if (planes(p)) {
        float* scratch = nchw_scratch(g, 0, args.team, arena);
        if (arena.counting()) return;
        return FC_ISA_PICK(depthwise_nchw_wgrad_run)(g, static_cast<const float*>(args.x),
                                                     static_cast<const float*>(args.dy), partial, dw, scratch,
                                                     args.team);
    }
    const float *x = widened(p, args.x, arena), *dy = channels_last(p, args.dy, arena);
    if (arena.counting()) return;
    FC_ISA_PICK(depthwise_wgrad_run)(g, x, dy, partial, dw);
}

}  // namespace fastconv
