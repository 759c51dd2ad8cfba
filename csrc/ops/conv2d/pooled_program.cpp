// Nodes: conv2d_pooled(x, weight, bias) -> averages, y; conv2d_pooled_input(weight, dy, y) -> dx;
// conv2d_pooled_weight(x, dy, y) -> dweight, dbias, dy being the averages' gradient. Attributes: the
// geometry, x_shape and weight_shape as the convolution has them, activation and slope, x_lanes and y_lanes:
// whether x or dx, and averages or dy, are in lanes. y always is.
#include "core/checks.h"
#include "core/precision.h"
#include "ops/conv2d/kernels.h"
#include "ops/conv2d/pooled.h"
#include "ops/conv2d/program.h"

namespace fastconv::program {
namespace {

Shape sizes_of(const Call& c, const char* name) {
    const auto& sizes = c.attributes.get<std::vector<int64_t>>(name);
    if (sizes.size() != 4) throw ShapeError(message(c.name, ": ", name, " must have four dimensions"));
    return {sizes[0], sizes[1], sizes[2], sizes[3]};
}

struct Pooled {
    Conv2dProblem problem;
    PooledConv how;
    Type x, weight, averages, y;
};

Pooled pooled_of(const Call& c) {
    Pooled r;
    const std::string name = c.name;
    r.how.direction = name == "conv2d_pooled"         ? ConvDirection::fprop
                      : name == "conv2d_pooled_input" ? ConvDirection::dgrad
                                                      : ConvDirection::wgrad;
    c.operands(r.how.direction == ConvDirection::fprop ? 2 : 3, 3);
    r.how.activation = activation_from_name(c.attributes.get<std::string>("activation"));
    if (!activation_fuses(r.how.activation)) throw ShapeError(message(c.name, ": activation does not fuse"));
    r.how.slope = c.attributes.number("slope");
    r.how.x_lanes = c.attributes.flag("x_lanes"), r.how.y_lanes = c.attributes.flag("y_lanes");
    r.problem = conv2d_problem(c.name, DType::f32, sizes_of(c, "x_shape"), sizes_of(c, "weight_shape"),
                               conv2d_params(c));
    const Conv2dProblem& p = r.problem;
    if (const char* reason = pooled_conv_declines(p, r.how.direction))
        throw ShapeError(message(c.name, ": ", reason));
    r.x = {DType::f32, p.x_shape()}, r.weight = {DType::f32, p.weight_shape()};
    r.averages = {DType::f32, {p.n, p.k, p.p / 2, p.q / 2}};
    r.y = in_lanes({DType::f32, p.y_shape()});
    if (r.how.x_lanes) r.x = in_lanes(r.x);
    if (r.how.y_lanes) r.averages = in_lanes(r.averages);
    return r;
}

void require_type(const Call& c, const char* what, size_t i, const Type& type) {
    require_dtype(c.name, what, c.in[i].dtype, type.dtype);
    require_shape(c.name, what, c.in[i].shape, type.shape);
}

std::vector<Type> infer(const Call& c) {
    const Pooled r = pooled_of(c);
    const Type bias{DType::f32, {r.problem.k}};
    switch (r.how.direction) {
        case ConvDirection::fprop:
            require_type(c, "input", 0, r.x);
            require_type(c, "weight", 1, r.weight);
            if (c.given(2)) require_type(c, "bias", 2, bias);
            return {r.averages, r.y};
        case ConvDirection::dgrad:
            require_type(c, "weight", 0, r.weight);
            require_type(c, "grad_output", 1, r.averages);
            require_type(c, "output", 2, r.y);
            return {r.x};
        case ConvDirection::wgrad:
            break;
    }
    require_type(c, "input", 0, r.x);
    require_type(c, "grad_output", 1, r.averages);
    require_type(c, "output", 2, r.y);
    return {r.weight, bias};
}

class PooledStep final : public Step {
  public:
    explicit PooledStep(const Call& c) : r_(pooled_of(c)) {
        if (r_.how.direction == ConvDirection::wgrad) return;
        const void* fixed = c.constant[r_.how.direction == ConvDirection::fprop ? 1 : 0];
        if (!fixed) return;
        const Conv2dProblem& p = r_.problem;
        const std::string key =
            message("pack pooled ", fixed, ' ', static_cast<int>(r_.how.direction), ' ',
                    fastconv::to_string(p.weight_shape()), ' ', p.h, ' ', p.w, ' ', p.p, ' ', p.q);
        packed_ = c.cache->get(key, winograd_rows_packed_bytes(p), [&](void* to) { pack(fixed, to); });
    }

    size_t workspace_bytes(int team) const override {
        Arena counter;
        packing(counter);
        PooledConvArgs args;
        args.team = team;
        pooled_conv_run(r_.problem, r_.how, args, counter);
        return counter.used();
    }
    std::string algorithm() const override { return "winograd_rows"; }
    double operations() const override { return conv2d_operations(r_.problem); }

    bool run(const Frame& f) const override {
        const auto in = [&](int i) { return static_cast<const float*>(f.in[i]); };
        const auto out = [&](int i) { return static_cast<float*>(f.out[i]); };
        Arena arena(f.workspace);
        void* packed = packing(arena);
        PooledConvArgs args;
        args.team = f.team, args.out = out(0);
        const void* weight = nullptr;
        switch (r_.how.direction) {
            case ConvDirection::fprop:
                args.x = in(0), weight = f.in[1], args.bias = in(2), args.kept = out(1);
                break;
            case ConvDirection::dgrad:
                weight = f.in[0], args.dy = in(1), args.kept = static_cast<float*>(f.in[2]);
                break;
            case ConvDirection::wgrad:
                args.x = in(0), args.dy = in(1), args.kept = static_cast<float*>(f.in[2]);
                args.dbias = out(1);
        }
        if (packed) pack(weight, packed);
        args.packed = static_cast<const float*>(packed_ ? packed_->as<void>() : packed);
        pooled_conv_run(r_.problem, r_.how, args, arena);
        return true;
    }

  private:
    void pack(const void* weight, void* to) const {
        if (r_.how.direction == ConvDirection::fprop)
            winograd_rows_fprop_pack(r_.problem, weight, to);
        else
            winograd_rows_dgrad_pack(r_.problem, weight, to);
    }
    // Memory for weights that are packed at every run.
    void* packing(Arena& arena) const {
        if (packed_ || r_.how.direction == ConvDirection::wgrad) return nullptr;
        return arena.take<char>(winograd_rows_packed_bytes(r_.problem));
    }

    Pooled r_;
    WeightCache::Entry packed_;
};

std::unique_ptr<Step> prepare(const Call& c) { return std::make_unique<PooledStep>(c); }

}  // namespace

Type in_lanes(const Type& picture) {
    const Shape& s = picture.shape;
    const int64_t lanes = pooled_conv_lanes();
    return {picture.dtype, {s[0] / lanes, s[1], s[2], s[3], lanes}};
}

void add_pooled_conv_kinds(std::vector<NodeKind>& list) {
    list.push_back({"conv2d_pooled", infer, prepare, 0, 0, 1u << 1});
    list.push_back({"conv2d_pooled_input", infer, prepare, 0, 0});
    list.push_back({"conv2d_pooled_weight", infer, prepare, 0, 0, 1u << 1});
}

}  // namespace fastconv::program
