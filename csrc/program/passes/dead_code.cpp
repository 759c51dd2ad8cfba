#include "program/kind.h"
#include "program/passes/passes.h"

namespace fastconv::program {
namespace {

bool has_effect(const Node& node) {
    if (node.kind->effect) return true;
    for (size_t i = 0; i < node.inputs.size() && i < 32; ++i)
        if ((node.kind->writes >> i & 1) && node.inputs[i] != kNone) return true;
    return false;
}

}  // namespace

void remove_dead_code(Graph& graph) {
    std::vector<bool> read(graph.values.size(), false), gone(graph.nodes.size(), false);
    for (ValueId id : graph.outputs) read[static_cast<size_t>(id)] = true;
    for (size_t n = graph.nodes.size(); n-- > 0;) {
        Node& node = graph.nodes[n];
        bool wanted = has_effect(node);
        for (size_t o = 0; o < node.outputs.size(); ++o) {
            ValueId& id = node.outputs[o];
            if (id == kNone) continue;
            if (read[static_cast<size_t>(id)])
                wanted = true;
            else if (o < 32 && node.kind->optional >> o & 1)
                id = kNone;
        }
        gone[n] = !wanted;
        if (!wanted) continue;
        for (ValueId id : node.inputs)
            if (id != kNone) read[static_cast<size_t>(id)] = true;
    }
    remove_nodes(graph, gone);
}

}  // namespace fastconv::program
