// Nodes: conv2d(x, weight, bias, residual, line) -> y, statistics; conv2d_input(weight, dy, residual, saved,
// x, line) -> dx, sums; conv2d_weight(x, dy, line) -> dweight; conv2d_bias(dy); conv_transpose2d(x, weight,
// bias), conv_transpose2d_input(weight, dy), conv_transpose2d_weight(x, dy). Attributes: the geometry,
// padding_after (at the bottom and right, where it differs), layout,
// `shape` (of what a gradient node makes), activation and slope (behind the residual; with `saved`, its
// gradient), line_relu. A line (3, C) is a batch-norm that x goes through as it is read; statistics (2, K)
// are for the one behind. sums (2, C) are what the backward pass of a batch-norm of x by that line wants of
// dx (ConvGradientSums).
#include "ops/conv2d/program.h"

#include <optional>

#include "core/checks.h"
#include "core/memory.h"
#include "core/precision.h"
#include "ops/conv2d/conv2d.h"
#include "ops/conv2d/cost.h"
#include "ops/conv2d/pooled.h"
#include "ops/machine/machine.h"
#include "program/parse.h"
#include "program/registry.h"

namespace fastconv::program {

Conv2dParams conv2d_params(const Call& c) {
    Conv2dParams p;
    p.stride = pair_of(c, "stride");
    p.dilation = pair_of(c, "dilation");
    p.groups = c.attributes.get<int64_t>("groups");
    p.layout = layout_of(c);
    for (const auto& [name, value] : c.attributes.entries()) {
        const std::string* text = name == "padding" ? std::get_if<std::string>(&value) : nullptr;
        if (!text) continue;
        p.padding_mode = *text == "same" ? Conv2dParams::Padding::same : Conv2dParams::Padding::valid;
        return p;
    }
    p.padding = pair_of(c, "padding");
    if (c.attributes.has("padding_after")) p.padding_after = pair_of(c, "padding_after");
    return p;
}

double conv2d_operations(const Conv2dProblem& p) {
    return 2.0 * static_cast<double>(p.n * p.pixels_out()) * static_cast<double>(p.k) *
           static_cast<double>(p.group_c() * p.taps());
}

namespace {

void require_like(const Call& c, const char* what, const Type& got, DType dtype, const Shape& shape) {
    require_dtype(c.name, what, got.dtype, dtype);
    require_shape(c.name, what, got.shape, shape);
}

int64_t pitch_of(const std::vector<Type>& types, size_t i) { return i < types.size() ? types[i].pitch : 0; }

// The convolution that a node runs, and which operands play which part.
struct Roles {
    Conv2dProblem problem;
    ConvDirection direction = ConvDirection::fprop;
    // Operand numbers; -1: the node has none.
    int in = 0, weight = 1, bias = -1, residual = -1, line = -1, saved = -1, x = -1, x_line = -1;
    bool transposed = false;
    Type result;
    int64_t channels = 0;  // of the result
};

DType line_dtype(DType dtype) { return dtype == DType::f64 ? DType::f64 : DType::f32; }

Roles roles_of(const Call& c) {
    const std::string name = c.name;
    Roles r;
    r.transposed = name.rfind("conv_transpose2d", 0) == 0;
    const std::string part = name.substr(std::string(r.transposed ? "conv_transpose2d" : "conv2d").size());
    const bool of_input = part == "_input", of_weight = part == "_weight";
    if (r.transposed) {
        // The problem's x is the result, its y the input.
        const auto extra = pair_of(c, "output_padding");
        c.operands(2, of_input || of_weight ? 2 : 3);
        const Shape input = of_input ? shape_of(c) : c.in[0].shape;
        const Shape weight = of_weight ? shape_of(c) : of_input ? c.in[0].shape : c.in[1].shape;
        r.problem = conv_transpose2d_problem(c.name, c.in[0].dtype, input, weight, conv2d_params(c), extra);
        const DType dtype = r.problem.dtype;
        if (of_weight) {
            // wgrad of (x = dy, dy = x)
            require_like(c, "grad_output", c.in[1], dtype, r.problem.x_shape());
            r.direction = ConvDirection::wgrad, r.in = 1, r.weight = 0;
            r.result = {dtype, r.problem.weight_shape()};
        } else if (of_input) {
            require_like(c, "grad_output", c.in[1], dtype, r.problem.x_shape());
            r.direction = ConvDirection::fprop, r.in = 1, r.weight = 0;
            r.result = {dtype, r.problem.y_shape()};
        } else {
            require_dtype(c.name, "weight", c.in[1].dtype, dtype);
            r.direction = ConvDirection::dgrad, r.bias = 2;
            r.result = {dtype, r.problem.x_shape()}, r.channels = r.problem.c;
        }
    } else if (of_input) {
        c.operands(2, 6);
        r.problem = conv2d_problem(c.name, c.in[0].dtype, shape_of(c), c.in[0].shape, conv2d_params(c));
        require_like(c, "grad_output", c.in[1], r.problem.dtype, r.problem.y_shape());
        r.direction = ConvDirection::dgrad, r.in = 1, r.weight = 0, r.residual = 2, r.saved = 3;
        r.x = 4, r.x_line = 5;
        r.result = {r.problem.dtype, r.problem.x_shape()}, r.channels = r.problem.c;
    } else if (of_weight) {
        c.operands(2, 3);
        r.problem = conv2d_problem(c.name, c.in[0].dtype, c.in[0].shape, shape_of(c), conv2d_params(c));
        require_like(c, "grad_output", c.in[1], r.problem.dtype, r.problem.y_shape());
        r.direction = ConvDirection::wgrad, r.line = 2;
        r.result = {r.problem.dtype, r.problem.weight_shape()};
    } else {
        c.operands(2, 5);
        r.problem = conv2d_problem(c.name, c.in[0].dtype, c.in[0].shape, c.in[1].shape, conv2d_params(c));
        require_dtype(c.name, "weight", c.in[1].dtype, r.problem.dtype);
        r.bias = 2, r.residual = 3, r.line = 4;
        r.result = {r.problem.dtype, r.problem.y_shape()}, r.channels = r.problem.k;
    }
    if (!r.transposed) {
        const int64_t in = pitch_of(c.in, static_cast<size_t>(r.in)), out = pitch_of(c.out, 0);
        r.problem.x_pitch = of_input ? out : in;
        r.problem.y_pitch = of_weight ? pitch_of(c.in, 1) : of_input ? in : out;
    }
    const auto there = [&](int i) { return i >= 0 && c.given(static_cast<size_t>(i)); };
    const auto operand = [&](int i) { return c.in[static_cast<size_t>(i)]; };
    if (there(r.bias)) require_like(c, "bias", operand(r.bias), r.problem.dtype, {r.channels});
    if (there(r.residual)) require_like(c, "residual", operand(r.residual), r.problem.dtype, r.result.shape);
    if (there(r.line))
        require_like(c, "line", operand(r.line), line_dtype(r.problem.dtype), {3, r.problem.c});
    if (there(r.saved)) require_like(c, "saved", operand(r.saved), r.problem.dtype, r.result.shape);
    if (there(r.x)) {
        require_like(c, "x", operand(r.x), DType::f32, r.result.shape);
        if (!there(r.x_line)) throw ShapeError(message(c.name, ": x expects a line"));
        require_like(c, "line", operand(r.x_line), DType::f32, {3, r.channels});
    }
    for (int* optional : {&r.bias, &r.residual, &r.line, &r.saved, &r.x, &r.x_line})
        if (!there(*optional)) *optional = -1;
    return r;
}

std::vector<Type> infer(const Call& c) {
    const Roles r = roles_of(c);
    if (r.x >= 0) return {r.result, {DType::f64, {2, r.problem.c}}};
    if (c.name != std::string("conv2d")) return {r.result};
    return {r.result, {DType::f64, {2, r.problem.k}}};
}

// Weights that never change are packed once, and what a run costs is reading them: Winograd's are four
// (F(4x4)) or seven times the filter's size, from memory in a network whose weights no cache holds. At 15
// GB/s and 140 GFLOP/s that was worth it from 200 pixels on, at 43 and 250 it is at 196 (14x14) and not at
// 49.
int64_t few_pixels() { return memory_is_fast() ? 120 : 200; }
bool weights_stay(const Call& c, const Roles& r) {
    return r.direction != ConvDirection::wgrad && c.constant[static_cast<size_t>(r.weight)];
}
std::string algorithm_of(const Call& c, const Roles& r) {
    if (c.attributes.has("algorithm")) return c.attributes.get<std::string>("algorithm");
    const Conv2dProblem& p = r.problem;
    if (!weights_stay(c, r) || p.dtype != DType::f32 || p.n * p.pixels_out() >= few_pixels()) return "";
    const std::string chosen = ConvPlan(p, r.direction, "", true).algorithm();
    return chosen.rfind("winograd", 0) == 0 ? "implicit_gemm" : "";
}

ConvPlan plan_of(const Call& c, const Roles& r) {
    return ConvPlan(r.problem, r.direction, algorithm_of(c, r), weights_stay(c, r));
}

class ConvStep final : public Step {
  public:
    explicit ConvStep(const Call& c) : r_(roles_of(c)), plan_(plan_of(c, r_)) {
        statistics_ = c.wants(1) && r_.direction == ConvDirection::fprop;
        sums_ = c.wants(1) && r_.direction == ConvDirection::dgrad;
        if (sums_) {
            if (r_.x < 0) throw ShapeError(message(c.name, ": sums expect x and a line"));
            if (!plan_.takes_gradient_sums())
                throw ShapeError(message(c.name, ": ", plan_.algorithm(), " takes no sums"));
            x_pitch_ = pitch_of(c.in, static_cast<size_t>(r_.x));
        }
        if (c.attributes.has("activation")) {
            activate_ = r_.saved < 0;
            activation_ = activation_from_name(c.attributes.get<std::string>("activation"));
            if (!activation_fuses(activation_))
                throw ShapeError(message(c.name, ": activation does not fuse"));
            slope_ = c.attributes.has("slope") ? c.attributes.number("slope") : 0.01;
        }
        line_relu_ = c.attributes.flag("line_relu");
        const void* fixed =
            r_.direction == ConvDirection::wgrad ? nullptr : c.constant[static_cast<size_t>(r_.weight)];
        if (fixed && plan_.packed_bytes() && r_.problem.n) {
            const Conv2dProblem& p = r_.problem;
            // The algorithm behind "widened" depends on the precision and the cost model's factors too.
            const CostScale scale = cost_scale();
            const std::string key =
                message("pack ", fixed, ' ', plan_.algorithm(), ' ', static_cast<int>(r_.direction), ' ',
                        static_cast<int>(p.layout), ' ', name(p.dtype), ' ', name(precision()), ' ',
                        scale.direct, ' ', scale.winograd, ' ', scale.winograd6, ' ',
                        fastconv::to_string(p.weight_shape()), ' ', p.c, ' ', p.h, ' ', p.w, ' ', p.p, ' ',
                        p.q, ' ', p.groups, ' ', p.vertical.stride, ' ', p.horizontal.stride, ' ',
                        p.vertical.pad_begin, ' ', p.vertical.pad_end, ' ', p.horizontal.pad_begin, ' ',
                        p.horizontal.pad_end, ' ', p.vertical.dilation, ' ', p.horizontal.dilation, ' ',
                        (r_.direction == ConvDirection::dgrad ? p.y_pitch : p.x_pitch) > 0, ' ',
                        plan_.packed_bytes());
            packed_ = c.cache->get(key, plan_.packed_bytes(), [&](void* to) { plan_.pack(fixed, to); });
        }
    }

