#include <algorithm>

#include "ops/conv2d/program.h"
#include "program/kind.h"
#include "program/passes/passes.h"

namespace fastconv::program {
namespace {

bool is(const Node& node, const char* kind) { return node.kind == &node_kind(kind); }

// Operands and results of a node that normalises x.
struct Norm {
    ValueId mean = kNone, invstd = kNone, weight = kNone, bias = kNone;
    bool statistics = false;  // it makes mean and invstd too

    static bool read(const Node& node, Norm& norm) {
        if (node.in(5) != kNone) return false;  // a residual
        if (is(node, "batch_norm_apply"))
            norm = {node.in(1), node.in(2), node.in(3), node.in(4), false};
        else if (is(node, "batch_norm") || is(node, "batch_norm_inference"))
            norm = {node.out(1), node.out(2), node.in(1), node.in(2), true};
        else
            return false;
        return true;
    }
};

// Whether each reader of `y` is a convolution that would rather read x and the line.
bool all_take_lines(Graph& graph, const Uses& uses, ValueId y) {
    if (uses.is_output(y) || uses.readers(y).empty()) return false;
    for (int n : uses.readers(y)) {
        const Node& conv = graph.nodes[static_cast<size_t>(n)];
        const bool forward = is(conv, "conv2d");
        if (!forward && !is(conv, "conv2d_weight")) return false;
        if (conv.in(0) != y || conv.in(1) == y || conv.in(forward ? 4 : 2) != kNone) return false;
        if (forward && conv.in(3) == y) return false;
        if (!conv2d_takes_line(describe(graph, conv))) return false;
    }
    return true;
}

}  // namespace

void fuse_batch_norm_load(Graph& graph) {
    const Uses uses(graph);
    std::vector<Node> nodes = graph.nodes;
    std::vector<std::pair<size_t, Norm>> found;
    for (size_t n = 0; n < nodes.size(); ++n) {
        Norm norm;
        if (Norm::read(nodes[n], norm) && nodes[n].out(0) != kNone &&
            all_take_lines(graph, uses, nodes[n].out(0)))
            found.emplace_back(n, norm);
    }
    graph.nodes.clear();
    size_t next = 0;
    for (size_t n = 0; n < nodes.size(); ++n) {
        if (next == found.size() || found[next].first != n) {
            graph.nodes.push_back(nodes[n]);
            continue;
        }
        Norm norm = found[next++].second;
        const Node before = nodes[n];
        const ValueId x = before.in(0), y = before.out(0);
        const DType dtype = graph.type(x).dtype;
        if (norm.statistics) {
            Node sums = before;
            sums.outputs.resize(3, kNone);
            sums.outputs[0] = kNone;
            sums.attributes.set("relu", false);
            const bool nchw = before.attributes.get<std::string>("layout") == "NCHW";
            const Shape& shape = graph.type(x).shape;
            const Type channels{DType::f64, {shape[nchw ? 1 : shape.ndim - 1]}};
            for (size_t o : {1, 2})
                if (sums.outputs[o] == kNone) sums.outputs[o] = graph.add_value(channels, Source::node);
            norm.mean = sums.outputs[1], norm.invstd = sums.outputs[2];
            graph.nodes.push_back(std::move(sums));
        }
        Attributes a;
        a.set("dtype", std::string(name(dtype)));
        const ValueId line =
            graph.add("batch_norm_line", {norm.mean, norm.invstd, norm.weight, norm.bias}, std::move(a))
                .out(0);
        const bool relu = before.attributes.flag("relu");
        for (int reader : uses.readers(y)) {
            Node& conv = nodes[static_cast<size_t>(reader)];  // all of them come later
            const size_t at = is(conv, "conv2d") ? 4 : 2;
            conv.inputs[0] = x;
            conv.inputs.resize(std::max(conv.inputs.size(), at + 1), kNone);
            conv.inputs[at] = line;
            conv.attributes.set("line_relu", relu);
        }
    }
}

}  // namespace fastconv::program
