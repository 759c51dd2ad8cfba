#include "bindings/bindings.h"
#include "ops/reduce/reduce.h"

namespace fastconv::bindings {
namespace {

ReduceDims to_dims(const char* op, py::handle value, int ndim) {
    ReduceDims dims;
    for (int64_t d : to_shape(op, "dim", value)) {
        if (d < 0 || d >= ndim)
            throw ShapeError(message(op, ": dim ", d, " does not exist in ", ndim, " dimensions"));
        dims.reduced[static_cast<size_t>(d)] = true;
    }
    return dims;
}

py::array forward(const std::string& name, py::object input, py::object dim, bool keepdim) {
    const char* op = name.c_str();
    const ReduceKind kind = reduce_kind_from_name(name);
    const ArrayIn x(op, "input", input);
    require_float(op, "input", x.dtype());
    const ReduceDims dims = to_dims(op, dim, x.shape().ndim);
    require_terms(kind, x.shape(), dims);
    ArrayOut y(op, x.dtype(), reduced_shape(x.shape(), dims, keepdim));
    {
        const Computing computing;
        reduce(kind, x.view(), dims, y.view());
    }
    return y.release();
}

py::array backward(const std::string& name, py::object grad_output, py::object shape, py::object dim) {
    const char* op = name.c_str();
    const ReduceKind kind = reduce_kind_from_name(name);
    require_summed(kind);
    const ArrayIn dy(op, "grad_output", grad_output);
    require_float(op, "grad_output", dy.dtype());
    const Shape full = to_shape(op, "shape", shape);
    const ReduceDims dims = to_dims(op, dim, full.ndim);
    if (dy.shape() != reduced_shape(full, dims, true))
        require_shape(op, "grad_output", dy.shape(), reduced_shape(full, dims, false));
    ArrayOut dx(op, dy.dtype(), full);
    {
        const Computing computing;
        reduce_backward(kind, dy.view(), dims, dx.view());
    }
    return dx.release();
}

}  // namespace

void bind_reduce(py::module_& m) {
    m.def("reduce", &forward, py::arg("kind"), py::arg("input"), py::arg("dim"), py::arg("keepdim"));
    m.def("reduce_backward", &backward, py::arg("kind"), py::arg("grad_output"), py::arg("shape"),
          py::arg("dim"));
}

}  // namespace fastconv::bindings
