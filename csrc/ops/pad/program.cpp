// Nodes: pad(x) with attributes before, after, mode, value; pad_backward(dy) with shape, before, after, mode.
#include "core/checks.h"
#include "ops/pad/pad.h"
#include "program/parse.h"
#include "program/registry.h"

namespace fastconv::program {
namespace {

PadParams params(const Call& c, int ndim) {
    PadParams p;
    p.mode = pad_mode_from_name(c.attributes.get<std::string>("mode"));
    p.value = c.attributes.has("value") ? c.attributes.number("value") : 0;
    const auto& before = c.attributes.get<std::vector<int64_t>>("before");
    const auto& after = c.attributes.get<std::vector<int64_t>>("after");
    if (static_cast<int>(before.size()) != ndim || static_cast<int>(after.size()) != ndim)
        throw ShapeError(message(c.name, ": before and after must have ", ndim, " amounts"));
    for (size_t i = 0; i < before.size(); ++i) p.before[i] = before[i], p.after[i] = after[i];
    return p;
}

std::vector<Type> forward_infer(const Call& c) {
    c.operands(1, 1);
    require_float(c.name, "input", c.in[0].dtype);
    return {{c.in[0].dtype, pad_shape(c.name, c.in[0].shape, params(c, c.in[0].shape.ndim))}};
}
std::unique_ptr<Step> forward(const Call& c) {
    return make_step([p = params(c, c.in[0].shape.ndim), x = c.in[0], y = c.out[0]](const Frame& f) {
        pad(p, view_of(x, f.in[0]), view_of(y, f.out[0]));
    });
}
std::vector<Type> backward_infer(const Call& c) {
    c.operands(1, 1);
    require_float(c.name, "grad_output", c.in[0].dtype);
    const Shape shape = shape_of(c);
    require_shape(c.name, "grad_output", c.in[0].shape, pad_shape(c.name, shape, params(c, shape.ndim)));
    return {{c.in[0].dtype, shape}};
}
std::unique_ptr<Step> backward(const Call& c) {
    return make_step([p = params(c, c.out[0].shape.ndim), dy = c.in[0], dx = c.out[0]](const Frame& f) {
        pad_backward(p, view_of(dy, f.in[0]), view_of(dx, f.out[0]));
    });
}

}  // namespace

void add_pad_kinds(KindList& list) {
    list.push_back({"pad", forward_infer, forward, 0, 0});
    list.push_back({"pad_backward", backward_infer, backward, 0, 0});
}

}  // namespace fastconv::program
