#include "bindings/bindings.h"
#include "cpu/threads.h"
#include "ops/conv2d/conv2d.h"
#include "ops/conv2d/cost.h"
#include "ops/conv2d/kernels.h"

namespace fastconv::bindings {
namespace {

Conv2dParams parse(const char* op, py::handle stride, py::handle padding, py::handle dilation,
                   py::handle groups, py::handle layout) {
    Conv2dParams params;
    params.stride = to_pair(op, "stride", stride);
    params.dilation = to_pair(op, "dilation", dilation);
    params.groups = to_int(op, "groups", groups);
    params.layout = to_layout(op, layout);
    if (PyUnicode_Check(padding.ptr())) {
        const std::string mode = to_string_arg(op, "padding", padding);
        if (mode == "same")
            params.padding_mode = Conv2dParams::Padding::same;
        else if (mode == "valid")
            params.padding_mode = Conv2dParams::Padding::valid;
        else
            throw ShapeError(
                message(op, ": padding must be an integer, a pair, 'same' or 'valid', got '", mode, "'"));
    } else {
        params.padding = to_pair(op, "padding", padding);
    }
    return params;
}

DType float_type(const char* op, const std::string& dtype) {
    for (DType t : {DType::f32, DType::f64, DType::bf16})
        if (dtype == name(t)) return t;
    throw DTypeError(message(op, ": dtype must be 'float32', 'float64' or 'bfloat16', got '", dtype, "'"));
}

void check_bias(const char* op, const std::optional<ArrayIn>& bias, DType dtype, int64_t channels) {
    if (!bias) return;
    require_dtype(op, "bias", bias->dtype(), dtype);
    require_shape(op, "bias", bias->shape(), {channels});
}

ConvEpilogue with_bias(const std::optional<ArrayIn>& bias) {
    ConvEpilogue epilogue;
    if (bias) epilogue.bias = bias->data();
    return epilogue;
}

py::array forward(py::object input, py::object weight, py::object bias_array, py::object stride,
                  py::object padding, py::object dilation, py::object groups, py::object layout,
                  const std::string& algorithm) {
    const char* op = "conv2d";
    const ArrayIn x(op, "input", input), w(op, "weight", weight);
    const auto bias = optional_array(op, "bias", bias_array);
    require_float(op, "input", x.dtype());
    require_dtype(op, "weight", w.dtype(), x.dtype());
    const Conv2dProblem problem = conv2d_problem(op, x.dtype(), x.shape(), w.shape(),
                                                 parse(op, stride, padding, dilation, groups, layout));
    check_bias(op, bias, x.dtype(), problem.k);
    ArrayOut y(op, x.dtype(), problem.y_shape());
    {
        const Computing computing;
        conv2d_fprop(problem, x.data(), w.data(), with_bias(bias), y.data(), algorithm);
    }
    return y.release();
}

py::array input_gradient(py::object input_size, py::object weight, py::object grad_output, py::object stride,
                         py::object padding, py::object dilation, py::object groups, py::object layout,
                         const std::string& algorithm) {
    const char* op = "conv2d_input";
    const ArrayIn w(op, "weight", weight), dy(op, "grad_output", grad_output);
    require_float(op, "grad_output", dy.dtype());
    require_dtype(op, "weight", w.dtype(), dy.dtype());
    const Conv2dProblem problem =
        conv2d_problem(op, dy.dtype(), to_shape(op, "input_size", input_size), w.shape(),
                       parse(op, stride, padding, dilation, groups, layout));
    require_shape(op, "grad_output", dy.shape(), problem.y_shape());
    ArrayOut dx(op, dy.dtype(), problem.x_shape());
    {
        const Computing computing;
        conv2d_dgrad(problem, w.data(), dy.data(), {}, dx.data(), algorithm);
    }
    return dx.release();
}

py::array weight_gradient(py::object input, py::object weight_size, py::object grad_output, py::object stride,
                          py::object padding, py::object dilation, py::object groups, py::object layout,
                          const std::string& algorithm) {
    const char* op = "conv2d_weight";
    const ArrayIn x(op, "input", input), dy(op, "grad_output", grad_output);
    require_float(op, "input", x.dtype());
    require_dtype(op, "grad_output", dy.dtype(), x.dtype());
    const Conv2dProblem problem =
        conv2d_problem(op, x.dtype(), x.shape(), to_shape(op, "weight_size", weight_size),
                       parse(op, stride, padding, dilation, groups, layout));
    require_shape(op, "grad_output", dy.shape(), problem.y_shape());
    ArrayOut dw(op, x.dtype(), problem.weight_shape());
    {
        const Computing computing;
        conv2d_wgrad(problem, x.data(), dy.data(), dw.data(), algorithm);
    }
    return dw.release();
}

py::array bias_gradient(py::object grad_output, py::object layout) {
    const char* op = "conv2d_bias";
    const ArrayIn dy(op, "grad_output", grad_output);
    require_float(op, "grad_output", dy.dtype());
    require_ndim(op, "grad_output", dy.shape(), 4);
    Conv2dProblem problem;
    problem.dtype = dy.dtype();
    problem.layout = to_layout(op, layout);
    const bool nchw = problem.layout == Layout::nchw;
    problem.n = dy.shape()[0];
    problem.k = dy.shape()[nchw ? 1 : 3];
    problem.p = dy.shape()[nchw ? 2 : 1];
    problem.q = dy.shape()[nchw ? 3 : 2];
    if (problem.k < 1 || problem.p < 1 || problem.q < 1)
        throw ShapeError(message(op, ": grad_output must have at least one channel and one pixel, got shape ",
                                 to_string(dy.shape()), " (", name(problem.layout), ")"));
    ArrayOut db(op, dy.dtype(), {problem.k});
    {
        const Computing computing;
        conv2d_bias_grad(problem, dy.data(), db.data());
    }
    return db.release();
}

py::array transposed(py::object input, py::object weight, py::object bias_array, py::object stride,
                     py::object padding, py::object output_padding, py::object groups, py::object dilation,
                     py::object layout) {
    const char* op = "conv_transpose2d";
    const ArrayIn x(op, "input", input), w(op, "weight", weight);
    const auto bias = optional_array(op, "bias", bias_array);
    require_float(op, "input", x.dtype());
    require_dtype(op, "weight", w.dtype(), x.dtype());
    const Conv2dParams params = parse(op, stride, padding, dilation, groups, layout);
    if (params.padding_mode != Conv2dParams::Padding::explicit_)
        throw ShapeError(message(op, ": padding must be an integer or a pair"));
    const Conv2dProblem problem = conv_transpose2d_problem(op, x.dtype(), x.shape(), w.shape(), params,
                                                           to_pair(op, "output_padding", output_padding));
    check_bias(op, bias, x.dtype(), problem.c);
    ArrayOut y(op, x.dtype(), problem.x_shape());
    {
        const Computing computing;
        conv2d_dgrad(problem, w.data(), x.data(), with_bias(bias), y.data());
    }
    return y.release();
}

// The two gradients of the transposed convolution: its problem is a convolution from the output back.
py::array transposed_gradient(py::object input, py::object weight, py::object grad_output, py::object stride,
                              py::object padding, py::object output_padding, py::object groups,
                              py::object dilation, py::object layout, bool of_weight) {
    const char* op = "conv_transpose2d backward";
    const ArrayIn x(op, "input", input), w(op, "weight", weight), dy(op, "grad_output", grad_output);
    require_float(op, "input", x.dtype());
    require_dtype(op, "weight", w.dtype(), x.dtype());
    require_dtype(op, "grad_output", dy.dtype(), x.dtype());
    const Conv2dProblem problem = conv_transpose2d_problem(
        op, x.dtype(), x.shape(), w.shape(), parse(op, stride, padding, dilation, groups, layout),
        to_pair(op, "output_padding", output_padding));
    require_shape(op, "grad_output", dy.shape(), problem.x_shape());
    ArrayOut out(op, x.dtype(), of_weight ? problem.weight_shape() : problem.y_shape());
    {
        const Computing computing;
        if (of_weight)
            conv2d_wgrad(problem, dy.data(), x.data(), out.data());
        else
            conv2d_fprop(problem, dy.data(), w.data(), {}, out.data());
    }
    return out.release();
}

py::list candidates(py::object input_size, py::object weight_size, py::object stride, py::object padding,
                    py::object dilation, py::object groups, py::object layout, const std::string& direction,
                    const std::string& dtype, bool weights_stay) {
    const char* op = "conv2d_candidates";
    const Conv2dProblem problem = conv2d_problem(
        op, float_type(op, dtype), to_shape(op, "input_size", input_size),
        to_shape(op, "weight_size", weight_size), parse(op, stride, padding, dilation, groups, layout));
    py::list result;
    for (const auto& [name, reason] : conv2d_candidates(problem, conv_direction(direction), weights_stay))
        result.append(py::make_tuple(name, reason));
    return result;
}

// The cost model's cycles for a convolution of stride and padding 1: {algorithm: cycles}.
py::dict costs(py::object input_size, py::object weight_size, py::object layout,
               const std::string& direction) {
    const char* op = "conv2d_costs";
    const Conv2dProblem problem = conv2d_problem(
        op, DType::f32, to_shape(op, "input_size", input_size), to_shape(op, "weight_size", weight_size),
        parse(op, py::int_(1), py::int_(1), py::int_(1), py::int_(1), layout));
    if (const char* reason = winograd_declines<4>(problem))
        throw ShapeError(message(op, ": wants a filter that Winograd takes, but: ", reason));
    const ConvDirection which = conv_direction(direction);
    const ConvCost cost = conv_cost(problem, which);
    py::dict result;
    result["implicit_gemm"] = cost.direct;
    result["winograd"] = cost.winograd;
    if (which != ConvDirection::wgrad && !winograd_declines<6>(problem)) result["winograd6"] = cost.winograd6;
    return result;
}

constexpr const char* kScales[] = {"direct", "direct_wgrad", "winograd", "winograd6", "winograd_wgrad"};

py::dict get_scale() {
    const CostScale s = cost_scale();
    const double values[] = {s.direct, s.direct_wgrad, s.winograd, s.winograd6, s.winograd_wgrad};
    py::dict result;
    for (int i = 0; i < 5; ++i) result[kScales[i]] = values[i];
    return result;
}

void set_scale(const py::dict& scale) {
    double values[5];
    for (int i = 0; i < 5; ++i) {
        if (!scale.contains(kScales[i]))
            throw ShapeError(message("set_conv2d_cost_scale: no value for '", kScales[i], "'"));
        values[i] = scale[kScales[i]].cast<double>();
        if (!(values[i] >= 0.01 && values[i] <= 100))
            throw ShapeError(message("set_conv2d_cost_scale: '", kScales[i],
                                     "' must be between 0.01 and 100, got ", values[i]));
    }
    set_cost_scale({values[0], values[1], values[2], values[3], values[4]});
}

// Weights in one algorithm's own order. They fit every plan of the same algorithm, direction and geometry,
// whatever its batch size.
struct PackedWeight {
    std::string key;
    Workspace data;
};

class Plan {
  public:
    Plan(const std::string& direction, py::object input_size, py::object weight_size, py::object stride,
         py::object padding, py::object dilation, py::object groups, py::object layout, py::object dtype,
         const std::string& algorithm)
        : plan_(conv2d_problem(kOp, float_type(kOp, to_string_arg(kOp, "dtype", dtype)),
                               to_shape(kOp, "input_size", input_size),
                               to_shape(kOp, "weight_size", weight_size),
                               parse(kOp, stride, padding, dilation, groups, layout)),
                conv_direction(direction), algorithm, true) {
        const Conv2dProblem& p = plan_.problem();
        key_ =
            message(direction, " ", plan_.algorithm(), " ", name(p.dtype), " ", name(p.layout), " C=", p.c,
                    " H=", p.h, " W=", p.w, " weight=", to_string(p.weight_shape()), " groups=", p.groups,
                    " stride=", p.vertical.stride, ",", p.horizontal.stride,
                    " padding=", p.vertical.pad_begin, ",", p.vertical.pad_end, ",", p.horizontal.pad_begin,
                    ",", p.horizontal.pad_end, " dilation=", p.vertical.dilation, ",", p.horizontal.dilation);
    }
    const char* algorithm() const { return plan_.algorithm(); }
    size_t packed_bytes() const { return plan_.packed_bytes(); }
    bool fuses_prologue() const { return plan_.fuses_prologue(); }
    bool fuses_statistics() const { return plan_.fuses_statistics(); }
    size_t workspace_bytes(py::object threads, py::object with_prologue, py::object with_statistics) const {
        const int64_t count = to_int(kOp, "threads", threads);
        const bool prologue = to_bool(kOp, "prologue", with_prologue);
        const bool statistics = to_bool(kOp, "statistics", with_statistics);
        if (prologue) check_prologue_direction();
        if (statistics) check_statistics_direction();
        if (count < 1 || count > 1024)
            throw ShapeError(message(kOp, ": threads must be 1 to 1024, got ", count));
        return plan_.workspace_bytes(static_cast<int>(count), prologue, statistics);
    }
    PackedWeight pack(py::object weight) const {
        const ArrayIn w(kOp, "weight", weight);
        check_weight(w);
        PackedWeight packed{key_, Workspace(plan_.packed_bytes())};
        const Computing computing;
        plan_.pack(w.data(), packed.data.as<void>());
        return packed;
    }
    py::object run(py::object input, py::object weight, py::object bias_array, py::object residual_array,
                   py::object activation, py::object slope, py::object prologue_array,
                   py::object prologue_relu, py::object statistics_array, py::object out) const {
        const auto line = optional_array(kOp, "prologue", prologue_array);
        const ConvPrologue prologue = with_prologue(line, prologue_relu);
        if (!statistics_array.is_none()) check_statistics_direction();
        if (plan_.direction() == ConvDirection::wgrad) return run_wgrad(input, weight, prologue, out);
        const Conv2dProblem& p = plan_.problem();
        const bool fprop = plan_.direction() == ConvDirection::fprop;
        const ArrayIn in(kOp, fprop ? "input" : "grad_output", input);
        check(in, fprop ? "input" : "grad_output", fprop ? p.x_shape() : p.y_shape());
        const Shape shape = fprop ? p.y_shape() : p.x_shape();
        const auto bias = optional_array(kOp, "bias", bias_array);
        check_bias(kOp, bias, p.dtype, fprop ? p.k : p.c);
        const auto residual = optional_array(kOp, "residual", residual_array);
        if (residual) check(*residual, "residual", shape);
        std::optional<ArrayInOut> statistics;
        if (!statistics_array.is_none()) {
            statistics.emplace(kOp, "statistics", statistics_array);
            require_dtype(kOp, "statistics", statistics->dtype(), DType::f64);
            require_shape(kOp, "statistics", statistics->shape(), {2, p.k});
        }
        ConvArgs args;
        args.in = in.data();
        args.prologue = prologue;
        if (statistics) {
            double* mean = statistics->view().as<double>();
            args.statistics = {true, mean, mean + p.k};
        }
        args.epilogue = with_bias(bias);
        if (residual) args.epilogue.residual = residual->data();
        if (!activation.is_none()) {
            args.epilogue.activate = true;
            const std::string name = to_string_arg(kOp, "activation", activation);
            args.epilogue.activation = activation_from_name(name);
            if (!activation_fuses(args.epilogue.activation))
                throw ShapeError(message(kOp, ": activation '", name, "' is not one that a plan applies"));
            args.epilogue.slope = to_double(kOp, "negative_slope", slope);
        }
        std::optional<ArrayIn> plain;
        const PackedWeight* packed = nullptr;
        if (py::isinstance<PackedWeight>(weight)) {
            packed = weight.cast<const PackedWeight*>();
            if (packed->key != key_)
                throw ShapeError(
                    message(kOp, ": weight was packed for '", packed->key, "', this plan is '", key_, "'"));
            args.packed = packed->data.as<void>();
        } else {
            plain.emplace(kOp, "weight", weight);
            check_weight(*plain);
            args.weight = plain->data();
        }
        if (packed && !plan_.packed_bytes())
            throw ShapeError(
                message(kOp, ": algorithm '", plan_.algorithm(), "' reads weights as they are; pass them"));
        const ArrayIn* const others[] = {&in, plain ? &*plain : nullptr, bias ? &*bias : nullptr,
                                         residual ? &*residual : nullptr, line ? &*line : nullptr};
        return into(out, shape, others, [&](void* data) {
            args.out = data;
            args.team = num_threads();
            const Workspace workspace(
                plan_.workspace_bytes(args.team, args.prologue.wanted, args.statistics.wanted));
            Workspace own;
            if (!args.packed && plan_.packed_bytes()) {
                own = Workspace(plan_.packed_bytes());
                plan_.pack(args.weight, own.as<void>());
                args.packed = own.as<void>();
            }
            plan_.run(args, workspace.as<void>());
        });
    }

