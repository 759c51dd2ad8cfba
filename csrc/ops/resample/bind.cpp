#include "bindings/bindings.h"
#include "ops/resample/resample.h"

namespace fastconv::bindings {
namespace {

constexpr const char* kOp = "resample";

py::array forward(py::object input, py::object dimension, py::object begin, py::object index,
                  py::object weight) {
    const ArrayIn x(kOp, "input", input), starts(kOp, "begin", begin), taps(kOp, "index", index);
    const auto weights = optional_array(kOp, "weight", weight);
    const int64_t dim = to_int(kOp, "dim", dimension);
    resample_shape(kOp, x.shape(), dim, 0);  // checks dim
    const ResampleTable table = resample_table(kOp, x.shape()[static_cast<int>(dim)], starts.view(),
                                               taps.view(), weights ? weights->view() : TensorView{});
    if (!table.copies()) require_float(kOp, "input", x.dtype());
    ArrayOut y(kOp, x.dtype(), resample_shape(kOp, x.shape(), dim, table.outputs));
    {
        const Computing computing;
        resample(kOp, table, dim, x.view(), y.view());
    }
    return y.release();
}

}  // namespace

void bind_resample(py::module_& m) {
    m.def("resample", &forward, py::arg("input"), py::arg("dim"), py::arg("begin"), py::arg("index"),
          py::arg("weight"));
}

}  // namespace fastconv::bindings
