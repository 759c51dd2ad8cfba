#include "ops/batch_norm/batch_norm.h"
#include "program/kind.h"
#include "program/passes/passes.h"

namespace fastconv::program {

void fuse_conv_statistics(Graph& graph) {
    const Uses uses(graph);
    std::vector<int> conv_of(graph.nodes.size(), -1);
    std::vector<bool> taken(graph.nodes.size(), false);
    for (size_t n = 0; n < graph.nodes.size(); ++n) {
        const Node& norm = graph.nodes[n];
        if (norm.kind != &node_kind("batch_norm")) continue;
        const int made = uses.maker(norm.in(0));
        if (made < 0 || taken[static_cast<size_t>(made)]) continue;
        const Node& conv = graph.nodes[static_cast<size_t>(made)];
        if (conv.kind != &node_kind("conv2d") || conv.out(0) != norm.in(0) || conv.in(3) != kNone ||
            conv.attributes.has("activation") || conv.out(1) != kNone)
            continue;
        const std::string& layout = norm.attributes.get<std::string>("layout");
        if (conv.attributes.get<std::string>("layout") != layout) continue;
        conv_of[n] = made;
        taken[static_cast<size_t>(made)] = true;
    }
    std::vector<Node> nodes = std::move(graph.nodes);
    graph.nodes.clear();
    for (size_t n = 0; n < nodes.size(); ++n) {
        if (taken[n]) {
            const int64_t channels = graph.type(nodes[n].in(1)).shape[0];
            nodes[n].outputs.resize(2, kNone);
            nodes[n].outputs[1] = graph.add_value({DType::f64, {2, channels}}, Source::node);
        }
        if (conv_of[n] < 0) {
            graph.nodes.push_back(std::move(nodes[n]));
            continue;
        }
        const Node& norm = nodes[n];
        const Type x = graph.type(norm.in(0));
        const bool nchw = norm.attributes.get<std::string>("layout") == "NCHW";
        const ChannelView view = channel_view("batch_norm", x.shape, nchw ? Layout::nchw : Layout::nhwc);
        // conv_of[n] has been moved already; its statistics are the newest value that it makes.
        ValueId statistics = kNone;
        for (const Node& before : graph.nodes)
            if (before.out(0) == norm.in(0)) statistics = before.out(1);
        Attributes a;
        a.set("count", view.values());
        a.set("momentum", norm.attributes.number("momentum"));
        a.set("eps", norm.attributes.number("eps"));
        Node& sums = graph.add("batch_norm_statistics", {statistics, norm.in(3), norm.in(4)}, std::move(a));
        sums.outputs = {norm.out(1), norm.out(2)};
        Attributes b;
        b.set("layout", norm.attributes.get<std::string>("layout"));
        b.set("relu", norm.attributes.flag("relu"));
        Node& apply = graph.add("batch_norm_apply",
                                {norm.in(0), norm.out(1), norm.out(2), norm.in(1), norm.in(2), norm.in(5)},
                                std::move(b));
        apply.outputs = {norm.out(0)};
    }
}

}  // namespace fastconv::program
