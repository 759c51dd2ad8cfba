#include "bindings/bindings.h"
#include "ops/linear/linear.h"

namespace fastconv::bindings {
namespace {

Shape output_shape(const Shape& x, int64_t features) {
    Shape y = x;
    y[y.ndim - 1] = features;
    return y;
}

py::array forward(py::object input, py::object weight, py::object bias_array) {
    const char* op = "linear";
    const ArrayIn x(op, "input", input), w(op, "weight", weight);
    const auto bias = optional_array(op, "bias", bias_array);
    require_float(op, "input", x.dtype());
    require_dtype(op, "weight", w.dtype(), x.dtype());
    const LinearProblem p = linear_problem(op, x.dtype(), x.shape(), w.shape());
    if (bias) {
        require_dtype(op, "bias", bias->dtype(), x.dtype());
        require_shape(op, "bias", bias->shape(), {p.out});
    }
    ArrayOut y(op, x.dtype(), output_shape(x.shape(), p.out));
    {
        const Computing computing;
        linear_forward(p, x.data(), w.data(), bias ? bias->data() : nullptr, y.data());
    }
    return y.release();
}

// (dx, dweight, dbias), each None where it is not needed.
py::tuple backward(py::object input, py::object weight, py::object grad_output, bool needs_input,
                   bool needs_weight, bool needs_bias) {
    const char* op = "linear backward";
    const ArrayIn x(op, "input", input), w(op, "weight", weight), dy(op, "grad_output", grad_output);
    require_float(op, "input", x.dtype());
    require_dtype(op, "weight", w.dtype(), x.dtype());
    require_dtype(op, "grad_output", dy.dtype(), x.dtype());
    const LinearProblem p = linear_problem(op, x.dtype(), x.shape(), w.shape());
    require_shape(op, "grad_output", dy.shape(), output_shape(x.shape(), p.out));
    std::optional<ArrayOut> dx, dw, db;
    if (needs_input) dx.emplace(op, x.dtype(), x.shape());
    if (needs_weight) dw.emplace(op, x.dtype(), w.shape());
    if (needs_bias) db.emplace(op, x.dtype(), Shape{p.out});
    {
        const Computing computing;
        if (dx) linear_input_grad(p, w.data(), dy.data(), dx->data());
        if (dw) linear_weight_grad(p, x.data(), dy.data(), dw->data());
        if (db) linear_bias_grad(p, dy.data(), db->data());
    }
    const auto give = [](std::optional<ArrayOut>& a) -> py::object {
        if (!a) return py::none();
        return a->release();
    };
    return py::make_tuple(give(dx), give(dw), give(db));
}

}  // namespace

void bind_linear(py::module_& m) {
    using py::arg;
    m.def("linear", &forward, arg("input"), arg("weight"), arg("bias"));
    m.def("linear_backward", &backward, arg("input"), arg("weight"), arg("grad_output"), arg("needs_input"),
          arg("needs_weight"), arg("needs_bias"));
}

}  // namespace fastconv::bindings