  private:
    static constexpr const char* kOp = "conv2d_plan";

    void check(const ArrayIn& a, const char* what, const Shape& shape) const {
        require_dtype(kOp, what, a.dtype(), plan_.problem().dtype);
        require_shape(kOp, what, a.shape(), shape);
    }
    void check_weight(const ArrayIn& w) const { check(w, "weight", plan_.problem().weight_shape()); }

    // Runs write(data) on `out`, which must fit and lie apart from the other arrays, or on a new array.
    template <size_t count, class Write>
    py::object into(py::object out, const Shape& shape, const ArrayIn* const (&others)[count],
                    const Write& write) const {
        if (out.is_none()) {
            ArrayOut result(kOp, plan_.problem().dtype, shape);
            {
                const Computing computing;
                write(result.data());
            }
            return result.release();
        }
        const ArrayInOut result(kOp, "out", out);
        require_dtype(kOp, "out", result.dtype(), plan_.problem().dtype);
        require_shape(kOp, "out", result.shape(), shape);
        for (const ArrayIn* other : others)
            if (other && overlap(result.view(), other->view()))
                throw ShapeError(message(kOp, ": out must not share memory with the arrays that are read"));
        const Computing computing;
        write(result.data());
        return out;
    }
    static bool overlap(const TensorView& a, const TensorView& b) {
        const auto begin = [](const TensorView& t) { return reinterpret_cast<uintptr_t>(t.data); };
        const auto end = [&](const TensorView& t) {
            return begin(t) + static_cast<uintptr_t>(element_count(kOp, t.shape) * size_of(t.dtype));
        };
        return begin(a) < end(b) && begin(b) < end(a);
    }
    void check_prologue_direction() const {
        if (plan_.direction() == ConvDirection::dgrad)
            throw ShapeError(
                message(kOp, ": prologue belongs to directions 'fprop' and 'wgrad', got 'dgrad'"));
    }
    void check_statistics_direction() const {
        if (plan_.direction() != ConvDirection::fprop)
            throw ShapeError(message(kOp, ": statistics belong to direction 'fprop', got '",
                                     plan_.direction() == ConvDirection::dgrad ? "dgrad" : "wgrad", "'"));
    }
    ConvPrologue with_prologue(const std::optional<ArrayIn>& line, py::handle relu) const {
        ConvPrologue prologue;
        prologue.line.relu = to_bool(kOp, "prologue_relu", relu);
        if (!line) return prologue;
        check_prologue_direction();
        const Conv2dProblem& p = plan_.problem();
        const DType dtype = p.dtype == DType::f64 ? DType::f64 : DType::f32;
        require_dtype(kOp, "prologue", line->dtype(), dtype);
        require_shape(kOp, "prologue", line->shape(), {3, p.c});
        const char* at = static_cast<const char*>(line->data());
        const int64_t row = p.c * size_of(dtype);
        prologue.wanted = true;
        prologue.line.center = at;
        prologue.line.scale = at + row;
        prologue.line.shift = at + 2 * row;
        return prologue;
    }
    py::object run_wgrad(py::object input, py::object grad_output, const ConvPrologue& prologue,
                         py::object out) const {
        const Conv2dProblem& p = plan_.problem();
        const ArrayIn x(kOp, "input", input), dy(kOp, "grad_output", grad_output);
        check(x, "input", p.x_shape());
        check(dy, "grad_output", p.y_shape());
        const ArrayIn* const others[] = {&x, &dy};
        return into(out, p.weight_shape(), others, [&](void* data) {
            WgradArgs args;
            args.x = x.data(), args.dy = dy.data(), args.dweight = data, args.team = num_threads();
            args.prologue = prologue;
            const Workspace workspace(plan_.workspace_bytes(args.team, prologue.wanted));
            plan_.run(args, workspace.as<void>());
        });
    }

