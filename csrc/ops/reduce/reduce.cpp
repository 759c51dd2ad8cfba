#include "ops/reduce/reduce.h"

#include <iterator>

#include "core/bfloat16.h"
#include "core/checks.h"
#include "core/memory.h"
#include "ops/elementwise/elementwise.h"
#include "ops/reduce/kernels.h"

namespace fastconv {
namespace {

// Terms that one result takes before the next level: enough to keep the partial results few, few enough to
// give threads something to share.
constexpr int64_t kRowChunk = 16384;
constexpr int64_t kColumnChunk = 512;

// The shape with neighbouring dimensions of one kind joined and those of size 1 dropped.
struct Groups {
    int count = 0;
    int64_t size[kMaxDims] = {};
    bool reduced[kMaxDims] = {};
};

Groups groups_of(const Shape& shape, const ReduceDims& dims) {
    Groups g;
    for (int i = 0; i < shape.ndim; ++i) {
        const bool reduced = dims.reduced[static_cast<size_t>(i)];
        if (shape[i] == 1) continue;
        if (g.count && g.reduced[g.count - 1] == reduced) {
            g.size[g.count - 1] *= shape[i];
            continue;
        }
        g.size[g.count] = shape[i];
        g.reduced[g.count++] = reduced;
    }
    return g;
}

int64_t terms_of(const Shape& shape, const ReduceDims& dims) {
    int64_t terms = 1;
    for (int i = 0; i < shape.ndim; ++i)
        if (dims.reduced[static_cast<size_t>(i)]) terms *= shape[i];
    return terms;
}

void first_step(const ReduceStep& step, const float* x, double* out) {
    FC_ISA_PICK(reduce_step_f32)(step, x, out);
}
void first_step(const ReduceStep& step, const bfloat16* x, double* out) {
    FC_ISA_PICK(reduce_step_bf16)(step, x, out);
}

// Reduces groups of dimensions from the innermost outwards; long ones in two or more levels.
template <class T>
Workspace in_steps(ReduceKind kind, const Shape& shape, const ReduceDims& dims, const T* x) {
    Groups g = groups_of(shape, dims);
    Workspace current;
    bool first = true;
    for (;;) {
        int at = g.count - 1;
        while (at >= 0 && !g.reduced[at]) --at;
        if (at < 0 && !first) return current;
        ReduceStep step;
        step.kind = kind;
        for (int i = 0; i < g.count; ++i)
            (i < at ? step.outer : i == at ? step.size : step.inner) *= g.size[i];
        if (at < 0) step.size = 1;  // nothing is reduced: a conversion to double
        step.chunk = step.inner == 1 ? kRowChunk : kColumnChunk;
        const int64_t chunks = (step.size + step.chunk - 1) / step.chunk;
        Workspace next(static_cast<size_t>(step.outer * chunks * step.inner) * sizeof(double));
        if (first)
            first_step(step, x, next.as<double>());
        else
            FC_ISA_PICK(reduce_step_f64)(step, current.as<double>(), next.as<double>());
        current = std::move(next);
        first = false;
        if (at < 0) return current;
        g.size[at] = chunks;
        if (chunks > 1) continue;
        // The group is gone; its neighbours are both kept dimensions and become one.
        for (int i = at; i + 1 < g.count; ++i) {
            g.size[i] = g.size[i + 1];
            g.reduced[i] = g.reduced[i + 1];
        }
        --g.count;
    }
}

}  // namespace

ReduceKind reduce_kind_from_name(const std::string& name) {
    static constexpr const char* names[] = {"sum", "mean", "amax", "amin", "prod"};
    for (size_t i = 0; i < std::size(names); ++i)
        if (name == names[i]) return static_cast<ReduceKind>(i);
    throw ShapeError("reduce: unknown function '" + name + "'");
}

Shape reduced_shape(const Shape& shape, const ReduceDims& dims, bool keepdim) {
    Shape out;
    for (int i = 0; i < shape.ndim; ++i) {
        const bool reduced = dims.reduced[static_cast<size_t>(i)];
        if (!reduced || keepdim) out[out.ndim++] = reduced ? 1 : shape[i];
    }
    return out;
}

void require_summed(ReduceKind kind) {
    if (kind != ReduceKind::sum && kind != ReduceKind::mean)
        throw ShapeError("reduce: only sums and means have a gradient of their own");
}

void require_terms(ReduceKind kind, const Shape& shape, const ReduceDims& dims) {
    if (kind != ReduceKind::amax && kind != ReduceKind::amin) return;
    if (terms_of(shape, dims) == 0 && element_count("amax", reduced_shape(shape, dims, true)) > 0)
        throw ShapeError(message(kind == ReduceKind::amax ? "amax" : "amin", ": input of shape ",
                                 to_string(shape), " has nothing to compare over the reduced dimensions"));
}

void reduce(ReduceKind kind, const TensorView& x, const ReduceDims& dims, const TensorView& y) {
    const int64_t n = element_count("sum", x.shape), outputs = element_count("sum", y.shape);
    const double divisor = kind == ReduceKind::mean ? static_cast<double>(terms_of(x.shape, dims)) : 1;
    if (kind == ReduceKind::mean) kind = ReduceKind::sum;
    visit_float("sum", x.dtype, [&](auto zero) {
        using T = decltype(zero);
        Workspace sums;
        if constexpr (!std::is_same_v<T, double>)
            if (n > 0) sums = in_steps(kind, x.shape, dims, x.as<T>());
        if (!sums.as<void>()) {
            sums = Workspace(static_cast<size_t>(outputs) * sizeof(double));
            for (int64_t i = 0; i < outputs; ++i) sums.as<double>()[i] = neutral(kind);
            if (n > 0) reduce_reference(kind, x.shape, dims, x.as<T>(), sums.as<double>());
        }
        for (int64_t i = 0; i < outputs; ++i) y.as<T>()[i] = narrow<T>(sums.as<double>()[i] / divisor);
    });
}

void reduce_backward(ReduceKind kind, const TensorView& dy, const ReduceDims& dims, const TensorView& dx) {
    if (element_count("sum", dx.shape) == 0) return;
    TensorView gradient = dy, scale;
    gradient.shape = reduced_shape(dx.shape, dims, true);
    const double factor = kind == ReduceKind::mean ? 1 / static_cast<double>(terms_of(dx.shape, dims)) : 1;
    // Scaling first, on the small array, leaves a plain copy for the large one.
    const int64_t count = element_count("sum", gradient.shape);
    const Workspace scaled(static_cast<size_t>(count * size_of(dy.dtype)));
    visit_float("sum", dy.dtype, [&](auto zero) {
        using T = decltype(zero);
        for (int64_t i = 0; i < count; ++i)
            scaled.as<T>()[i] = narrow<T>(static_cast<double>(widen(dy.as<T>()[i])) * factor);
        gradient.data = scaled.as<void>();
        Wide<T> one = 1;
        scale.dtype = dy.dtype == DType::f64 ? DType::f64 : DType::f32;
        scale.data = &one;
        binary(Binary::mul, gradient, scale, dx);
    });
}

}  // namespace fastconv
