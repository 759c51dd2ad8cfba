#include "bindings/bindings.h"
#include "ops/elementwise/elementwise.h"

namespace fastconv::bindings {
namespace {

py::array run(const std::string& name, py::object input, py::object other) {
    const char* op = name.c_str();
    const Binary kind = binary_from_name(name);
    const char* second = kind == Binary::pow ? "exponent" : "other";
    const ArrayIn a(op, "input", input), b(op, second, other);
    require_float(op, "input", a.dtype());
    require_dtype(op, second, b.dtype(), a.dtype());
    ArrayOut out(op, a.dtype(), broadcast_shape(op, a.shape(), b.shape()));
    {
        const Computing computing;
        binary(kind, a.view(), b.view(), out.view());
    }
    return out.release();
}

// Infinity and NaN are numbers here.
py::array run_scalar(const std::string& name, py::object input, double value, bool first) {
    const char* op = name.c_str();
    const Binary kind = binary_from_name(name);
    const char* what = !first ? "input" : kind == Binary::pow ? "exponent" : "other";
    const ArrayIn a(op, what, input);
    require_float(op, what, a.dtype());
    ArrayOut out(op, a.dtype(), a.shape());
    {
        const Computing computing;
        binary_number(kind, a.view(), value, first, out.view());
    }
    return out.release();
}

}  // namespace

void bind_elementwise(py::module_& m) {
    m.def("elementwise", &run, py::arg("kind"), py::arg("input"), py::arg("other"));
    m.def("elementwise_scalar", &run_scalar, py::arg("kind"), py::arg("input"), py::arg("value"),
          py::arg("first") = false);
}

}  // namespace fastconv::bindings
