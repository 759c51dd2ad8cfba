#include "program/kind.h"
#include "program/passes/passes.h"

namespace fastconv::program {
namespace {

bool is(const Node& node, const char* kind) { return node.kind == &node_kind(kind); }

// Whether `from` becomes `to` by repeating along dimensions of size 1.
bool broadcasts(const Shape& from, const Shape& to) {
    if (from.ndim != to.ndim) return false;
    for (int d = 0; d < from.ndim; ++d)
        if (from[d] != to[d] && from[d] != 1) return false;
    return true;
}

}  // namespace

void skip_expansion(Graph& graph) {
    const Uses uses(graph);
    for (Node& node : graph.nodes) {
        // Sums stay of equal shapes: convolutions take those as they store.
        if (!is(node, "elementwise") || node.attributes.get<std::string>("kind") == "add") continue;
        for (size_t i : {0, 1}) {
            if (graph.type(node.in(1 - i)) != graph.type(node.out(0))) continue;
            const int at = uses.maker(node.in(i));
            if (at < 0) continue;
            const Node& expansion = graph.nodes[static_cast<size_t>(at)];
            // The gradient of a sum is its own repeated.
            if (!is(expansion, "reduce_backward") || expansion.attributes.get<std::string>("kind") != "sum" ||
                !broadcasts(graph.type(expansion.in(0)).shape, graph.type(node.out(0)).shape))
                continue;
            node.inputs[i] = expansion.in(0);
        }
    }
}

}  // namespace fastconv::program
