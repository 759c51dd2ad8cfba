// Nodes: matmul(a, b) with the attribute kind.
#include "core/checks.h"
#include "ops/matmul/matmul.h"
#include "program/registry.h"

namespace fastconv::program {
namespace {

MatmulProblem problem(const Call& c) {
    c.operands(2, 2);
    require_dtype(c.name, "other", c.in[1].dtype, c.in[0].dtype);
    const MatmulKind kind = matmul_kind_from_name(c.attributes.get<std::string>("kind"));
    return matmul_problem(c.name, c.in[0].dtype, kind, c.in[0].shape, c.in[1].shape);
}

std::vector<Type> infer(const Call& c) {
    const MatmulProblem p = problem(c);
    return {{p.dtype, p.output}};
}
std::unique_ptr<Step> prepare(const Call& c) {
    MatmulProblem p = problem(c);
    const double operations = 2.0 * static_cast<double>(p.count) * static_cast<double>(p.rows) *
                              static_cast<double>(p.depth) * static_cast<double>(p.columns);
    return make_step([p = std::move(p)](const Frame& f) { matmul(p, f.in[0], f.in[1], f.out[0]); },
                     operations);
}

}  // namespace

void add_matmul_kinds(KindList& list) { list.push_back({"matmul", infer, prepare, 0, 0}); }

}  // namespace fastconv::program