    size_t workspace_bytes(int team) const override {
        if (!r_.problem.n) return 0;
        return packing_bytes(team) + plan_.workspace_bytes(team, r_.line >= 0, statistics_,
                                                           r_.residual >= 0 || r_.saved >= 0 || activate_,
                                                           sums_);
    }
    std::string algorithm() const override { return plan_.algorithm(); }
    double operations() const override { return conv2d_operations(r_.problem); }

    bool run(const Frame& f) const override {
        const auto line = [&](int operand) -> BatchNormLine {
            const int64_t row = r_.problem.c * size_of(line_dtype(r_.problem.dtype));
            const char* at = static_cast<const char*>(f.in[operand]);
            return {at, at + row, at + 2 * row, line_relu_};
        };
        ConvPrologue prologue;
        prologue.wanted = r_.line >= 0;
        if (prologue.wanted) prologue.line = line(r_.line);
        const int team = f.team;  // what the workspace has room for: fewer may need more
        if (r_.direction == ConvDirection::wgrad) {
            WgradArgs args;
            args.x = f.in[r_.in], args.dy = f.in[r_.weight], args.dweight = f.out[0];
            args.prologue = prologue, args.team = team;
            plan_.run(args, f.workspace);
            return true;
        }
        ConvArgs args;
        args.in = f.in[r_.in], args.weight = f.in[r_.weight], args.out = f.out[0], args.team = team;
        args.prologue = prologue;
        args.epilogue.bias = r_.bias < 0 ? nullptr : f.in[r_.bias];
        args.epilogue.residual = r_.residual < 0 ? nullptr : f.in[r_.residual];
        args.epilogue.activate = activate_, args.epilogue.activation = activation_;
        args.epilogue.slope = slope_;
        args.epilogue.saved = r_.saved < 0 ? nullptr : f.in[r_.saved];
        if (statistics_) {
            double* sums = static_cast<double*>(f.out[1]);
            args.statistics = {true, sums, sums + r_.problem.k};
        }
        if (sums_) {
            double* sums = static_cast<double*>(f.out[1]);
            args.sums = {true, f.in[r_.x], x_pitch_, line(r_.x_line), sums, sums + r_.problem.c};
        }
        char* workspace = static_cast<char*>(f.workspace);
        if (packed_) {
            args.packed = packed_->as<void>();
            args.cold = true;
        } else if (const size_t bytes = r_.problem.n ? packing_bytes(f.team) : 0) {
            plan_.pack(args.weight, workspace);
            args.packed = workspace;
            workspace += bytes;
        }
        plan_.run(args, workspace);
        return true;
    }

