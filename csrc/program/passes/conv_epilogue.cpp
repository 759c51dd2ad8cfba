#include <utility>

#include "program/kind.h"
#include "program/passes/passes.h"

namespace fastconv::program {
namespace {

bool is(const Node& node, const char* kind) { return node.kind == &node_kind(kind); }

// A convolution that takes a residual or an activation behind what it has.
bool open(const Node& node) {
    return is(node, "conv2d") && !node.attributes.has("activation") && node.out(1) == kNone;
}

}  // namespace

void fuse_conv_epilogue(Graph& graph) {
    const Uses uses(graph);
    std::vector<bool> gone(graph.nodes.size(), false);
    // Where each value is made by now: a convolution makes what the node behind it made.
    std::vector<int> maker(graph.values.size());
    for (size_t v = 0; v < maker.size(); ++v) maker[v] = uses.maker(static_cast<ValueId>(v));
    for (size_t n = 0; n < graph.nodes.size(); ++n) {
        const Node& node = graph.nodes[n];
        const bool sum = is(node, "elementwise") && node.attributes.get<std::string>("kind") == "add";
        if (!sum && !is(node, "activation")) continue;
        // Of a sum's operands the one that is made last, so that the other is there when it runs.
        size_t which = 0;
        if (sum) {
            const int a = maker[static_cast<size_t>(node.in(0))], b = maker[static_cast<size_t>(node.in(1))];
            which = b > a ? 1 : 0;
            if (graph.type(node.in(0)) != graph.type(node.in(1)) || node.in(0) == node.in(1)) continue;
        }
        const int at = maker[static_cast<size_t>(node.in(which))];
        if (at < 0 || uses.only_reader(node.in(which)) < 0) continue;
        Node& conv = graph.nodes[static_cast<size_t>(at)];
        if (!open(conv) || conv.out(0) != node.in(which)) continue;
        if (sum) {
            if (conv.in(3) != kNone) continue;
            conv.inputs.resize(std::max<size_t>(4, conv.inputs.size()), kNone);
            conv.inputs[3] = node.in(1 - which);
        } else {
            conv.attributes.set("activation", node.attributes.get<std::string>("kind"));
            conv.attributes.set("slope", node.attributes.number("slope"));
        }
        conv.outputs[0] = node.out(0);
        maker[static_cast<size_t>(node.out(0))] = at;
        gone[n] = true;
    }
    remove_nodes(graph, gone);
}

}  // namespace fastconv::program
