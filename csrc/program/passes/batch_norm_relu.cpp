#include <algorithm>

#include "program/kind.h"
#include "program/passes/passes.h"

namespace fastconv::program {
namespace {

bool is(const Node& node, const char* kind) { return node.kind == &node_kind(kind); }
bool is_relu(const Node& node, const char* kind) {
    return is(node, kind) && node.attributes.get<std::string>("kind") == "relu";
}
bool is_norm(const Node& node) { return is(node, "batch_norm") || is(node, "batch_norm_inference"); }

void set_operand(Node& node, size_t i, ValueId id) {
    node.inputs.resize(std::max(node.inputs.size(), i + 1), kNone);
    node.inputs[i] = id;
}

// Forward: sums and ReLUs move into the batch-norm in front of them.
void fuse_forward(Graph& graph, std::vector<bool>& gone) {
    const Uses uses(graph);
    std::vector<int> makers = makers_of(graph, uses);
    for (size_t n = 0; n < graph.nodes.size(); ++n) {
        const Node& node = graph.nodes[n];
        const int later = later_summand(graph, node, makers);
        if (later < 0 && !is_relu(node, "activation")) continue;
        const ValueId operand = node.in(later < 0 ? 0 : static_cast<size_t>(later));
        const int at = makers[static_cast<size_t>(operand)];
        if (at < 0 || uses.only_reader(operand) < 0) continue;
        Node& norm = graph.nodes[static_cast<size_t>(at)];
        if (!is_norm(norm) || norm.out(0) != operand || norm.attributes.flag("relu")) continue;
        if (later >= 0) {
            if (norm.in(5) != kNone) continue;
            set_operand(norm, 5, node.in(static_cast<size_t>(1 - later)));
        } else {
            norm.attributes.set("relu", true);
        }
        norm.outputs[0] = node.out(0);
        makers[static_cast<size_t>(node.out(0))] = at;
        gone[n] = true;
    }
}

// Whether a convolution makes a gradient, or takes the sum that it is as it stores its results
// (fuse_gradient_sum), and can mask it then (fuse_activation_gradient).
bool made_by_convolution(const Graph& graph, const Uses& uses, const std::vector<int>& makers, ValueId id) {
    const int at = makers[static_cast<size_t>(id)];
    if (at < 0 || uses.only_reader(id) < 0) return false;
    const Node& node = graph.nodes[static_cast<size_t>(at)];
    if (is(node, "conv2d_input")) return masks_in_rows(graph, node);
    const int later = later_summand(graph, node, makers);
    if (later < 0) return false;
    const ValueId summand = node.in(static_cast<size_t>(later));
    const int made = makers[static_cast<size_t>(summand)];
    return made >= 0 && uses.only_reader(summand) >= 0 &&
           is(graph.nodes[static_cast<size_t>(made)], "conv2d_input") &&
           masks_in_rows(graph, graph.nodes[static_cast<size_t>(made)]);
}

// Backward: the ReLU's mask moves into the gradient of its batch-norm.
void fuse_backward(Graph& graph, std::vector<bool>& gone) {
    const Uses uses(graph);
    const std::vector<int> makers = makers_of(graph, uses);
    for (size_t n = 0; n < graph.nodes.size(); ++n) {
        const Node& mask = graph.nodes[n];
        if (!is_relu(mask, "activation_backward") || uses.is_output(mask.out(0))) continue;
        const int made = uses.maker(mask.in(0));
        if (made < 0) continue;
        const Node& norm = graph.nodes[static_cast<size_t>(made)];
        if (!is_norm(norm) || !norm.attributes.flag("relu") || norm.out(0) != mask.in(0)) continue;
        // The first reader must be this batch-norm's gradient; others then read what it passes on.
        const std::vector<int>& readers = uses.readers(mask.out(0));
        if (readers.empty()) continue;
        const int first = *std::min_element(readers.begin(), readers.end());
        Node& gradient = graph.nodes[static_cast<size_t>(first)];
        if (!is(gradient, "batch_norm_backward") || gradient.in(0) != mask.out(0) ||
            gradient.in(2) != norm.out(1) || gradient.attributes.flag("relu"))
            continue;
        const bool shared = readers.size() > 1;
        // Masked while a convolution stores it, what both read is written once and the saved output read
        // once.
        if (shared && made_by_convolution(graph, uses, makers, mask.in(1))) continue;
        const ValueId masked = mask.out(0);
        gradient.inputs[0] = mask.in(1);
        gradient.attributes.set("relu", true);
        if (norm.in(5) == kNone)
            set_operand(gradient, 5, norm.in(2));
        else
            set_operand(gradient, 6, norm.out(0));
        if (shared) gradient.outputs[3] = masked;
        gone[n] = true;
    }
}

}  // namespace

void fuse_batch_norm_relu(Graph& graph) {
    std::vector<bool> gone(graph.nodes.size(), false);
    fuse_forward(graph, gone);
    remove_nodes(graph, gone);
    gone.assign(graph.nodes.size(), false);
    fuse_backward(graph, gone);
    remove_nodes(graph, gone);
}

}  // namespace fastconv::program
