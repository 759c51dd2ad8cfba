#include <string>
#include <vector>

#include "program/kind.h"
#include "program/passes/passes.h"

namespace fastconv::program {
namespace {

bool is(const Node& node, const char* kind) { return node.kind == &node_kind(kind); }

using Amounts = std::vector<int64_t>;

// Whether a node puts zeros around pictures, and nothing else.
bool borders_pictures(const Node& pad, bool nchw) {
    if (!is(pad, "pad") || pad.attributes.get<std::string>("mode") != "constant" ||
        pad.attributes.number("value") != 0)
        return false;
    const auto& before = pad.attributes.get<Amounts>("before");
    const auto& after = pad.attributes.get<Amounts>("after");
    if (before.size() != 4) return false;
    const size_t first = nchw ? 2 : 1;
    for (size_t d = 0; d < 4; ++d) {
        if (before[d] < 0 || after[d] < 0) return false;
        if ((d < first || d > first + 1) && (before[d] || after[d])) return false;
    }
    return true;
}

}  // namespace

void join_padding(Graph& graph) {
    const Uses uses(graph);
    for (Node& conv : graph.nodes) {
        if (!is(conv, "conv2d") || conv.attributes.has("padding_after") || conv.in(4) != kNone) continue;
        const Amounts* padding = nullptr;  // absent where it is "same", a size that would change
        for (const auto& [name, value] : conv.attributes.entries())
            if (name == "padding") padding = std::get_if<Amounts>(&value);
        const int at = uses.maker(conv.in(0));
        if (!padding || at < 0 || uses.only_reader(conv.in(0)) < 0) continue;
        const Node& pad = graph.nodes[static_cast<size_t>(at)];
        const bool nchw = conv.attributes.get<std::string>("layout") == "NCHW";
        if (!borders_pictures(pad, nchw)) continue;
        const auto& before = pad.attributes.get<Amounts>("before");
        const auto& after = pad.attributes.get<Amounts>("after");
        const size_t first = nchw ? 2 : 1;
        const Amounts own = *padding;
        conv.inputs[0] = pad.in(0);
        conv.attributes.set("padding", Amounts{own[0] + before[first], own[1] + before[first + 1]});
        conv.attributes.set("padding_after", Amounts{own[0] + after[first], own[1] + after[first + 1]});
    }
}

}  // namespace fastconv::program
