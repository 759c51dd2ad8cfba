#include "program/kind.h"
#include "program/passes/passes.h"

namespace fastconv::program {

void fuse_gradient_sum(Graph& graph) {
    const Uses uses(graph);
    std::vector<bool> gone(graph.nodes.size(), false);
    std::vector<int> makers = makers_of(graph, uses);
    for (size_t n = 0; n < graph.nodes.size(); ++n) {
        const Node& node = graph.nodes[n];
        const int later = later_summand(graph, node, makers);
        if (later < 0) continue;
        const ValueId summand = node.in(static_cast<size_t>(later));
        const int at = makers[static_cast<size_t>(summand)];
        if (at < 0 || uses.only_reader(summand) < 0) continue;
        Node& maker = graph.nodes[static_cast<size_t>(at)];
        const size_t operand = maker.kind == &node_kind("conv2d_input")          ? 2
                               : maker.kind == &node_kind("batch_norm_backward") ? 7
                                                                                 : 0;
        if (!operand || maker.in(operand) != kNone || maker.out(0) != summand) continue;
        // What has become an activation's gradient is no summand before that.
        if (operand == 2 && maker.in(3) != kNone) continue;
        maker.inputs.resize(operand + 1, kNone);
        maker.inputs[operand] = node.in(static_cast<size_t>(1 - later));
        maker.outputs[0] = node.out(0);
        makers[static_cast<size_t>(node.out(0))] = at;
        gone[n] = true;
    }
    remove_nodes(graph, gone);
}

}  // namespace fastconv::program
