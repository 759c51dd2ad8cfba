#include "program/kind.h"
#include "program/passes/passes.h"

namespace fastconv::program {

void fuse_gradient_sum(Graph& graph) {
    const Uses uses(graph);
    std::vector<bool> gone(graph.nodes.size(), false);
    std::vector<int> maker(graph.values.size());
    for (size_t v = 0; v < maker.size(); ++v) maker[v] = uses.maker(static_cast<ValueId>(v));
    for (size_t n = 0; n < graph.nodes.size(); ++n) {
        const Node& node = graph.nodes[n];
        if (node.kind != &node_kind("elementwise") || node.attributes.get<std::string>("kind") != "add")
            continue;
        const ValueId a = node.in(0), b = node.in(1);
        if (a == b || graph.type(a) != graph.type(b)) continue;
        const size_t which = maker[static_cast<size_t>(b)] > maker[static_cast<size_t>(a)] ? 1 : 0;
        const int at = maker[static_cast<size_t>(node.in(which))];
        if (at < 0 || uses.only_reader(node.in(which)) < 0) continue;
        Node& conv = graph.nodes[static_cast<size_t>(at)];
        if (conv.kind != &node_kind("conv2d_input") || conv.in(2) != kNone) continue;
        conv.inputs.resize(3, kNone);
        conv.inputs[2] = node.in(1 - which);
        conv.outputs[0] = node.out(0);
        maker[static_cast<size_t>(node.out(0))] = at;
        gone[n] = true;
    }
    remove_nodes(graph, gone);
}

}  // namespace fastconv::program
