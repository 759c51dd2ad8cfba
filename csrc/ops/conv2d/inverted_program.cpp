// Nodes: inverted_residual(x, expand, bias, depthwise, bias, project, bias, residual) -> y, of constant
// weights on channels-last arrays; expand or project may be missing. Attributes: the depthwise convolution's,
// and what follows the other two as expand_activation and project_activation.
#include <algorithm>

#include "core/checks.h"
#include "ops/conv2d/inverted.h"
#include "ops/conv2d/kernels.h"
#include "ops/conv2d/program.h"

namespace fastconv::program {
namespace {

enum Operand : size_t {
    kX,
    kExpand,
    kExpandBias,
    kDepthwise,
    kDepthwiseBias,
    kProject,
    kProjectBias,
    kResidual
};

// Stripes want rows enough for threads to share, and at most so many.
constexpr int64_t kMostRows = 4, kStripes = 14;

struct Inverted {
    std::optional<Conv2dProblem> expand, project;
    Conv2dProblem depthwise;
    Shape y() const { return project ? project->y_shape() : depthwise.y_shape(); }
};

Inverted inverted_of(const Call& c) {
    c.operands(1, 8);
    if (!c.given(kDepthwise)) throw ShapeError(message(c.name, ": operand 3 is missing"));
    Conv2dParams point;
    point.layout = Layout::nhwc;
    Inverted r;
    Shape shape = c.in[kX].shape;
    const auto take = [&](size_t weight, const char* bias, const Conv2dParams& params) {
        require_dtype(c.name, "weight", c.in[weight].dtype, DType::f32);
        const Conv2dProblem p = conv2d_problem(c.name, DType::f32, shape, c.in[weight].shape, params);
        if (c.given(weight + 1)) {
            require_dtype(c.name, bias, c.in[weight + 1].dtype, DType::f32);
            require_shape(c.name, bias, c.in[weight + 1].shape, {p.k});
        }
        shape = p.y_shape();
        return p;
    };
    require_dtype(c.name, "input", c.in[kX].dtype, DType::f32);
    if (c.given(kExpand)) r.expand = take(kExpand, "bias", point);
    r.depthwise = take(kDepthwise, "bias", conv2d_params(c));
    if (c.given(kProject)) r.project = take(kProject, "bias", point);
    if (r.depthwise.layout != Layout::nhwc || r.depthwise.groups != r.depthwise.c ||
        r.depthwise.k != r.depthwise.c)
        throw ShapeError(
            message(c.name, ": the convolution in the middle must be depthwise and channels-last"));
    if (c.given(kResidual)) {
        require_dtype(c.name, "residual", c.in[kResidual].dtype, DType::f32);
        require_shape(c.name, "residual", c.in[kResidual].shape, shape);
        if (!r.project) throw ShapeError(message(c.name, ": a residual needs a projection"));
    }
    return r;
}

std::vector<Type> infer(const Call& c) { return {{DType::f32, inverted_of(c).y()}}; }

ConvEpilogue epilogue_of(const Call& c, const char* activation) {
    ConvEpilogue e;
    if (!c.attributes.has(activation)) return e;
    e.activate = true;
    e.activation = activation_from_name(c.attributes.get<std::string>(activation));
    if (e.activation != Activation::relu && e.activation != Activation::relu6)
        throw ShapeError(message(c.name, ": ", activation, " must be relu or relu6"));
    return e;
}

class InvertedStep final : public Step {
  public:
    explicit InvertedStep(const Call& c) : r_(inverted_of(c)) {
        expand_ = epilogue_of(c, "expand_activation"), project_ = epilogue_of(c, "project_activation");
        const Conv2dProblem& d = r_.depthwise;
        rows_.depthwise = depthwise_geometry(d, epilogue_of(c, "activation"));
        const int64_t rows = std::clamp<int64_t>(d.p / kStripes, 1, kMostRows);
        rows_.rows = rows > 2 ? rows / 2 * 2 : rows;  // tiles take two rows
        if (r_.expand)
            rows_.expand =
                pointwise(c, kExpand, *r_.expand, "implicit_gemm", std::min(rows_.input_rows(), d.h));
        if (r_.project)
            rows_.project = pointwise(c, kProject, *r_.project, "implicit_gemm", std::min(rows_.rows, d.p));
        rows_.filters = pack(c, kDepthwise, d, "depthwise");
    }

    size_t workspace_bytes(int team) const override { return FC_ISA_PICK(inverted_scratch)(rows_, team); }
    std::string algorithm() const override { return "by rows"; }
    double operations() const override {
        double sum = conv2d_operations(r_.depthwise);
        if (r_.expand) sum += conv2d_operations(*r_.expand);
        if (r_.project) sum += conv2d_operations(*r_.project);
        return sum;
    }

    bool run(const Frame& f) const override {
        const auto in = [&](size_t i) { return given_[i] ? static_cast<const float*>(f.in[i]) : nullptr; };
        InvertedRows s = rows_;
        if (!r_.depthwise.n) return true;
        s.x = in(kX), s.y = static_cast<float*>(f.out[0]);
        s.bias = in(kDepthwiseBias);
        s.expand.g.bias = in(kExpandBias), s.project.g.bias = in(kProjectBias);
        s.expand.g.finish = Finish(expand_, nullptr);
        ConvEpilogue e = project_;
        e.residual = in(kResidual);
        s.project.g.finish = Finish(e, s.y);
        FC_ISA_PICK(inverted_run)(s, static_cast<char*>(f.workspace), f.team);
        return true;
    }

  private:
    const float* pack(const Call& c, size_t weight, const Conv2dProblem& p, const char* algorithm) {
        for (size_t i = 0; i < std::size(given_); ++i) given_[i] = c.given(i);
        const void* fixed = c.constant[weight];
        if (!fixed) throw ShapeError(message(c.name, ": weights must be constants"));
        const ConvPlan plan(p, ConvDirection::fprop, algorithm, true);
        const std::string key = message("pack inverted ", fixed, ' ', algorithm, ' ',
                                        fastconv::to_string(p.weight_shape()), ' ', plan.packed_bytes());
        kept_.push_back(c.cache->get(key, plan.packed_bytes(), [&](void* to) { plan.pack(fixed, to); }));
        return kept_.back()->as<float>();
    }
    PointwiseRows pointwise(const Call& c, size_t weight, const Conv2dProblem& p, const char* algorithm,
                            int64_t most) {
        PointwiseRows result = pointwise_rows(p, most);
        result.packed = pack(c, weight, p, algorithm);
        return result;
    }

    Inverted r_;
    InvertedRows rows_;
    ConvEpilogue expand_, project_;
    bool given_[8] = {};
    std::vector<WeightCache::Entry> kept_;
};

std::unique_ptr<Step> prepare(const Call& c) { return std::make_unique<InvertedStep>(c); }

}  // namespace

void add_inverted_kinds(std::vector<NodeKind>& list) {
    list.push_back({"inverted_residual", infer, prepare, 0, 0});
}

}  // namespace fastconv::program
