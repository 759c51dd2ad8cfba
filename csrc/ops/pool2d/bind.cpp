#include <memory>

#include "bindings/bindings.h"
#include "ops/pool2d/joined_positions.h"
#include "ops/pool2d/pool2d.h"

namespace fastconv::bindings {
namespace {

// A Pool2d with the name that its errors carry.
struct Plan {
    Plan(const std::string& op_name, const Pool2dParams& params, const Shape& input)
        : op(op_name), pool(op.c_str(), params, input) {}
    std::string op;
    Pool2d pool;
};

PoolKind to_kind(const char* op, const std::string& kind) {
    if (kind == "max") return PoolKind::max;
    if (kind == "mean") return PoolKind::mean;
    throw ShapeError(message(op, ": kind must be 'max' or 'mean', got '", kind, "'"));
}

std::unique_ptr<Plan> windows(const std::string& name, const std::string& kind, py::object input_size,
                              py::object kernel_size, py::object stride, py::object padding,
                              py::object dilation, py::object ceil_mode, py::object count_include_pad,
                              py::object divisor_override, py::object layout) {
    const char* op = name.c_str();
    Pool2dParams p;
    p.kind = to_kind(op, kind);
    p.layout = to_layout(op, layout);
    p.kernel = to_pair(op, "kernel_size", kernel_size);
    p.stride = stride.is_none() ? p.kernel : to_pair(op, "stride", stride);
    p.padding = to_pair(op, "padding", padding);
    p.dilation = to_pair(op, "dilation", dilation);
    p.ceil_mode = to_bool(op, "ceil_mode", ceil_mode);
    p.count_include_pad = to_bool(op, "count_include_pad", count_include_pad);
    if (!divisor_override.is_none()) {
        p.divisor_override = to_int(op, "divisor_override", divisor_override);
        if (p.divisor_override == 0) throw ShapeError(message(op, ": divisor_override must not be 0"));
    }
    return std::make_unique<Plan>(name, p, to_shape(op, "input_size", input_size));
}

std::unique_ptr<Plan> adaptive(const std::string& name, const std::string& kind, py::object input_size,
                               py::object output_size, py::object layout) {
    const char* op = name.c_str();
    Pool2dParams p;
    p.kind = to_kind(op, kind);
    p.layout = to_layout(op, layout);
    p.adaptive = true;
    p.output_size = to_pair(op, "output_size", output_size);
    return std::make_unique<Plan>(name, p, to_shape(op, "input_size", input_size));
}

py::tuple forward(const Plan& plan, py::object input, bool with_index) {
    const char* op = plan.op.c_str();
    const ArrayIn x(op, "input", input);
    require_float(op, "input", x.dtype());
    require_shape(op, "input", x.shape(), plan.pool.input());
    ArrayOut y(op, x.dtype(), plan.pool.output());
    std::optional<ArrayOut> index;
    if (with_index && plan.pool.kind() == PoolKind::max)
        index.emplace(op, plan.pool.index_dtype(), plan.pool.output());
    {
        const Computing computing;
        plan.pool.forward(x.view(), y.view(), index ? index->view() : TensorView{});
    }
    return py::make_tuple(y.release(), index ? py::object(index->release()) : py::none());
}

// The saved taps of a maximum: what forward returned.
std::optional<ArrayIn> taps_of(const Plan& plan, py::handle index) {
    if (plan.pool.kind() != PoolKind::max) return std::nullopt;
    const char* op = plan.op.c_str();
    ArrayIn taps(op, "index", index);
    require_dtype(op, "index", taps.dtype(), plan.pool.index_dtype());
    require_shape(op, "index", taps.shape(), plan.pool.output());
    return taps;
}

py::array backward(const Plan& plan, py::object grad_output, py::object index) {
    const char* op = plan.op.c_str();
    const ArrayIn dy(op, "grad_output", grad_output);
    require_float(op, "grad_output", dy.dtype());
    require_shape(op, "grad_output", dy.shape(), plan.pool.output());
    const std::optional<ArrayIn> taps = taps_of(plan, index);
    ArrayOut dx(op, dy.dtype(), plan.pool.input());
    {
        const Computing computing;
        plan.pool.backward(dy.view(), taps ? taps->view() : TensorView{}, dx.view());
    }
    return dx.release();
}

py::array positions(const Plan& plan, py::object index) {
    const std::optional<ArrayIn> taps = taps_of(plan, index);
    if (!taps) throw ShapeError(message(plan.op, ": only maxima have positions"));
    ArrayOut out(plan.op.c_str(), DType::i64, plan.pool.output());
    {
        const Computing computing;
        plan.pool.positions(taps->view(), out.view());
    }
    return out.release();
}

py::array joined(py::object inside, py::object along, py::object plane, py::object dimension) {
    const char* op = "pool3d_positions";
    const ArrayIn in(op, "inside", inside), of(op, "along", along);
    const JoinedPositions join(op, {in.dtype(), in.shape()}, {of.dtype(), of.shape()},
                               to_int(op, "plane", plane), to_int(op, "dim", dimension));
    ArrayOut out(op, DType::i64, of.shape());
    {
        const Computing computing;
        join.run(in.view().as<int64_t>(), of.view().as<int64_t>(), out.view().as<int64_t>());
    }
    return out.release();
}

}  // namespace

void bind_pool2d(py::module_& m) {
    py::class_<Plan>(m, "Pool2d")
        .def(py::init(&windows), py::arg("op"), py::arg("kind"), py::arg("input_size"),
             py::arg("kernel_size"), py::arg("stride"), py::arg("padding"), py::arg("dilation"),
             py::arg("ceil_mode"), py::arg("count_include_pad"), py::arg("divisor_override"),
             py::arg("layout"))
        .def_static("adaptive", &adaptive, py::arg("op"), py::arg("kind"), py::arg("input_size"),
                    py::arg("output_size"), py::arg("layout"))
        .def("forward", &forward, py::arg("input"), py::arg("with_index"))
        .def("backward", &backward, py::arg("grad_output"), py::arg("index"))
        .def("positions", &positions, py::arg("index"));
    m.def("pool3d_positions", &joined, py::arg("inside"), py::arg("along"), py::arg("plane"), py::arg("dim"));
}

}  // namespace fastconv::bindings
