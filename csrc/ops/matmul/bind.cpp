#include "bindings/bindings.h"
#include "ops/matmul/matmul.h"

namespace fastconv::bindings {
namespace {

constexpr const char* kOp = "matmul";

py::array forward(py::object input, py::object other, const std::string& kind) {
    const ArrayIn a(kOp, "input", input), b(kOp, "other", other);
    require_float(kOp, "input", a.dtype());
    require_dtype(kOp, "other", b.dtype(), a.dtype());
    const MatmulProblem p = matmul_problem(kOp, a.dtype(), matmul_kind_from_name(kind), a.shape(), b.shape());
    ArrayOut y(kOp, p.dtype, p.output);
    {
        const Computing computing;
        matmul(p, a.data(), b.data(), y.data());
    }
    return y.release();
}

}  // namespace

void bind_matmul(py::module_& m) {
    m.def("matmul", &forward, py::arg("input"), py::arg("other"), py::arg("kind"));
}

}  // namespace fastconv::bindings
