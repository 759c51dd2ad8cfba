#include "program/kind.h"
#include "program/passes/passes.h"
#include "program/permute.h"

namespace fastconv::program {
namespace {

bool is(const Node& node, const char* kind) { return node.kind == &node_kind(kind); }

std::vector<int64_t> dims_of(const Node& node) { return node.attributes.get<std::vector<int64_t>>("dims"); }

void become_reshape(Graph& graph, Node& node) {
    const Shape shape = graph.type(node.out(0)).shape;
    node.kind = &node_kind("reshape");
    node.attributes = {};
    node.attributes.set("shape", std::vector<int64_t>(shape.begin(), shape.end()));
}

// transpose(transpose(x)): one transpose of x.
void join(Node& outer, const Node& inner) {
    std::vector<int64_t> joined;
    for (int64_t d : dims_of(outer)) joined.push_back(dims_of(inner)[static_cast<size_t>(d)]);
    outer.inputs = inner.inputs;
    outer.attributes.set("dims", joined);
}

}  // namespace

void simplify_layout(Graph& graph) {
    // Operands come before those who read them: one pass in order sees every chain from its start.
    std::vector<int> maker(graph.values.size(), -1);
    std::vector<ValueId> same(graph.values.size());
    for (size_t v = 0; v < same.size(); ++v) same[v] = static_cast<ValueId>(v);
    for (size_t n = 0; n < graph.nodes.size(); ++n) {
        Node& node = graph.nodes[n];
        for (ValueId& id : node.inputs)
            if (id != kNone) id = same[static_cast<size_t>(id)];
        for (ValueId id : node.outputs)
            if (id != kNone) maker[static_cast<size_t>(id)] = static_cast<int>(n);
        if (!is(node, "transpose") && !is(node, "reshape")) continue;
        const int before = maker[static_cast<size_t>(node.in(0))];
        if (before >= 0) {
            const Node& inner = graph.nodes[static_cast<size_t>(before)];
            if (is(node, "transpose") && is(inner, "transpose")) join(node, inner);
            if (is(node, "reshape") && is(inner, "reshape")) node.inputs = inner.inputs;
        }
        const Type& from = graph.type(node.in(0));
        if (is(node, "transpose")) {
            if (Permutation(from.dtype, from.shape, dims_of(node)).moves_nothing())
                become_reshape(graph, node);
        }
        if (is(node, "reshape") && from == graph.type(node.out(0)))
            same[static_cast<size_t>(node.out(0))] = node.in(0);
    }
    for (ValueId& id : graph.outputs) id = same[static_cast<size_t>(id)];
}

}  // namespace fastconv::program
