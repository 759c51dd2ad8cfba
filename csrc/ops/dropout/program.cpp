// Node: dropout(x, key), which is its own gradient; attribute p. The key is one int64, new at every run.
#include "core/checks.h"
#include "ops/dropout/dropout.h"
#include "program/registry.h"

namespace fastconv::program {
namespace {

std::vector<Type> infer(const Call& c) {
    c.operands(2, 2);
    require_float(c.name, "input", c.in[0].dtype);
    require_dtype(c.name, "key", c.in[1].dtype, DType::i64);
    require_shape(c.name, "key", c.in[1].shape, Shape{});
    return {c.in[0]};
}

std::unique_ptr<Step> prepare(const Call& c) {
    return make_step([x = c.in[0], p = c.attributes.number("p")](const Frame& f) {
        const int64_t key = *static_cast<const int64_t*>(f.in[1]);
        dropout(view_of(x, f.in[0]), p, static_cast<uint64_t>(key), view_of(x, f.out[0]));
    });
}

}  // namespace

void add_dropout_kinds(KindList& list) { list.push_back({"dropout", infer, prepare, 0, 1u}); }

}  // namespace fastconv::program
