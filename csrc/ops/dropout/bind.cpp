#include "bindings/bindings.h"
#include "ops/dropout/dropout.h"

namespace fastconv::bindings {
namespace {

py::array run(py::object input, py::object probability, uint64_t key) {
    const char* op = "dropout";
    const ArrayIn x(op, "input", input);
    require_float(op, "input", x.dtype());
    const double p = to_double(op, "p", probability);
    if (!(p >= 0 && p <= 1)) throw ShapeError(message(op, ": p must be in [0, 1], got ", p));
    ArrayOut y(op, x.dtype(), x.shape());
    {
        const Computing computing;
        dropout(x.view(), p, key, y.view());
    }
    return y.release();
}

}  // namespace

void bind_dropout(py::module_& m) { m.def("dropout", &run, py::arg("input"), py::arg("p"), py::arg("key")); }

}  // namespace fastconv::bindings
