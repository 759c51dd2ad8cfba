#include <string>

#include "ops/activation/activation.h"
#include "program/kind.h"
#include "program/passes/passes.h"

namespace fastconv::program {

// Convolutions store pixels of this many channels, or rows of pixels, at a time; what they did to shorter
// pieces would take longer than a pass over the whole.
static constexpr int64_t kLongRow = 64;
bool masks_in_rows(const Graph& graph, const Node& conv) {
    const Attributes& a = conv.attributes;
    if (a.get<std::string>("layout") == "NCHW") return a.get<std::vector<int64_t>>("stride")[1] == 1;
    return graph.type(conv.out(0)).shape[3] / a.get<int64_t>("groups") >= kLongRow;
}

void fuse_activation_gradient(Graph& graph) {
    const Uses uses(graph);
    std::vector<bool> gone(graph.nodes.size(), false);
    for (size_t n = 0; n < graph.nodes.size(); ++n) {
        const Node& node = graph.nodes[n];
        if (node.kind != &node_kind("activation_backward") ||
            !activation_fuses(activation_from_name(node.attributes.get<std::string>("kind"))))
            continue;
        const ValueId saved = node.in(0), gradient = node.in(1);
        const int at = uses.maker(gradient);
        if (at < 0 || uses.only_reader(gradient) < 0) continue;
        Node& conv = graph.nodes[static_cast<size_t>(at)];
        if (conv.kind != &node_kind("conv2d_input") || conv.in(3) != kNone || conv.out(0) != gradient ||
            uses.maker(saved) >= at || !masks_in_rows(graph, conv))
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
