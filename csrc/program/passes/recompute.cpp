#include <algorithm>

#include "program/kind.h"
#include "program/passes/passes.h"

namespace fastconv::program {
namespace {

bool is(const Node& node, const char* kind) { return node.kind == &node_kind(kind); }

// Nodes that cost about a pass over memory.
bool cheap(const Node& node) {
    return is(node, "batch_norm_apply") || is(node, "activation") || is(node, "elementwise") ||
           is(node, "elementwise_scalar") || is(node, "concat");
}

// Values of this many bytes are not worth a node.
constexpr int64_t kSmall = 4096;

}  // namespace

void recompute(Graph& graph) {
    const Uses uses(graph);
    const auto count = static_cast<int>(graph.nodes.size());
    // Backward begins behind the guard of the loss.
    int border = -1;
    for (int n = 0; n < count; ++n)
        if (is(graph.nodes[static_cast<size_t>(n)], "stop_unless_finite")) border = n;
    if (border < 0) return;
    const auto first_after = [&](ValueId id) {
        for (int n : uses.readers(id))  // in the order of running
            if (n > border) return n;
        return -1;
    };
    // The nodes that write each state.
    std::vector<std::vector<int>> writes(graph.values.size());
    for (int n = 0; n < count; ++n) {
        const Node& node = graph.nodes[static_cast<size_t>(n)];
        for (size_t i = 0; i < node.inputs.size() && i < 32; ++i)
            if ((node.kind->writes >> i & 1) && node.inputs[i] != kNone)
                writes[static_cast<size_t>(node.inputs[i])].push_back(n);
    }
    std::vector<bool> again(graph.values.size(), false);
    // Operands must be there in backward without this, as they are now, or hardly matter.
    const auto stays = [&](ValueId id, int from, int to) {
        if (id == kNone) return true;
        // Of a view, what it looks at.
        for (int n = uses.maker(id); n >= 0 && graph.nodes[static_cast<size_t>(n)].kind->view();
             n = uses.maker(id))
            id = graph.nodes[static_cast<size_t>(n)].in(0);
        for (int n : writes[static_cast<size_t>(id)])
            if (n > from && n < to) return false;
        if (graph.value(id).source != Source::node) return true;
        if (again[static_cast<size_t>(id)]) return false;
        return uses.is_output(id) || first_after(id) >= 0 || bytes_of(graph.type(id)) < kSmall;
    };
    std::vector<std::vector<int>> copies(graph.nodes.size());  // to be made in front of a node
    for (int n = 0; n < border; ++n) {
        const Node& node = graph.nodes[static_cast<size_t>(n)];
        const ValueId id = node.out(0);
        if (!cheap(node) || node.outputs.size() != 1 || id == kNone || uses.is_output(id)) continue;
        const int reader = first_after(id);
        if (reader < 0 || bytes_of(graph.type(id)) < kSmall) continue;
        if (!std::all_of(node.inputs.begin(), node.inputs.end(),
                         [&](ValueId operand) { return stays(operand, n, reader); }))
            continue;
        again[static_cast<size_t>(id)] = true;
        copies[static_cast<size_t>(reader)].push_back(n);
    }
    std::vector<Node> nodes = std::move(graph.nodes);
    graph.nodes.clear();
    std::vector<ValueId> now(graph.values.size());
    for (size_t v = 0; v < now.size(); ++v) now[v] = static_cast<ValueId>(v);
    for (int n = 0; n < count; ++n) {
        for (int original : copies[static_cast<size_t>(n)]) {
            Node copy = nodes[static_cast<size_t>(original)];
            const ValueId id = copy.out(0);
            copy.outputs[0] = graph.add_value(graph.type(id), Source::node);
            now[static_cast<size_t>(id)] = copy.outputs[0];
            graph.nodes.push_back(std::move(copy));
        }
        Node& node = nodes[static_cast<size_t>(n)];
        for (ValueId& id : node.inputs)
            if (id != kNone) id = now[static_cast<size_t>(id)];
        graph.nodes.push_back(node);  // copied: it may be wanted again
    }
}

}  // namespace fastconv::program
