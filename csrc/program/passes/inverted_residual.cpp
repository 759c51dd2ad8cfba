#include <algorithm>

#include "ops/conv2d/program.h"
#include "program/kind.h"
#include "program/passes/passes.h"

namespace fastconv::program {
namespace {

// Floats: wide arrays of fewer are in L2 as it is, and weights of more would not stay there beside the rows.
constexpr int64_t kWide = 128 << 10, kWeights = 64 << 10;
// Rows of output: with fewer, threads compute too many of the rows that two stripes read twice.
constexpr int64_t kFewestRows = 14;

class Finder {
  public:
    explicit Finder(const Graph& graph) : graph_(graph), uses_(graph) {}

    const Node& node(int n) const { return graph_.nodes[static_cast<size_t>(n)]; }

    // The nodes of a block around the depthwise convolution n; false where there is nothing to win.
    bool find(int n, int& expand, int& project) const {
        expand = project = -1;
        const Node& middle = node(n);
        if (!plain(middle, "depthwise") || middle.in(3) != kNone) return false;
        const Call call = describe(graph_, middle);
        const Conv2dProblem d = problem(call);
        const auto fits = [](const WindowAxis& a) {
            return a.kernel >= 3 && a.kernel <= 7 && a.stride <= 2 && a.dilation == 1 &&
                   a.pad_begin < a.kernel && a.pad_end < a.kernel;
        };
        if (d.k != d.c || d.c < 16 || !fits(d.vertical) || !fits(d.horizontal) || d.p < kFewestRows)
            return false;
        const int maker = uses_.maker(middle.in(0)), reader = uses_.only_reader(middle.out(0));
        if (maker >= 0 && uses_.only_reader(middle.in(0)) == n && point(node(maker)) &&
            node(maker).in(3) == kNone)
            expand = maker;
        if (reader >= 0 && node(reader).in(0) == middle.out(0) && node(reader).in(3) != middle.out(0) &&
            point(node(reader)))
            project = reader;
        int64_t weights = 0;
        for (int other : {expand, project})
            if (other >= 0) {
                const Conv2dProblem p = problem(describe(graph_, node(other)));
                weights += p.c * p.k;
            }
        if (weights > kWeights) return false;
        const int64_t before = expand >= 0 ? d.pixels_in() * d.c : 0;
        const int64_t after = project >= 0 ? d.pixels_out() * d.c : 0;
        return std::max(before, after) >= kWide;
    }

  private:
    static Conv2dProblem problem(const Call& c) {
        return conv2d_problem(c.name, c.in[0].dtype, c.in[0].shape, c.in[1].shape, conv2d_params(c));
    }
    bool constant(ValueId id) const { return id == kNone || graph_.value(id).source == Source::constant; }
    // A convolution that would run `algorithm`, with no more than a residual and an activation that tiles
    // apply.
    bool plain(const Node& conv, const char* algorithm) const {
        if (conv.kind != &node_kind("conv2d") || conv.out(1) != kNone || conv.in(4) != kNone ||
            graph_.type(conv.in(0)).dtype != DType::f32 || graph_.type(conv.in(0)).pitch ||
            graph_.type(conv.out(0)).pitch || conv.attributes.get<std::string>("layout") != "NHWC" ||
            !constant(conv.in(1)) || !constant(conv.in(2)))
            return false;
        if (conv.attributes.has("activation")) {
            const auto& name = conv.attributes.get<std::string>("activation");
            if (name != "relu" && name != "relu6") return false;
        }
        const auto choice = conv2d_choice(describe(graph_, conv));
        return choice && choice->chosen == algorithm;
    }
    bool point(const Node& conv) const {
        if (!plain(conv, "implicit_gemm")) return false;
        const Conv2dProblem p = problem(describe(graph_, conv));
        return p.unpadded_1x1() && p.groups == 1 && p.vertical.stride == 1 && p.horizontal.stride == 1;
    }

    const Graph& graph_;
    const Uses uses_;
};

}  // namespace

void fuse_inverted_residual(Graph& graph) {
    const Finder finder(graph);
    std::vector<bool> gone(graph.nodes.size(), false);
    for (size_t n = 0; n < graph.nodes.size(); ++n) {
        int expand = -1, project = -1;
        if (gone[n] || !finder.find(static_cast<int>(n), expand, project)) continue;
        // A 1x1 between two depthwise convolutions belongs to the first.
        if (expand >= 0 && gone[static_cast<size_t>(expand)]) continue;
        const Node middle = graph.nodes[n];
        Node fused = middle;
        fused.kind = &node_kind("inverted_residual");
        fused.inputs = {middle.in(0), kNone, kNone, middle.in(1), middle.in(2), kNone, kNone, kNone};
        const auto take = [&](int other, size_t at, const char* activation) {
            const Node& it = graph.nodes[static_cast<size_t>(other)];
            fused.inputs[at] = it.in(1), fused.inputs[at + 1] = it.in(2);
            if (it.attributes.has("activation"))
                fused.attributes.set(activation, it.attributes.get<std::string>("activation"));
            gone[static_cast<size_t>(other)] = true;
        };
        size_t last = n;
        if (expand >= 0) take(expand, 1, "expand_activation"), fused.inputs[0] = finder.node(expand).in(0);
        if (project >= 0) {
            take(project, 5, "project_activation");
            fused.inputs[7] = finder.node(project).in(3);
            fused.outputs = {finder.node(project).out(0)};
            last = static_cast<size_t>(project);
        } else {
            fused.outputs = {middle.out(0)};
        }
        gone[n] = true, gone[last] = false;
        graph.nodes[last] = std::move(fused);
    }
    remove_nodes(graph, gone);
}

}  // namespace fastconv::program
