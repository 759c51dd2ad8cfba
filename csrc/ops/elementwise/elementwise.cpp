#include "ops/elementwise/elementwise.h"

#include <iterator>

#include "core/checks.h"
#include "ops/elementwise/kernels.h"

namespace fastconv {
namespace {

// Size of `shape` along dimension i of an array of `ndim` dimensions, aligned at the end.
int64_t aligned(const Shape& shape, int i, int ndim) {
    const int at = i - (ndim - shape.ndim);
    return at < 0 ? 1 : shape[at];
}

BinaryLoops plan(const Shape& a, const Shape& b, const Shape& out) {
    BinaryLoops loops;
    loops.total = element_count("elementwise", out);
    int64_t stride_a[kMaxDims] = {}, stride_b[kMaxDims] = {};
    int64_t step_a = 1, step_b = 1;
    for (int i = out.ndim - 1; i >= 0; --i) {
        const int64_t size_a = aligned(a, i, out.ndim), size_b = aligned(b, i, out.ndim);
        stride_a[i] = size_a == 1 ? 0 : step_a;
        stride_b[i] = size_b == 1 ? 0 : step_b;
        step_a *= size_a;
        step_b *= size_b;
    }
    for (int i = 0; i < out.ndim; ++i) {
        if (out[i] == 1) continue;
        const int last = loops.ndim - 1;
        if (last >= 0 && loops.a[last] == stride_a[i] * out[i] && loops.b[last] == stride_b[i] * out[i]) {
            loops.size[last] *= out[i];
            loops.a[last] = stride_a[i];
            loops.b[last] = stride_b[i];
            continue;
        }
        loops.size[loops.ndim] = out[i];
        loops.a[loops.ndim] = stride_a[i];
        loops.b[loops.ndim] = stride_b[i];
        ++loops.ndim;
    }
    if (loops.ndim == 0) {
        loops.ndim = 1;
        loops.size[0] = 1;
    }
    return loops;
}

}  // namespace

Binary binary_from_name(const std::string& name) {
    static constexpr const char* names[] = {"add",      "mul",      "sub",          "div",
                                            "maximum",  "minimum",  "pow",          "prelu",
                                            "equal",    "div_by_b", "maximum_by_a", "minimum_by_a",
                                            "pow_by_a", "pow_by_b", "prelu_by_a",   "prelu_by_b"};
    for (size_t i = 0; i < std::size(names); ++i)
        if (name == names[i]) return static_cast<Binary>(i);
    throw ShapeError("elementwise: unknown function '" + name + "'");
}

Shape broadcast_shape(const char* op, const Shape& a, const Shape& b) {
    Shape out;
    out.ndim = a.ndim > b.ndim ? a.ndim : b.ndim;
    for (int i = 0; i < out.ndim; ++i) {
        const int64_t x = aligned(a, i, out.ndim), y = aligned(b, i, out.ndim);
        if (x != y && x != 1 && y != 1)
            throw ShapeError(message(op, ": shapes ", to_string(a), " and ", to_string(b),
                                     " do not broadcast: sizes ", x, " and ", y, " differ and neither is 1"));
        out[i] = x == 1 ? y : x;
    }
    return out;
}

void binary(Binary kind, const TensorView& a, const TensorView& b, const TensorView& out) {
    const BinaryLoops loops = plan(a.shape, b.shape, out.shape);
    if (loops.total == 0) return;
    if (out.dtype == DType::f32)
        return FC_ISA_PICK(binary_f32)(kind, loops, a.as<float>(), b.as<float>(), out.as<float>());
    if (out.dtype == DType::bf16 && a.dtype == b.dtype)
        return FC_ISA_PICK(binary_bf16)(kind, loops, a.as<bfloat16>(), b.as<bfloat16>(), out.as<bfloat16>());
    if (out.dtype == DType::bf16 && a.dtype == DType::f32)
        return FC_ISA_PICK(binary_number_bf16)(kind, loops, a.as<float>(), b.as<bfloat16>(),
                                               out.as<bfloat16>());
    if (out.dtype == DType::bf16)
        return FC_ISA_PICK(binary_bf16_number)(kind, loops, a.as<bfloat16>(), b.as<float>(),
                                               out.as<bfloat16>());
    binary_reference(kind, loops, a.as<double>(), b.as<double>(), out.as<double>());
}

void binary_number(Binary kind, const TensorView& x, double number, bool first, const TensorView& out) {
    // A square is a product: the power takes a call for each element.
    if (kind == Binary::pow && !first && number == 2) return binary(Binary::mul, x, x, out);
    float single = static_cast<float>(number);
    TensorView scalar;
    scalar.dtype = x.dtype == DType::f64 ? DType::f64 : DType::f32;
    scalar.data = x.dtype == DType::f64 ? static_cast<void*>(&number) : static_cast<void*>(&single);
    first ? binary(kind, scalar, x, out) : binary(kind, x, scalar, out);
}

}  // namespace fastconv
