#include "ops/matmul/matmul.h"

#include <cstring>

#include "core/checks.h"
#include "ops/linear/linear.h"

namespace fastconv {
namespace {

// Which matrix of an operand each product takes; its leading sizes are 1 where it is repeated.
std::vector<int64_t> places(const Shape& operand, const Shape& output, int64_t count) {
    std::vector<int64_t> result(static_cast<size_t>(count));
    for (int64_t i = 0; i < count; ++i) {
        int64_t rest = i, step = 1, at = 0;
        for (int d = output.ndim - 3; d >= 0; --d) {
            const int own = d - (output.ndim - operand.ndim);
            const int64_t place = rest % output[d];
            rest /= output[d];
            if (own < 0) continue;
            if (operand[own] != 1) at += place * step;
            step *= operand[own];
        }
        result[static_cast<size_t>(i)] = at;
    }
    return result;
}

// Products that share b and follow one another in a are one with more rows.
void join_rows(MatmulProblem& p) {
    if (p.kind == MatmulKind::transposed_a || p.count < 2) return;
    for (int64_t i = 0; i < p.count; ++i)
        if (p.a[static_cast<size_t>(i)] != i || p.b[static_cast<size_t>(i)] != 0) return;
    p.rows *= p.count;
    p.count = 1;
    p.a = p.b = {0};
}

}  // namespace

MatmulKind matmul_kind_from_name(const std::string& name) {
    constexpr const char* names[] = {"plain", "transposed_b", "transposed_a"};
    for (int i = 0; i < 3; ++i)
        if (name == names[i]) return static_cast<MatmulKind>(i);
    throw ShapeError("matmul: kind must be 'plain', 'transposed_b' or 'transposed_a', got '" + name + "'");
}

MatmulProblem matmul_problem(const char* op, DType dtype, MatmulKind kind, const Shape& a, const Shape& b) {
    require_float(op, "input", dtype);
    const auto refuse = [&](const char* what) {
        throw ShapeError(message(op, ": ", what, ", got shapes ", to_string(a), " and ", to_string(b)));
    };
    if (a.ndim < 2 || b.ndim < 2) refuse("expects two matrices or more");
    element_count(op, a);
    element_count(op, b);
    const bool ta = kind == MatmulKind::transposed_a, tb = kind == MatmulKind::transposed_b;
    MatmulProblem p;
    p.dtype = dtype;
    p.kind = kind;
    p.rows = a[a.ndim - (ta ? 1 : 2)];
    p.depth = a[a.ndim - (ta ? 2 : 1)];
    p.columns = b[b.ndim - (tb ? 2 : 1)];
    if (p.depth != b[b.ndim - (tb ? 1 : 2)]) refuse("the inner sizes differ");
    const int lead = (a.ndim > b.ndim ? a.ndim : b.ndim) - 2;
    for (int d = 0; d < lead; ++d) {
        const int da = d - (lead + 2 - a.ndim), db = d - (lead + 2 - b.ndim);
        const int64_t na = da < 0 ? 1 : a[da], nb = db < 0 ? 1 : b[db];
        if (na != nb && na != 1 && nb != 1) refuse("the leading dimensions do not broadcast");
        p.output[p.output.ndim++] = na == 1 ? nb : na;
    }
    p.output[p.output.ndim++] = p.rows;
    p.output[p.output.ndim++] = p.columns;
    const int64_t elements = element_count(op, p.output);
    p.count = 1;
    for (int d = 0; d < lead; ++d) p.count *= p.output[d];
    if (elements == 0) p.count = 0;
    p.a = places(a, p.output, p.count);
    p.b = places(b, p.output, p.count);
    join_rows(p);
    return p;
}

void matmul(const MatmulProblem& p, const void* a, const void* b, void* y) {
    const int64_t item = size_of(p.dtype);
    const int64_t bytes_a = p.rows * p.depth * item, bytes_b = p.depth * p.columns * item;
    const int64_t bytes_y = p.rows * p.columns * item;
    if (p.depth == 0) {
        if (p.count) std::memset(y, 0, static_cast<size_t>(p.count * bytes_y));
        return;
    }
    // The linear layer's three directions are the three products.
    for (int64_t i = 0; i < p.count; ++i) {
        const char* from_a = static_cast<const char*>(a) + p.a[static_cast<size_t>(i)] * bytes_a;
        const char* from_b = static_cast<const char*>(b) + p.b[static_cast<size_t>(i)] * bytes_b;
        char* to = static_cast<char*>(y) + i * bytes_y;
        if (p.kind == MatmulKind::plain)
            linear_input_grad({p.dtype, p.rows, p.columns, p.depth}, from_b, from_a, to);
        else if (p.kind == MatmulKind::transposed_b)
            linear_forward({p.dtype, p.rows, p.depth, p.columns}, from_a, from_b, nullptr, to);
        else
            linear_weight_grad({p.dtype, p.depth, p.columns, p.rows}, from_b, from_a, to);
    }
}

}  // namespace fastconv
