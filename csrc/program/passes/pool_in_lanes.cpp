#include <algorithm>
#include <set>

#include "ops/activation/activation.h"
#include "ops/conv2d/program.h"
#include "program/kind.h"
#include "program/passes/passes.h"

namespace fastconv::program {
namespace {

bool is(const Node& node, const char* kind) { return node.kind == &node_kind(kind); }

// Averages over windows of 2x2 that lie side by side; what a last row or column leaves over is dropped.
bool averages(const Node& node) {
    const Attributes& a = node.attributes;
    using Pair = std::vector<int64_t>;
    return a.get<std::string>("kind") != "max" && a.get<std::string>("layout") == "NCHW" &&
           !a.flag("adaptive") && a.get<Pair>("kernel_size") == Pair{2, 2} &&
           a.get<Pair>("stride") == Pair{2, 2} && a.get<Pair>("padding") == Pair{0, 0} &&
           a.get<Pair>("dilation") == Pair{1, 1} && !a.flag("ceil_mode") &&
           !a.get<int64_t>("divisor_override");
}

// Nodes by number, -1 for those that there are not.
struct Block {
    int conv = -1, pool = -1;
    // The way back: averages, activation, and the convolution's gradients.
    int spread = -1, gradient = -1, input = -1, weight = -1, bias = -1;
};

class Finder {
  public:
    explicit Finder(const Graph& graph) : graph_(graph), uses_(graph) {}

    bool find(int conv, Block& b) const {
        b.conv = conv;
        if (!opens(node(conv))) return false;
        for (int n : uses_.readers(node(conv).out(0))) {
            const Node& reader = node(n);
            if (is(reader, "pool2d") && b.pool < 0 && averages(reader))
                b.pool = n;
            else if (is(reader, "activation_backward") && b.gradient < 0)
                b.gradient = n;
            else
                return false;
        }
        return b.pool >= 0 && (b.gradient < 0 || finds_gradients(b));
    }

  private:
    const Node& node(int n) const { return graph_.nodes[static_cast<size_t>(n)]; }

    static bool plain(const Graph& graph, const Node& conv) {
        return conv.attributes.get<std::string>("layout") == "NCHW" && conv2d_pools(describe(graph, conv));
    }
    bool opens(const Node& conv) const {
        return is(conv, "conv2d") && conv.attributes.has("activation") && !uses_.is_output(conv.out(0)) &&
               plain(graph_, conv);
    }
    bool finds_gradients(Block& b) const {
        const Node &conv = node(b.conv), &gradient = node(b.gradient);
        const Attributes &forward = conv.attributes, &backward = gradient.attributes;
        if (gradient.in(0) != conv.out(0) || gradient.in(1) == conv.out(0) ||
            forward.get<std::string>("activation") != backward.get<std::string>("kind") ||
            forward.number("slope") != backward.number("slope"))
            return false;
        b.spread = uses_.maker(gradient.in(1));
        if (b.spread < 0 || uses_.only_reader(gradient.in(1)) < 0) return false;
        const Node& spread = node(b.spread);
        if (!is(spread, "pool2d_backward") || !averages(spread)) return false;
        const ValueId dy = gradient.out(0);
        if (uses_.is_output(dy)) return false;
        for (int n : uses_.readers(dy)) {
            const Node& reader = node(n);
            int& place = is(reader, "conv2d_input")    ? b.input
                         : is(reader, "conv2d_weight") ? b.weight
                                                       : b.bias;
            if (place >= 0) return false;
            place = n;
            if (is(reader, "conv2d_bias")) continue;
            if (n != b.input && n != b.weight) return false;
            if (reader.in(1) != dy || reader.in(0) == dy || !plain(graph_, reader)) return false;
            if (n == b.weight && graph_.type(reader.in(0)) != graph_.type(conv.in(0))) return false;
            if (n == b.input && graph_.type(reader.out(0)) != graph_.type(conv.in(0))) return false;
        }
        return b.bias < 0 || (b.weight >= 0 && b.weight < b.bias);
    }

    const Graph& graph_;
    const Uses uses_;
};

std::vector<int64_t> sizes(const Type& type) { return {type.shape.begin(), type.shape.end()}; }

}  // namespace

void pool_in_lanes(Graph& graph) {
    std::vector<Block> blocks;
    const Finder finder(graph);
    for (size_t n = 0; n < graph.nodes.size(); ++n) {
        Block block;
        if (finder.find(static_cast<int>(n), block)) blocks.push_back(block);
    }
    if (blocks.empty()) return;

    // What only nodes of blocks make and read lies in lanes.
    const Uses uses(graph);
    const auto node = [&](int n) -> Node& { return graph.nodes[static_cast<size_t>(n)]; };
    std::set<int> readers_of_x, spreads;
    for (const Block& b : blocks) readers_of_x.insert({b.conv, b.weight}), spreads.insert(b.spread);
    std::set<ValueId> lanes;
    for (const Block& b : blocks) {
        const auto consider = [&](ValueId id, const std::set<int>& known) {
            if (uses.is_output(id) || uses.readers(id).empty()) return;
            for (int n : uses.readers(id))
                if (!known.count(n)) return;
            lanes.insert(id);
        };
        consider(node(b.pool).out(0), readers_of_x);
        if (b.input >= 0) consider(node(b.input).out(0), spreads);
    }

    std::vector<bool> gone(graph.nodes.size(), false);
    const auto rewrite = [&](const Block& b, int n, const char* kind, ValueId x, ValueId y) {
        Node& it = node(n);
        it.kind = &node_kind(kind);
        Attributes& a = it.attributes;
        a.set("activation", node(b.conv).attributes.get<std::string>("activation"));
        a.set("slope", node(b.conv).attributes.number("slope"));
        a.set("x_lanes", lanes.count(x) > 0), a.set("y_lanes", lanes.count(y) > 0);
    };
    for (const Block& b : blocks) {
        const Node conv = node(b.conv);
        const Attribute x_shape = sizes(graph.type(conv.in(0))), weight_shape = sizes(graph.type(conv.in(1)));
        for (int n : {b.conv, b.input, b.weight})
            if (n >= 0)
                node(n).attributes.set("x_shape", x_shape),
                    node(n).attributes.set("weight_shape", weight_shape);
        const ValueId y = conv.out(0), pooled = node(b.pool).out(0);
        rewrite(b, b.conv, "conv2d_pooled", conv.in(0), pooled);
        node(b.conv).inputs.resize(3, kNone);
        node(b.conv).outputs = {pooled, y};
        gone[static_cast<size_t>(b.pool)] = true;
        graph.value(y).type = in_lanes(graph.type(y));
        if (b.gradient < 0) continue;
        const ValueId dy = node(b.spread).in(0);
        for (int n : {b.spread, b.gradient, b.bias})
            if (n >= 0) gone[static_cast<size_t>(n)] = true;
        if (b.input >= 0) {
            rewrite(b, b.input, "conv2d_pooled_input", node(b.input).out(0), dy);
            node(b.input).inputs = {node(b.input).in(0), dy, y};
        }
        if (b.weight >= 0) {
            rewrite(b, b.weight, "conv2d_pooled_weight", node(b.weight).in(0), dy);
            node(b.weight).inputs = {node(b.weight).in(0), dy, y};
            node(b.weight).outputs = {node(b.weight).out(0), b.bias < 0 ? kNone : node(b.bias).out(0)};
        }
    }
    for (ValueId id : lanes) graph.value(id).type = in_lanes(graph.type(id));
    remove_nodes(graph, gone);
}

}  // namespace fastconv::program
