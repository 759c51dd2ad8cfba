// Nodes: local_response_norm(x), local_response_norm_backward(dy, x); attributes size, alpha, beta, k,
// layout.
#include "core/checks.h"
#include "ops/local_response_norm/local_response_norm.h"
#include "program/parse.h"
#include "program/registry.h"

namespace fastconv::program {
namespace {

LrnParams params(const Call& c) {
    const Attributes& a = c.attributes;
    return lrn_params(c.name, c.in.back().shape, layout_of(c), a.get<int64_t>("size"), a.number("alpha"),
                      a.number("beta"), a.number("k"));
}

std::vector<Type> forward_infer(const Call& c) {
    c.operands(1, 1);
    require_float(c.name, "input", c.in[0].dtype);
    params(c);
    return {c.in[0]};
}
std::unique_ptr<Step> forward(const Call& c) {
    return make_step([p = params(c), x = c.in[0]](const Frame& f) {
        local_response_norm_forward(p, view_of(x, f.in[0]), view_of(x, f.out[0]));
    });
}
std::vector<Type> backward_infer(const Call& c) {
    c.operands(2, 2);
    require_dtype(c.name, "grad_output", c.in[0].dtype, c.in[1].dtype);
    require_shape(c.name, "grad_output", c.in[0].shape, c.in[1].shape);
    params(c);
    return {c.in[1]};
}
std::unique_ptr<Step> backward(const Call& c) {
    return make_step([p = params(c), x = c.in[1]](const Frame& f) {
        local_response_norm_backward(p, view_of(x, f.in[0]), view_of(x, f.in[1]), view_of(x, f.out[0]));
    });
}

}  // namespace

void add_local_response_norm_kinds(KindList& list) {
    list.push_back({"local_response_norm", forward_infer, forward, 0, 0});
    list.push_back({"local_response_norm_backward", backward_infer, backward, 0, 0});
}

}  // namespace fastconv::program
