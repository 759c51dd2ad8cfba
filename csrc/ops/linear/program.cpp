// Nodes: linear(x, weight, bias), linear_input(x's type by `shape`; weight, dy), linear_weight(x, dy),
// linear_bias(dy).
#include "core/checks.h"
#include "ops/linear/linear.h"
#include "program/registry.h"

namespace fastconv::program {
namespace {

Shape with_last(Shape shape, int64_t last) {
    shape[shape.ndim - 1] = last;
    return shape;
}
double operations(const LinearProblem& p) {
    return 2.0 * static_cast<double>(p.rows) * static_cast<double>(p.in) * static_cast<double>(p.out);
}

LinearProblem forward_problem(const Call& c) {
    c.operands(2, 3);
    require_dtype(c.name, "weight", c.in[1].dtype, c.in[0].dtype);
    const LinearProblem p = linear_problem(c.name, c.in[0].dtype, c.in[0].shape, c.in[1].shape);
    if (c.given(2)) {
        require_dtype(c.name, "bias", c.in[2].dtype, c.in[0].dtype);
        require_shape(c.name, "bias", c.in[2].shape, {p.out});
    }
    return p;
}
std::vector<Type> forward_infer(const Call& c) {
    const LinearProblem p = forward_problem(c);
    return {{p.dtype, with_last(c.in[0].shape, p.out)}};
}
std::unique_ptr<Step> forward(const Call& c) {
    const LinearProblem p = forward_problem(c);
    return make_step([p](const Frame& f) { linear_forward(p, f.in[0], f.in[1], f.in[2], f.out[0]); },
                     operations(p));
}

// The gradients' problem, from dy's shape and the number of input features.
LinearProblem gradient_problem(const Call& c, const Type& dy, int64_t in) {
    if (dy.shape.ndim < 1) throw ShapeError(message(c.name, ": grad_output must have a dimension"));
    return linear_problem(c.name, dy.dtype, with_last(dy.shape, in), {dy.shape[dy.shape.ndim - 1], in});
}
std::vector<Type> input_infer(const Call& c) {
    c.operands(2, 2);
    require_ndim(c.name, "weight", c.in[0].shape, 2);
    require_dtype(c.name, "weight", c.in[0].dtype, c.in[1].dtype);
    const LinearProblem p = gradient_problem(c, c.in[1], c.in[0].shape[1]);
    return {{p.dtype, with_last(c.in[1].shape, p.in)}};
}
std::unique_ptr<Step> input_grad(const Call& c) {
    const LinearProblem p = gradient_problem(c, c.in[1], c.in[0].shape[1]);
    return make_step([p](const Frame& f) { linear_input_grad(p, f.in[0], f.in[1], f.out[0]); },
                     operations(p));
}
std::vector<Type> weight_infer(const Call& c) {
    c.operands(2, 2);
    require_dtype(c.name, "grad_output", c.in[1].dtype, c.in[0].dtype);
    const Shape& x = c.in[0].shape;
    const LinearProblem p = gradient_problem(c, c.in[1], x[x.ndim - 1]);
    require_shape(c.name, "input", x, with_last(c.in[1].shape, p.in));
    return {{p.dtype, {p.out, p.in}}};
}
std::unique_ptr<Step> weight_grad(const Call& c) {
    const Shape& x = c.in[0].shape;
    const LinearProblem p = gradient_problem(c, c.in[1], x[x.ndim - 1]);
    return make_step([p](const Frame& f) { linear_weight_grad(p, f.in[0], f.in[1], f.out[0]); },
                     operations(p));
}
std::vector<Type> bias_infer(const Call& c) {
    c.operands(1, 1);
    const LinearProblem p = gradient_problem(c, c.in[0], 1);
    return {{p.dtype, {p.out}}};
}
std::unique_ptr<Step> bias_grad(const Call& c) {
    const LinearProblem p = gradient_problem(c, c.in[0], 1);
    return make_step([p](const Frame& f) { linear_bias_grad(p, f.in[0], f.out[0]); });
}

}  // namespace

void add_linear_kinds(KindList& list) {
    list.push_back({"linear", forward_infer, forward, 0, 0});
    list.push_back({"linear_input", input_infer, input_grad, 0, 0});
    list.push_back({"linear_weight", weight_infer, weight_grad, 0, 0});
    list.push_back({"linear_bias", bias_infer, bias_grad, 0, 0});
}

}  // namespace fastconv::program
