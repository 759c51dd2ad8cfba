#include "bindings/bindings.h"
#include "ops/elementwise/elementwise.h"

namespace fastconv::bindings {
namespace {

py::array run(const std::string& name, py::object input, py::object other) {
    const char* op = name.c_str();
    const Binary kind = binary_from_name(name);
    const ArrayIn a(op, "input", input), b(op, "other", other);
    require_float(op, "input", a.dtype());
    require_dtype(op, "other", b.dtype(), a.dtype());
    ArrayOut out(op, a.dtype(), broadcast_shape(op, a.shape(), b.shape()));
    {
        const Computing computing;
        binary(kind, a.view(), b.view(), out.view());
    }
    return out.release();
}

// The number is rounded to the type that the array is computed in; infinity and NaN are numbers here.
py::array run_scalar(const std::string& name, py::object input, double value) {
    const char* op = name.c_str();
    const Binary kind = binary_from_name(name);
    const ArrayIn a(op, "input", input);
    require_float(op, "input", a.dtype());
    ArrayOut out(op, a.dtype(), a.shape());
    float single = static_cast<float>(value);
    TensorView scalar;
    scalar.dtype = a.dtype() == DType::f64 ? DType::f64 : DType::f32;
    scalar.data = a.dtype() == DType::f64 ? static_cast<void*>(&value) : static_cast<void*>(&single);
    {
        const Computing computing;
        binary(kind, a.view(), scalar, out.view());
    }
    return out.release();
}

}  // namespace

void bind_elementwise(py::module_& m) {
    m.def("elementwise", &run, py::arg("kind"), py::arg("input"), py::arg("other"));
    m.def("elementwise_scalar", &run_scalar, py::arg("kind"), py::arg("input"), py::arg("value"));
}

}  // namespace fastconv::bindings