    ConvPlan plan_;
    std::string key_;
};

}  // namespace

void bind_conv2d(py::module_& m) {
    using py::arg;
    m.def("conv2d", &forward, arg("input"), arg("weight"), arg("bias"), arg("stride"), arg("padding"),
          arg("dilation"), arg("groups"), arg("layout"), arg("algorithm") = "");
    m.def("conv2d_input", &input_gradient, arg("input_size"), arg("weight"), arg("grad_output"),
          arg("stride"), arg("padding"), arg("dilation"), arg("groups"), arg("layout"),
          arg("algorithm") = "");
    m.def("conv2d_weight", &weight_gradient, arg("input"), arg("weight_size"), arg("grad_output"),
          arg("stride"), arg("padding"), arg("dilation"), arg("groups"), arg("layout"),
          arg("algorithm") = "");
    m.def("conv2d_bias", &bias_gradient, arg("grad_output"), arg("layout"));
    m.def("conv_transpose2d", &transposed, arg("input"), arg("weight"), arg("bias"), arg("stride"),
          arg("padding"), arg("output_padding"), arg("groups"), arg("dilation"), arg("layout"));
    m.def("conv_transpose2d_backward", &transposed_gradient, arg("input"), arg("weight"), arg("grad_output"),
          arg("stride"), arg("padding"), arg("output_padding"), arg("groups"), arg("dilation"), arg("layout"),
          arg("of_weight"));
    m.def("conv2d_costs", &costs, arg("input_size"), arg("weight_size"), arg("layout"), arg("direction"));
    m.def("conv2d_cost_scale", &get_scale);
    m.def("set_conv2d_cost_scale", &set_scale, arg("scale"));
    py::class_<PackedWeight>(m, "PackedWeight");
    py::class_<Plan>(m, "Conv2dPlan")
        .def(py::init<const std::string&, py::object, py::object, py::object, py::object, py::object,
                      py::object, py::object, py::object, const std::string&>(),
             arg("direction"), arg("input_size"), arg("weight_size"), arg("stride"), arg("padding"),
             arg("dilation"), arg("groups"), arg("layout"), arg("dtype"), arg("algorithm") = "")
        .def_property_readonly("algorithm", &Plan::algorithm)
        .def_property_readonly("packed_bytes", &Plan::packed_bytes)
        .def_property_readonly("fuses_prologue", &Plan::fuses_prologue)
        .def_property_readonly("fuses_statistics", &Plan::fuses_statistics)
        .def("workspace_bytes", &Plan::workspace_bytes, arg("threads"), arg("prologue") = false,
             arg("statistics") = false)
        .def("pack", &Plan::pack, arg("weight"))
        .def("run", &Plan::run, arg("input"), arg("weight"), arg("bias"), arg("residual"), arg("activation"),
             arg("negative_slope"), arg("prologue"), arg("prologue_relu"), arg("statistics"), arg("out"));
    m.def("conv2d_candidates", &candidates, arg("input_size"), arg("weight_size"), arg("stride"),
          arg("padding"), arg("dilation"), arg("groups"), arg("layout"), arg("direction"),
          arg("dtype") = "float32", arg("weights_stay") = false);
}

}  // namespace fastconv::bindings
