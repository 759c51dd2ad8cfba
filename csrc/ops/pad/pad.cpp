#include "ops/pad/pad.h"

#include "core/bfloat16.h"
#include "core/checks.h"
#include "core/widened.h"
#include "cpu/threads.h"
#include "ops/pad/kernels.h"

namespace fastconv {
namespace {

constexpr int64_t kGrain = 16384;
constexpr int64_t kMaxAmount = int64_t{1} << 40;  // so that sums of sizes and amounts cannot overflow

// Input position of output position `o`, or -1 for the constant.
int64_t source_of(PadMode mode, int64_t o, int64_t before, int64_t size) {
    const int64_t i = o - before;
    if (i >= 0 && i < size) return i;
    switch (mode) {
        case PadMode::constant:
            return -1;
        case PadMode::reflect:
            return i < 0 ? -i : 2 * (size - 1) - i;
        case PadMode::replicate:
            return i < 0 ? 0 : size - 1;
        case PadMode::circular:
            return i < 0 ? i + size : i - size;
    }
    return -1;
}

struct Plan {
    PadLoops loops;
    std::vector<int64_t> tables;

    Plan(const PadParams& p, const Shape& x, const Shape& y) {
        loops.repeats = p.mode != PadMode::constant;
        int first = 0, last = x.ndim;
        const auto plain = [&](int d) { return p.before[d] == 0 && p.after[d] == 0; };
        while (first < last && plain(first)) loops.batch *= x[first++];
        while (last > first && plain(last - 1)) loops.inner *= x[--last];
        loops.ndim = last - first;
        size_t total = 0;
        for (int d = first; d < last; ++d) total += static_cast<size_t>(y[d]);
        tables.reserve(total);
        for (int d = first; d < last; ++d) {
            loops.in[d - first] = x[d];
            loops.out[d - first] = y[d];
            loops.source[d - first] = tables.data() + tables.size();
            for (int64_t o = 0; o < y[d]; ++o) tables.push_back(source_of(p.mode, o, p.before[d], x[d]));
        }
    }
};

// fn(begin, end) over the batch, in parallel. Each image of the batch is one thread's, so sums have one
// order.
template <class Fn>
void for_batch(const PadLoops& loops, const Fn& fn) {
    int64_t image = loops.inner;
    for (int d = 0; d < loops.ndim; ++d) image *= loops.out[d] > loops.in[d] ? loops.out[d] : loops.in[d];
    parallel_run(
        loops.batch, kGrain / (image + 1) + 1,
        [](void* context, int64_t begin, int64_t end, int) {
            (*static_cast<const Fn*>(context))(begin, end);
        },
        const_cast<Fn*>(&fn), num_threads());
}

}  // namespace

PadMode pad_mode_from_name(const std::string& name) {
    constexpr const char* names[] = {"constant", "reflect", "replicate", "circular"};
    for (int i = 0; i < 4; ++i)
        if (name == names[i]) return static_cast<PadMode>(i);
    throw ShapeError("pad: mode must be 'constant', 'reflect', 'replicate' or 'circular', got '" + name +
                     "'");
}

Shape pad_shape(const char* op, const Shape& shape, const PadParams& p) {
    Shape out = shape;
    for (int d = 0; d < shape.ndim; ++d) {
        const int64_t before = p.before[d], after = p.after[d], size = shape[d];
        if (before > kMaxAmount || before < -kMaxAmount || after > kMaxAmount || after < -kMaxAmount)
            throw ShapeError(message(op, ": amounts must be within 2^40, got ", before, " and ", after));
        out[d] = size + before + after;
        if (out[d] < 0 || (before < 0 && -before > size) || (after < 0 && -after > size))
            throw ShapeError(message(op, ": amounts ", before, " and ", after, " crop more than dimension ",
                                     d, " of size ", size, " has"));
        const int64_t most = before > after ? before : after;
        if (most <= 0 || p.mode == PadMode::constant) continue;
        const int64_t limit = p.mode == PadMode::reflect    ? size - 1
                              : p.mode == PadMode::circular ? size
                                                            : (size > 0 ? kMaxAmount : 0);
        if (most > limit)
            throw ShapeError(message(op, ": amounts ", before, " and ", after,
                                     " are too large for dimension ", d, " of size ", size,
                                     " in this mode (at most ", limit < 0 ? 0 : limit, ")"));
    }
    element_count(op, out);
    return out;
}

void pad(const PadParams& p, const TensorView& x, const TensorView& y) {
    if (element_count("pad", y.shape) == 0) return;
    const Plan plan(p, x.shape, y.shape);
    visit_float("pad", x.dtype, [&](auto t) {
        using T = decltype(t);
        const T value = narrow<T>(p.value);
        for_batch(plan.loops, [&](int64_t begin, int64_t end) {
            pad_reference(plan.loops, value, x.as<T>(), y.as<T>(), begin, end);
        });
    });
}

void pad_backward(const PadParams& p, const TensorView& dy, const TensorView& dx) {
    if (element_count("pad", dx.shape) == 0) return;
    // Several terms for one element are added in float32.
    if (dy.dtype == DType::bf16 && p.mode != PadMode::constant) {
        const WidenedOut out("pad", dx);
        pad_backward(p, WidenedIn("pad", dy).view(), out.view());
        return out.round();
    }
    const Plan plan(p, dx.shape, dy.shape);
    visit_float("pad", dx.dtype, [&](auto t) {
        using T = decltype(t);
        for_batch(plan.loops, [&](int64_t begin, int64_t end) {
            pad_backward_reference(plan.loops, dy.as<T>(), dx.as<T>(), begin, end);
        });
    });
}

}  // namespace fastconv
