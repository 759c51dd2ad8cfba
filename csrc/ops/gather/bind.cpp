#include "bindings/bindings.h"
#include "ops/gather/gather.h"

namespace fastconv::bindings {
namespace {

py::array forward(const std::string& op, py::object input, py::object index) {
    const char* name = op.c_str();
    const ArrayIn x(name, "input", input), places(name, "index", index);
    require_float(name, "input", x.dtype());
    require_dtype(name, "index", places.dtype(), DType::i64);
    ArrayOut y(name, x.dtype(), gather_shape(name, x.shape(), places.shape()));
    {
        const Computing computing;
        gather(name, x.view(), places.view(), y.view());
    }
    return y.release();
}

py::array backward(const std::string& op, py::object input, py::object index, py::object length, bool sum) {
    const char* name = op.c_str();
    const ArrayIn y(name, "input", input), places(name, "index", index);
    require_float(name, "input", y.dtype());
    require_dtype(name, "index", places.dtype(), DType::i64);
    require_ndim(name, "input", y.shape(), 3);
    const Shape full{y.shape()[0], to_int(name, "length", length), y.shape()[2]};
    if (full[1] < 0) throw ShapeError(message(name, ": a length of ", full[1], " is negative"));
    require_shape(name, "input", y.shape(), gather_shape(name, full, places.shape()));
    ArrayOut x(name, y.dtype(), full);
    {
        const Computing computing;
        scatter(name, sum ? Meeting::sum : Meeting::last, y.view(), places.view(), x.view());
    }
    return x.release();
}

}  // namespace

void bind_gather(py::module_& m) {
    m.def("gather", &forward, py::arg("op"), py::arg("input"), py::arg("index"));
    m.def("scatter", &backward, py::arg("op"), py::arg("input"), py::arg("index"), py::arg("length"),
          py::arg("sum"));
}

}  // namespace fastconv::bindings
