// Nodes: reduce(x) with attributes kind, dim, keepdim; reduce_backward(dy) with kind, shape, dim.
#include "core/checks.h"
#include "ops/reduce/reduce.h"
#include "program/parse.h"
#include "program/registry.h"

namespace fastconv::program {
namespace {

ReduceKind kind_of(const Call& c) { return reduce_kind_from_name(c.attributes.get<std::string>("kind")); }
ReduceDims dims_of(const Call& c, int ndim) {
    ReduceDims dims;
    for (int64_t d : c.attributes.get<std::vector<int64_t>>("dim")) {
        if (d < 0 || d >= ndim) throw ShapeError(message(c.name, ": dim ", d, " does not exist"));
        dims.reduced[static_cast<size_t>(d)] = true;
    }
    return dims;
}

std::vector<Type> forward_infer(const Call& c) {
    c.operands(1, 1);
    require_float(c.name, "input", c.in[0].dtype);
    const ReduceDims dims = dims_of(c, c.in[0].shape.ndim);
    require_terms(kind_of(c), c.in[0].shape, dims);
    return {{c.in[0].dtype, reduced_shape(c.in[0].shape, dims, c.attributes.flag("keepdim"))}};
}
std::unique_ptr<Step> forward(const Call& c) {
    const ReduceDims dims = dims_of(c, c.in[0].shape.ndim);
    return make_step([=, kind = kind_of(c), x = c.in[0], y = c.out[0]](const Frame& f) {
        reduce(kind, view_of(x, f.in[0]), dims, view_of(y, f.out[0]));
    });
}
std::vector<Type> backward_infer(const Call& c) {
    c.operands(1, 1);
    require_float(c.name, "grad_output", c.in[0].dtype);
    require_summed(kind_of(c));
    const Shape shape = shape_of(c);
    const ReduceDims dims = dims_of(c, shape.ndim);
    if (c.in[0].shape != reduced_shape(shape, dims, true))
        require_shape(c.name, "grad_output", c.in[0].shape, reduced_shape(shape, dims, false));
    return {{c.in[0].dtype, shape}};
}
std::unique_ptr<Step> backward(const Call& c) {
    const ReduceDims dims = dims_of(c, c.out[0].shape.ndim);
    return make_step([=, kind = kind_of(c), dy = c.in[0], dx = c.out[0]](const Frame& f) {
        reduce_backward(kind, view_of(dy, f.in[0]), dims, view_of(dx, f.out[0]));
    });
}

}  // namespace

void add_reduce_kinds(KindList& list) {
    list.push_back({"reduce", forward_infer, forward, 0, 0});
    list.push_back({"reduce_backward", backward_infer, backward, 0, 0});
}

}  // namespace fastconv::program
