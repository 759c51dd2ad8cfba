#include <string>
#include <utility>

#include "program/kind.h"
#include "program/passes/passes.h"

namespace fastconv::program {
namespace {

bool is(const Node& node, const char* kind) { return node.kind == &node_kind(kind); }

// Activations whose gradient is all or nothing: for these it does not matter whether it is taken of the sum
// of several windows' gradients or of each. A maximum that is masked may be any of those equal to it.
bool masks(const Node& node) {
    if (!is(node, "activation_backward")) return false;
    const std::string& kind = node.attributes.get<std::string>("kind");
    return kind == "relu" || kind == "relu6";
}

}  // namespace

void mask_before_pooling(Graph& graph) {
    const Uses uses(graph);
    for (Node& mask : graph.nodes) {
        if (!masks(mask)) continue;
        const int spread_at = uses.maker(mask.in(1));
        if (spread_at < 0 || uses.only_reader(mask.in(1)) < 0) continue;
        Node& spread = graph.nodes[static_cast<size_t>(spread_at)];
        if (!is(spread, "pool2d_backward") || spread.in(1) == kNone) continue;
        const int pool_at = uses.maker(spread.in(1));
        if (pool_at < 0) continue;
        const Node& pool = graph.nodes[static_cast<size_t>(pool_at)];
        if (!is(pool, "pool2d") || pool.in(0) != mask.in(0) || pool.out(0) == kNone ||
            pool.out(1) != spread.in(1) || graph.type(pool.out(0)) != graph.type(spread.in(0)))
            continue;
        // The two change places, and what each of them made.
        const ValueId maxima = pool.out(0), gradient = spread.in(0), index = spread.in(1);
        const Type type = graph.type(gradient);
        const ValueId result = mask.out(0), masked = graph.add_value(type, Source::node);
        std::swap(mask, spread);
        spread.inputs = {maxima, gradient}, spread.outputs = {masked};
        mask.inputs = {masked, index}, mask.outputs = {result};
    }
}

}  // namespace fastconv::program
