// Nodes: pool2d(x) -> y, index; pool2d_backward(dy, index) -> dx; pool2d_positions(index). Attributes: op
// (the function's name), kind, the windows' geometry or adaptive and output_size, layout, and for the latter
// two `shape`, that of x. pool3d_positions(inside, along): see JoinedPositions; attributes plane, dim.
#include "core/checks.h"
#include "ops/pool2d/joined_positions.h"
#include "ops/pool2d/pool2d.h"
#include "program/parse.h"
#include "program/registry.h"

namespace fastconv::program {
namespace {

std::shared_ptr<const Pool2d> pool_of(const Call& c) {
    const Attributes& a = c.attributes;
    Pool2dParams p;
    p.kind = a.get<std::string>("kind") == "max" ? PoolKind::max : PoolKind::mean;
    p.layout = layout_of(c);
    p.adaptive = a.flag("adaptive");
    if (p.adaptive) {
        p.output_size = pair_of(c, "output_size");
    } else {
        p.kernel = pair_of(c, "kernel_size"), p.stride = pair_of(c, "stride");
        p.padding = pair_of(c, "padding"), p.dilation = pair_of(c, "dilation");
        p.ceil_mode = a.flag("ceil_mode");
        p.count_include_pad = a.flag("count_include_pad");
        p.divisor_override = a.get<int64_t>("divisor_override");
    }
    const Shape shape = a.has("shape") ? shape_of(c) : c.in[0].shape;
    return std::make_shared<const Pool2d>(a.get<std::string>("op").c_str(), p, shape);
}

std::vector<Type> forward_infer(const Call& c) {
    c.operands(1, 1);
    require_float(c.name, "input", c.in[0].dtype);
    const auto pool = pool_of(c);
    std::vector<Type> result{{c.in[0].dtype, pool->output()}};
    if (pool->kind() == PoolKind::max) result.push_back({pool->index_dtype(), pool->output()});
    return result;
}
std::unique_ptr<Step> forward(const Call& c) {
    const TensorView index = c.wants(1) ? view_of(c.out[1], nullptr) : TensorView{};
    return make_step([pool = pool_of(c), x = c.in[0], y = c.out[0], index](const Frame& f) {
        TensorView taps = index;
        if (taps.shape.ndim) taps.data = f.out[1];
        pool->forward(view_of(x, f.in[0]), view_of(y, f.out[0]), taps);
    });
}

void check_index(const Call& c, size_t i, const Pool2d& pool) {
    c.operands(i + 1, i + 1);
    require_dtype(c.name, "index", c.in[i].dtype, pool.index_dtype());
    require_shape(c.name, "index", c.in[i].shape, pool.output());
}
std::vector<Type> backward_infer(const Call& c) {
    c.operands(1, 2);
    require_float(c.name, "grad_output", c.in[0].dtype);
    const auto pool = pool_of(c);
    require_shape(c.name, "grad_output", c.in[0].shape, pool->output());
    if (pool->kind() == PoolKind::max) check_index(c, 1, *pool);
    return {{c.in[0].dtype, pool->input()}};
}
std::unique_ptr<Step> backward(const Call& c) {
    const TensorView index = c.given(1) ? view_of(c.in[1], nullptr) : TensorView{};
    return make_step([pool = pool_of(c), dy = c.in[0], dx = c.out[0], index](const Frame& f) {
        TensorView taps = index;
        if (taps.shape.ndim) taps.data = f.in[1];
        pool->backward(view_of(dy, f.in[0]), taps, view_of(dx, f.out[0]));
    });
}

std::vector<Type> positions_infer(const Call& c) {
    const auto pool = pool_of(c);
    if (pool->kind() != PoolKind::max) throw ShapeError(message(c.name, ": only maxima have positions"));
    check_index(c, 0, *pool);
    return {{DType::i64, pool->output()}};
}
std::unique_ptr<Step> positions(const Call& c) {
    return make_step([pool = pool_of(c), index = c.in[0], out = c.out[0]](const Frame& f) {
        pool->positions(view_of(index, f.in[0]), view_of(out, f.out[0]));
    });
}

JoinedPositions joined_of(const Call& c) {
    c.operands(2, 2);
    const auto array = [&](size_t i) { return ArrayType{c.in[i].dtype, c.in[i].shape}; };
    return {c.name, array(0), array(1), c.attributes.get<int64_t>("plane"), c.attributes.get<int64_t>("dim")};
}
std::vector<Type> joined_infer(const Call& c) {
    joined_of(c);
    return {{DType::i64, c.in[1].shape}};
}
std::unique_ptr<Step> joined(const Call& c) {
    return make_step([join = joined_of(c)](const Frame& f) {
        join.run(static_cast<const int64_t*>(f.in[0]), static_cast<const int64_t*>(f.in[1]),
                 static_cast<int64_t*>(f.out[0]));
    });
}

}  // namespace

void add_pool2d_kinds(KindList& list) {
    list.push_back({"pool2d", forward_infer, forward, 0, 0, 1u << 1, false, 0, 1u});
    list.push_back({"pool2d_backward", backward_infer, backward, 0, 0});
    list.push_back({"pool2d_positions", positions_infer, positions, 0, 0});
    list.push_back({"pool3d_positions", joined_infer, joined, 0, 0});
}

}  // namespace fastconv::program
