// Nodes: elementwise(a, b) with attribute kind; elementwise_scalar(a) with kind, value and, where the number
// is the first operand, first.
#include "core/checks.h"
#include "ops/elementwise/elementwise.h"
#include "program/registry.h"

namespace fastconv::program {
namespace {

Binary kind_of(const Call& c) { return binary_from_name(c.attributes.get<std::string>("kind")); }

std::vector<Type> infer(const Call& c) {
    c.operands(2, 2);
    const std::string& name = c.attributes.get<std::string>("kind");
    kind_of(c);
    require_float(name.c_str(), "input", c.in[0].dtype);
    require_dtype(name.c_str(), "other", c.in[1].dtype, c.in[0].dtype);
    return {{c.in[0].dtype, broadcast_shape(name.c_str(), c.in[0].shape, c.in[1].shape)}};
}

std::unique_ptr<Step> prepare(const Call& c) {
    return make_step([kind = kind_of(c), a = c.in[0], b = c.in[1], out = c.out[0]](const Frame& f) {
        binary(kind, view_of(a, f.in[0]), view_of(b, f.in[1]), view_of(out, f.out[0]));
    });
}

std::vector<Type> scalar_infer(const Call& c) {
    c.operands(1, 1);
    kind_of(c);
    require_float(c.name, "input", c.in[0].dtype);
    return {c.in[0]};
}

std::unique_ptr<Step> scalar_prepare(const Call& c) {
    return make_step([kind = kind_of(c), a = c.in[0], value = c.attributes.number("value"),
                      first = c.attributes.flag("first")](const Frame& f) {
        binary_number(kind, view_of(a, f.in[0]), value, first, view_of(a, f.out[0]));
    });
}

}  // namespace

void add_elementwise_kinds(KindList& list) {
    list.push_back({"elementwise", infer, prepare, 0, 3u});
    list.push_back({"elementwise_scalar", scalar_infer, scalar_prepare, 0, 1u});
}

}  // namespace fastconv::program
