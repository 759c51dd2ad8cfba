#include "bindings/bindings.h"
#include "ops/local_response_norm/local_response_norm.h"

namespace fastconv::bindings {
namespace {

constexpr const char* kOp = "local_response_norm";

LrnParams params_of(const ArrayIn& x, py::handle size, py::handle alpha, py::handle beta, py::handle k,
                    py::handle layout) {
    require_float(kOp, "input", x.dtype());
    return lrn_params(kOp, x.shape(), to_layout(kOp, layout), to_int(kOp, "size", size),
                      to_double(kOp, "alpha", alpha), to_double(kOp, "beta", beta), to_double(kOp, "k", k));
}

py::array forward(py::object input, py::object size, py::object alpha, py::object beta, py::object k,
                  py::object layout) {
    const ArrayIn x(kOp, "input", input);
    const LrnParams p = params_of(x, size, alpha, beta, k, layout);
    ArrayOut y(kOp, x.dtype(), x.shape());
    {
        const Computing computing;
        local_response_norm_forward(p, x.view(), y.view());
    }
    return y.release();
}

py::array backward(py::object grad_output, py::object input, py::object size, py::object alpha,
                   py::object beta, py::object k, py::object layout) {
    const ArrayIn dy(kOp, "grad_output", grad_output), x(kOp, "input", input);
    const LrnParams p = params_of(x, size, alpha, beta, k, layout);
    require_dtype(kOp, "grad_output", dy.dtype(), x.dtype());
    require_shape(kOp, "grad_output", dy.shape(), x.shape());
    ArrayOut dx(kOp, x.dtype(), x.shape());
    {
        const Computing computing;
        local_response_norm_backward(p, dy.view(), x.view(), dx.view());
    }
    return dx.release();
}

}  // namespace

void bind_local_response_norm(py::module_& m) {
    m.def("local_response_norm", &forward, py::arg("input"), py::arg("size"), py::arg("alpha"),
          py::arg("beta"), py::arg("k"), py::arg("layout"));
    m.def("local_response_norm_backward", &backward, py::arg("grad_output"), py::arg("input"),
          py::arg("size"), py::arg("alpha"), py::arg("beta"), py::arg("k"), py::arg("layout"));
}

}  // namespace fastconv::bindings
