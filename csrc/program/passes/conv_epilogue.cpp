#include <algorithm>

#include "ops/activation/activation.h"
#include "program/kind.h"
#include "program/passes/passes.h"

namespace fastconv::program {
namespace {

bool is(const Node& node, const char* kind) { return node.kind == &node_kind(kind); }

// A convolution that takes a residual or an activation behind what it has.
bool open(const Node& node) {
    return is(node, "conv2d") && !node.attributes.has("activation") && node.out(1) == kNone;
}

bool fuses(const Node& node) {
    return is(node, "activation") &&
           activation_fuses(activation_from_name(node.attributes.get<std::string>("kind")));
}

}  // namespace

void fuse_conv_epilogue(Graph& graph) {
    const Uses uses(graph);
    std::vector<bool> gone(graph.nodes.size(), false);
    // A convolution makes what the node behind it made.
    std::vector<int> makers = makers_of(graph, uses);
    for (size_t n = 0; n < graph.nodes.size(); ++n) {
        const Node& node = graph.nodes[n];
        const int later = later_summand(graph, node, makers);
        if (later < 0 && !fuses(node)) continue;
        const ValueId operand = node.in(later < 0 ? 0 : static_cast<size_t>(later));
        const int at = makers[static_cast<size_t>(operand)];
        if (at < 0 || uses.only_reader(operand) < 0) continue;
        // An activation does not mind that the convolution's result has got another shape in between.
        Node& maker = graph.nodes[static_cast<size_t>(at)];
        const bool view = later < 0 && is(maker, "reshape");
        const ValueId made = view ? maker.in(0) : operand;
        const int source = view ? makers[static_cast<size_t>(made)] : at;
        if (source < 0 || uses.only_reader(made) < 0) continue;
        Node& conv = graph.nodes[static_cast<size_t>(source)];
        if (!open(conv) || conv.out(0) != made) continue;
        if (later >= 0) {
            if (conv.in(3) != kNone) continue;
            conv.inputs.resize(std::max<size_t>(4, conv.inputs.size()), kNone);
            conv.inputs[3] = node.in(static_cast<size_t>(1 - later));
        } else {
            conv.attributes.set("activation", node.attributes.get<std::string>("kind"));
            conv.attributes.set("slope", node.attributes.number("slope"));
        }
        maker.outputs[0] = node.out(0);
        makers[static_cast<size_t>(node.out(0))] = at;
        gone[n] = true;
    }
    remove_nodes(graph, gone);
}

}  // namespace fastconv::program
