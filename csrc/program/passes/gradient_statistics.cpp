#include <algorithm>

#include "ops/conv2d/program.h"
#include "program/kind.h"
#include "program/passes/passes.h"

namespace fastconv::program {
namespace {

// The line of a batch-norm from its mean, invstd, weight and bias: that of its forward pass where there is
// one.
ValueId line_of(Graph& graph, const std::vector<ValueId>& operands) {
    const NodeKind* kind = &node_kind("batch_norm_line");
    for (const Node& node : graph.nodes)
        if (node.kind == kind && node.inputs == operands &&
            node.attributes.get<std::string>("dtype") == name(DType::f32))
            return node.out(0);
    Attributes a;
    a.set("dtype", std::string(name(DType::f32)));
    return graph.add("batch_norm_line", operands, std::move(a)).out(0);
}

}  // namespace

void fuse_gradient_statistics(Graph& graph) {
    const Uses uses(graph);
    std::vector<Node> nodes = std::move(graph.nodes);
    graph.nodes.clear();
    // The batch-norm's gradient that wants sums of each convolution's.
    std::vector<int> norm_of(nodes.size(), -1);
    for (size_t n = 0; n < nodes.size(); ++n) {
        const Node& norm = nodes[n];
        if (norm.kind != &node_kind("batch_norm_backward") || !norm.attributes.flag("training") ||
            norm.attributes.get<std::string>("layout") != "NHWC" || norm.in(6) != kNone ||
            norm.in(8) != kNone || graph.type(norm.in(1)).dtype != DType::f32)
            continue;
        const int at = uses.maker(norm.in(0));
        if (at < 0 || norm_of[static_cast<size_t>(at)] >= 0) continue;
        const Node& conv = nodes[static_cast<size_t>(at)];
        if (conv.kind != &node_kind("conv2d_input") || conv.out(0) != norm.in(0) || conv.out(1) != kNone)
            continue;
        const auto later = [&](size_t i) { return norm.in(i) != kNone && uses.maker(norm.in(i)) >= at; };
        if (later(1) || later(2) || later(3) || later(4) || later(5)) continue;
        if (conv2d_takes_gradient_sums(describe(graph, conv)))
            norm_of[static_cast<size_t>(at)] = static_cast<int>(n);
    }
    for (size_t n = 0; n < nodes.size(); ++n) {
        if (norm_of[n] >= 0) {
            Node &conv = nodes[n], &norm = nodes[static_cast<size_t>(norm_of[n])];
            const bool relu = norm.attributes.flag("relu");
            conv.inputs.resize(6, kNone);
            conv.inputs[4] = norm.in(1);
            conv.inputs[5] = line_of(graph, {norm.in(2), norm.in(3), norm.in(4), norm.in(5)});
            conv.attributes.set("line_relu", relu);
            const int64_t channels = graph.type(norm.in(2)).shape[0];
            conv.outputs.resize(2, kNone);
            conv.outputs[1] = graph.add_value({DType::f64, {2, channels}}, Source::node);
            norm.inputs.resize(9, kNone);
            norm.inputs[8] = conv.outputs[1];
        }
        graph.nodes.push_back(std::move(nodes[n]));
    }
}

}  // namespace fastconv::program
