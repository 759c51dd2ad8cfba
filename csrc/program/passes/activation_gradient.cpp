#include "program/kind.h"
#include "program/passes/passes.h"

namespace fastconv::program {

void fuse_activation_gradient(Graph& graph) {
    const Uses uses(graph);
    std::vector<bool> gone(graph.nodes.size(), false);
    for (size_t n = 0; n < graph.nodes.size(); ++n) {
        const Node& node = graph.nodes[n];
        if (node.kind != &node_kind("activation_backward")) continue;
        const ValueId saved = node.in(0), gradient = node.in(1);
        const int at = uses.maker(gradient);
        if (at < 0 || uses.only_reader(gradient) < 0) continue;
        Node& conv = graph.nodes[static_cast<size_t>(at)];
        if (conv.kind != &node_kind("conv2d_input") || conv.in(3) != kNone || conv.out(0) != gradient ||
            uses.maker(saved) >= at)
            continue;
        conv.inputs.resize(4, kNone);
        conv.inputs[3] = saved;
        conv.attributes.set("activation", node.attributes.get<std::string>("kind"));
        conv.attributes.set("slope", node.attributes.number("slope"));
        conv.outputs[0] = node.out(0);
        gone[n] = true;
    }
    remove_nodes(graph, gone);
}

}  // namespace fastconv::program