  private:
    size_t packing_bytes(int team) const {
        if (packed_ || r_.direction == ConvDirection::wgrad || plan_.packs_itself(team)) return 0;
        return round_to_line(plan_.packed_bytes());
    }

    Roles r_;
    ConvPlan plan_;
    bool statistics_ = false, sums_ = false, activate_ = false, line_relu_ = false;
    int64_t x_pitch_ = 0;
    Activation activation_ = Activation::relu;
    double slope_ = 0.01;
    WeightCache::Entry packed_;
};

std::unique_ptr<Step> prepare(const Call& c) { return std::make_unique<ConvStep>(c); }

// The bias's gradient wants no more of the problem than y.
Conv2dProblem bias_problem(const Call& c) {
    const Shape& s = c.in[0].shape;
    Conv2dProblem p;
    p.dtype = c.in[0].dtype;
    p.layout = layout_of(c);
    const bool nchw = p.layout == Layout::nchw;
    p.n = s[0], p.k = s[nchw ? 1 : 3], p.p = s[nchw ? 2 : 1], p.q = s[nchw ? 3 : 2];
    return p;
}
std::vector<Type> bias_infer(const Call& c) {
    c.operands(1, 1);
    require_float(c.name, "grad_output", c.in[0].dtype);
    require_ndim(c.name, "grad_output", c.in[0].shape, 4);
    return {{c.in[0].dtype, {bias_problem(c).k}}};
}
std::unique_ptr<Step> bias_prepare(const Call& c) {
    return make_step([p = bias_problem(c)](const Frame& f) { conv2d_bias_grad(p, f.in[0], f.out[0]); });
}

}  // namespace

bool conv2d_takes_line(const Call& c) {
    const Roles r = roles_of(c);
    return !r.transposed && r.direction != ConvDirection::dgrad && plan_of(c, r).fuses_prologue();
}

bool conv2d_takes_gradient_sums(const Call& c) {
    const Roles r = roles_of(c);
    return !r.transposed && r.direction == ConvDirection::dgrad && plan_of(c, r).takes_gradient_sums();
}

bool conv2d_pools(const Call& c) {
    const Roles r = roles_of(c);
    const Conv2dProblem& p = r.problem;
    if (r.transposed || !p.n || r.residual >= 0 || r.line >= 0 || r.saved >= 0 || c.wants(1)) return false;
    return !pooled_conv_declines(p, r.direction) && std::string(plan_of(c, r).algorithm()) == "winograd_rows";
}

std::optional<ConvChoice> conv2d_choice(const Call& c) {
    const std::string node = c.name;
    const bool convolves = node == "conv2d" || node == "conv2d_input" || node == "conv2d_weight" ||
                           (node.rfind("conv_transpose2d", 0) == 0);
    if (!convolves) return {};
    const Roles r = roles_of(c);
    const Conv2dProblem& p = r.problem;
    if (!p.n) return {};
    constexpr const char* kDirections[] = {"fprop", "dgrad", "wgrad"};
    ConvChoice result;
    result.problem = message(
        kDirections[static_cast<int>(r.direction)], ' ', name(p.dtype), ' ',
        p.layout == Layout::nchw ? "NCHW" : "NHWC", " x ", fastconv::to_string(p.x_shape()), " weight ",
        fastconv::to_string(p.weight_shape()), " stride ", p.vertical.stride, 'x', p.horizontal.stride,
        " padding ", p.vertical.pad_begin, '+', p.vertical.pad_end, 'x', p.horizontal.pad_begin, '+',
        p.horizontal.pad_end, " dilation ", p.vertical.dilation, 'x', p.horizontal.dilation, " groups ",
        p.groups, weights_stay(c, r) ? " constant" : "", r.line >= 0 ? " line" : "",
        c.wants(1) ? r.direction == ConvDirection::dgrad ? " sums" : " statistics" : "",
        r.residual >= 0 ? " residual" : "", r.saved >= 0 ? " saved" : "",
        c.attributes.has("activation") ? " activation" : "");
    result.chosen = plan_of(c, r).algorithm();
    const bool exact = precision() == Precision::highest;
    for (const auto& [algorithm, reason] : conv2d_candidates(p, r.direction, weights_stay(c, r)))
        if (reason.empty() && algorithm != "reference" && !(exact && algorithm.rfind("winograd", 0) == 0) &&
            (r.x < 0 || ConvPlan(p, r.direction, algorithm).takes_gradient_sums()))
            result.algorithms.push_back(algorithm);
    return result;
}

void add_conv2d_kinds(KindList& list) {
    list.push_back({"conv2d", infer, prepare, 0, 0, 1u << 1, false, 1u, 1u});
    list.push_back({"conv2d_input", infer, prepare, 0, 0, 1u << 1, false, 1u << 1 | 1u << 4, 1u});
    list.push_back({"conv2d_weight", infer, prepare, 0, 0, 0, false, 3u, 0});
    list.push_back({"conv2d_bias", bias_infer, bias_prepare, 0, 0});
    list.push_back({"conv_transpose2d", infer, prepare, 0, 0});
    list.push_back({"conv_transpose2d_input", infer, prepare, 0, 0});
    list.push_back({"conv_transpose2d_weight", infer, prepare, 0, 0});
    add_pooled_conv_kinds(list);
    add_inverted_kinds(list);
}

}  // namespace fastconv::program
