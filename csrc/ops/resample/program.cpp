// Nodes: resample(x, begin, index, weight), whose table is constant; attribute dim.
#include "core/checks.h"
#include "ops/resample/resample.h"
#include "program/registry.h"

namespace fastconv::program {
namespace {

struct Tabled {
    int64_t dim;
    ResampleTable table;
};

Tabled table_of(const Call& c) {
    c.operands(3, 4);
    for (size_t i = 1; i < c.in.size(); ++i)
        if (c.given(i) && !c.constant[i] && element_count(c.name, c.in[i].shape))
            throw ShapeError(message(c.name, ": the table must be constant"));
    const int64_t dim = c.attributes.get<int64_t>("dim");
    resample_shape(c.name, c.in[0].shape, dim, 0);
    const auto view = [&](size_t i) { return c.given(i) ? view_of(c.in[i], c.constant[i]) : TensorView{}; };
    return {dim, resample_table(c.name, c.in[0].shape[static_cast<int>(dim)], view(1), view(2), view(3))};
}

std::vector<Type> infer(const Call& c) {
    const Tabled t = table_of(c);
    if (!t.table.copies()) require_float(c.name, "input", c.in[0].dtype);
    return {{c.in[0].dtype, resample_shape(c.name, c.in[0].shape, t.dim, t.table.outputs)}};
}
std::unique_ptr<Step> prepare(const Call& c) {
    return make_step([name = c.name, t = table_of(c), x = c.in[0], y = c.out[0]](const Frame& f) {
        resample(name, t.table, t.dim, view_of(x, f.in[0]), view_of(y, f.out[0]));
    });
}

}  // namespace

void add_resample_kinds(KindList& list) { list.push_back({"resample", infer, prepare, 0, 0}); }

}  // namespace fastconv::program
