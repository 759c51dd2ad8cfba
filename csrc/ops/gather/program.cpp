// Nodes: gather(x, places) with the attribute op; scatter(y, places) with op, length and sum.
#include "core/checks.h"
#include "ops/gather/gather.h"
#include "program/registry.h"

namespace fastconv::program {
namespace {

std::string caller(const Call& c) { return c.attributes.get<std::string>("op"); }

std::vector<Type> gather_infer(const Call& c) {
    c.operands(2, 2);
    require_float(c.name, "input", c.in[0].dtype);
    require_dtype(c.name, "index", c.in[1].dtype, DType::i64);
    return {{c.in[0].dtype, gather_shape(c.name, c.in[0].shape, c.in[1].shape)}};
}
std::unique_ptr<Step> gather_prepare(const Call& c) {
    return make_step([op = caller(c), x = c.in[0], places = c.in[1], y = c.out[0]](const Frame& f) {
        gather(op.c_str(), view_of(x, f.in[0]), view_of(places, f.in[1]), view_of(y, f.out[0]));
    });
}

std::vector<Type> scatter_infer(const Call& c) {
    c.operands(2, 2);
    require_float(c.name, "input", c.in[0].dtype);
    require_dtype(c.name, "index", c.in[1].dtype, DType::i64);
    require_ndim(c.name, "input", c.in[0].shape, 3);
    const Shape full{c.in[0].shape[0], c.attributes.get<int64_t>("length"), c.in[0].shape[2]};
    require_shape(c.name, "input", c.in[0].shape, gather_shape(c.name, full, c.in[1].shape));
    return {{c.in[0].dtype, full}};
}
std::unique_ptr<Step> scatter_prepare(const Call& c) {
    const Meeting meeting = c.attributes.flag("sum") ? Meeting::sum : Meeting::last;
    return make_step([=, op = caller(c), y = c.in[0], places = c.in[1], x = c.out[0]](const Frame& f) {
        scatter(op.c_str(), meeting, view_of(y, f.in[0]), view_of(places, f.in[1]), view_of(x, f.out[0]));
    });
}

}  // namespace

void add_gather_kinds(KindList& list) {
    list.push_back({"gather", gather_infer, gather_prepare, 0, 0});
    list.push_back({"scatter", scatter_infer, scatter_prepare, 0, 0});
}

}  // namespace fastconv::program
