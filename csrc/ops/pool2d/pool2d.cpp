#include "ops/pool2d/pool2d.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "core/checks.h"
#include "core/memory.h"
#include "core/widened.h"
#include "core/window.h"
#include "cpu/threads.h"
#include "ops/pool2d/kernels.h"

namespace fastconv {
namespace {

constexpr const char* kAxisNames[] = {"height", "width"};

// Carves the tables of one axis out of `tables` (3 per output, 2 per input) and `sizes`.
struct Carved {
    int64_t *start, *first, *last, *from, *to;
    double* size;
};

Carved carve(PoolAxis& axis, int64_t* tables, double* sizes) {
    const Carved t{tables,
                   tables + axis.out,
                   tables + 2 * axis.out,
                   tables + 3 * axis.out,
                   tables + 3 * axis.out + axis.in,
                   sizes};
    axis.start = t.start;
    axis.first = t.first;
    axis.last = t.last;
    axis.size = t.size;
    axis.from = t.from;
    axis.to = t.to;
    return t;
}

int64_t table_entries(const PoolAxis& axis) { return 3 * axis.out + 2 * axis.in; }

void fill_adaptive(PoolAxis& axis, const Carved& t) {
    for (int64_t o = 0; o < axis.out; ++o) {
        const int64_t begin = adaptive_begin(o, axis.in, axis.out), end = adaptive_end(o, axis.in, axis.out);
        t.start[o] = begin;
        t.first[o] = 0;
        t.last[o] = end - begin;
        t.size[o] = static_cast<double>(end - begin);
        axis.taps = std::max(axis.taps, end - begin);
    }
    axis.uniform = axis.in % axis.out == 0;
    axis.stride = axis.in / axis.out;
}

void fill_windows(const char* op, const char* name, PoolAxis& axis, const WindowAxis& window,
                  bool include_pad, const Carved& t) {
    for (int64_t o = 0; o < axis.out; ++o) {
        const int64_t start = window.start(o);
        t.start[o] = start;
        t.first[o] = start < 0 ? (-start + axis.step - 1) / axis.step : 0;
        t.last[o] = start < axis.in ? std::min(axis.taps, (axis.in - 1 - start) / axis.step + 1) : 0;
        if (t.first[o] >= t.last[o])
            throw ShapeError(message(op, ": the window at output ", name, " ", o,
                                     " lies wholly in the padding (input ", axis.in, ", kernel ", axis.taps,
                                     ", dilation ", axis.step, ", padding ", window.pad_begin, ")"));
        // Padding counts up to the padded input's edge; what ceil_mode hangs over it does not.
        t.size[o] =
            static_cast<double>(include_pad ? std::min(start + axis.taps, axis.in + window.pad_end) - start
                                            : t.last[o] - t.first[o]);
    }
}

// Both the windows' starts and their ends rise with o, so one pass finds the windows that reach each input.
void fill_inverse(const PoolAxis& axis, bool adaptive, const Carved& t) {
    const int64_t extent = (axis.taps - 1) * axis.step + 1;
    int64_t from = 0, to = 0;
    for (int64_t i = 0; i < axis.in; ++i) {
        while (from < axis.out && t.start[from] + (adaptive ? t.last[from] : extent) <= i) ++from;
        while (to < axis.out && t.start[to] <= i) ++to;
        t.from[i] = from;
        t.to[i] = to;
    }
}

}  // namespace

Pool2d::Pool2d(const char* op, const Pool2dParams& p, const Shape& input) : input_(input) {
    require_ndim(op, "input", input, 4);
    inputs_ = element_count(op, input);
    const bool nhwc = p.layout == Layout::nhwc;
    const int axis_of[] = {nhwc ? 1 : 2, nhwc ? 2 : 3};
    plan_.kind = p.kind;
    plan_.layout = p.layout;
    plan_.n = input[0];
    plan_.c = input[nhwc ? 3 : 1];
    output_ = input;

    PoolAxis* axes[] = {&plan_.h, &plan_.w};
    WindowAxis windows[2];
    for (int a = 0; a < 2; ++a) {
        const size_t i = static_cast<size_t>(a);
        PoolAxis& axis = *axes[a];
        axis.in = input[axis_of[a]];
        if (axis.in < 1)
            throw ShapeError(message(op, ": input must have a height and width of at least 1, got shape ",
                                     to_string(input)));
        if (p.adaptive) {
            axis.out = p.output_size[i];
            if (axis.out < 0)
                throw ShapeError(
                    message(op, ": output_size (", kAxisNames[a], ") must be at least 0, got ", axis.out));
        } else {
            windows[a] = {axis.in, p.kernel[i], p.stride[i], p.padding[i], p.padding[i], p.dilation[i]};
            axis.out = window_output(op, kAxisNames[a], windows[a], p.ceil_mode);
            if (p.padding[i] > p.kernel[i] / 2)
                throw ShapeError(message(op, ": padding (", kAxisNames[a],
                                         ") must be at most half the kernel size, got padding ", p.padding[i],
                                         " and kernel size ", p.kernel[i]));
            axis.taps = p.kernel[i];
            axis.step = p.dilation[i];
            axis.uniform = true;
            axis.stride = p.stride[i];
            axis.pad = p.padding[i];
        }
        output_[axis_of[a]] = axis.out;
    }
    outputs_ = element_count(op, output_);
    if (outputs_ == 0) return;

    tables_.resize(static_cast<size_t>(table_entries(plan_.h) + table_entries(plan_.w)));
    sizes_.resize(static_cast<size_t>(plan_.h.out + plan_.w.out));
    int64_t* tables = tables_.data();
    double* sizes = sizes_.data();
    for (int a = 0; a < 2; ++a) {
        PoolAxis& axis = *axes[a];
        const Carved t = carve(axis, tables, sizes);
        if (p.adaptive)
            fill_adaptive(axis, t);
        else
            fill_windows(op, kAxisNames[a], axis, windows[a], p.count_include_pad, t);
        fill_inverse(axis, p.adaptive, t);
        if (p.divisor_override)
            std::fill_n(t.size, axis.out, a == 0 ? static_cast<double>(p.divisor_override) : 1.0);
        tables += table_entries(axis);
        sizes += axis.out;
    }
    if (p.kind == PoolKind::max &&
        checked_mul(op, plan_.h.taps, plan_.w.taps) > std::numeric_limits<int32_t>::max())
        throw ShapeError(message(op, ": a window of ", plan_.h.taps, " x ", plan_.w.taps,
                                 " is too large, at most 2^31 - 1 elements work"));
}

DType Pool2d::index_dtype() const { return plan_.h.taps * plan_.w.taps <= 256 ? DType::u8 : DType::i32; }

namespace {

// Results that no cache would hold until they are read go past it.
constexpr int64_t kStreamingBytes = 8 << 20;
constexpr int64_t kMaxRing = 64 << 10;   // floats: a quarter of a common second-level cache
constexpr int64_t kMaxPlane = 16 << 10;  // elements

int64_t padded(int64_t n) { return (n + 15) / 16 * 16 + 16; }

// Every plane is one window without padding.
bool is_global(const PoolPlan& plan) {
    for (const PoolAxis* a : {&plan.h, &plan.w})
        if (a->out != 1 || a->step != 1 || a->first[0] != 0 || a->start[0] != 0 || a->last[0] != a->in)
            return false;
    return plan.kind == PoolKind::mean && plan.h.in * plan.w.in <= 4096;
}

// Scratch sizes of the kernel by rows, or piece 0 where it does not serve: windows that are not alike, taps
// past a byte, a ring that no cache holds, or backward a stride or dilation that it does not know.
PoolRows rows_of(const PoolPlan& plan, bool small, bool backward) {
    const PoolAxis &h = plan.h, &w = plan.w;
    PoolRows rows;
    rows.team = num_threads();
    if (!h.uniform || !w.uniform || (plan.kind == PoolKind::max && !small)) return rows;
    if ((w.out < 4 && w.taps > 8) || w.taps > 64 || w.stride > 64 || h.taps > kMaxRing) return rows;
    if (backward && (w.stride > 2 || w.step != 1 || h.step != 1)) return rows;
    // Backward the ring holds output rows, as many as reach an input.
    rows.ring = backward ? h.taps : std::min((h.taps - 1) * h.step + 1, h.in);
    rows.pitch = padded(std::max(w.out, w.in) + w.taps) + (backward ? w.taps + 32 : 0);
    const int64_t length = std::max((w.out - 1) * w.stride + (w.taps - 1) * w.step + 1, w.in + 2 * w.pad);
    rows.line = (padded(length) + 16 * w.stride) / w.stride * w.stride;
    rows.line = padded(rows.line + w.stride);
    if (backward) rows.pitch = std::max(rows.pitch, rows.line);
    if (rows.ring * rows.pitch > kMaxRing) return rows;
    rows.plane = backward ? kMaxPlane : 0;
    rows.piece = 2 * rows.line + 2 * (rows.ring + 1) * rows.pitch + rows.plane;
    rows.piece = (rows.piece + 15) / 16 * 16;
    return rows;
}

}  // namespace

void Pool2d::forward(const TensorView& x, const TensorView& y, const TensorView& index) const {
    if (outputs_ == 0) return;
    const bool small = index_dtype() == DType::u8;
    if (x.dtype == DType::f64)
        return pool2d_reference(plan_, x.as<double>(), y.as<double>(), index.data, small);
    if (plan_.layout == Layout::nhwc)
        return FC_ISA_PICK(pool2d_nhwc)(plan_, x.dtype, x.data, y.data, y.pitch ? y.pitch : plan_.c,
                                        index.data, small);
    if (is_global(plan_)) return FC_ISA_PICK(pool2d_nchw_global)(plan_, x.dtype, x.data, y.data);
    if (PoolRows rows = rows_of(plan_, small, false); rows.piece) {
        const Workspace scratch(static_cast<size_t>(checked_mul("pool2d", rows.team * 4, rows.piece)));
        rows.scratch = scratch.as<float>();
        return FC_ISA_PICK(pool2d_nchw_rows)(plan_, rows, x.dtype, x.data, y.data, index.as<uint8_t>());
    }
    const WidenedOut out("pool2d", y);
    FC_ISA_PICK(pool2d_nchw_f32)
    (plan_, WidenedIn("pool2d", x).view().as<float>(), out.view().as<float>(), index.data, small);
    out.round();
}

void Pool2d::backward(const TensorView& dy, const TensorView& index, const TensorView& dx) const {
    if (inputs_ == 0) return;
    if (outputs_ == 0) {
        std::memset(dx.data, 0, static_cast<size_t>(inputs_ * size_of(dx.dtype)));
        return;
    }
    const bool small = index_dtype() == DType::u8;
    const bool streaming = inputs_ * size_of(dx.dtype) >= kStreamingBytes;
    if (dy.dtype == DType::f64)
        return pool2d_backward_reference(plan_, dy.as<double>(), index.data, small, dx.as<double>());
    if (plan_.layout == Layout::nhwc)
        return FC_ISA_PICK(pool2d_nhwc_backward)(plan_, dy.dtype, dy.data, index.data, small, streaming,
                                                 dx.data);
    if (is_global(plan_))
        return FC_ISA_PICK(pool2d_nchw_global_backward)(plan_, dy.dtype, streaming, dy.data, dx.data);
    if (PoolRows rows = rows_of(plan_, small, true); rows.piece) {
        const Workspace scratch(static_cast<size_t>(checked_mul("pool2d", rows.team * 4, rows.piece)));
        rows.scratch = scratch.as<float>();
        rows.streaming = streaming;
        return FC_ISA_PICK(pool2d_nchw_rows_backward)(plan_, rows, dy.dtype, dy.data, index.as<uint8_t>(),
                                                      dx.data);
    }
    const int team = num_threads();
    const Workspace scratch(static_cast<size_t>(checked_mul("pool2d", team * 4, plan_.w.in)));
    const WidenedOut out("pool2d", dx);
    FC_ISA_PICK(pool2d_nchw_backward_f32)
    (plan_, WidenedIn("pool2d", dy).view().as<float>(), index.data, small, out.view().as<float>(),
     scratch.as<float>(), team);
    out.round();
}

void Pool2d::positions(const TensorView& index, const TensorView& out) const {
    if (outputs_ == 0) return;
    const bool small = index_dtype() == DType::u8;
    const PoolAxis &h = plan_.h, &w = plan_.w;
    const bool nhwc = plan_.layout == Layout::nhwc;
    const int64_t outer = nhwc ? plan_.n : plan_.n * plan_.c, inner = nhwc ? plan_.c : 1;
    int64_t i = 0;
    for (int64_t n = 0; n < outer; ++n)
        for (int64_t p = 0; p < h.out; ++p)
            for (int64_t q = 0; q < w.out; ++q)
                for (int64_t c = 0; c < inner; ++c, ++i) {
                    const int64_t tap = small ? index.as<uint8_t>()[i] : index.as<int32_t>()[i];
                    out.as<int64_t>()[i] =
                        (h.start[p] + tap / w.taps * h.step) * w.in + w.start[q] + tap % w.taps * w.step;
                }
}

}  // namespace fastconv
