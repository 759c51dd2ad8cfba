#include <map>

#include "program/kind.h"
#include "program/registry.h"

namespace fastconv::program {
namespace {

const std::map<std::string, NodeKind>& all_kinds() {
    static const std::map<std::string, NodeKind> kinds = [] {
        KindList list;
        add_memory_kinds(list);
        add_activation_kinds(list);
        add_batch_norm_kinds(list);
        add_concat_kinds(list);
        add_conv2d_kinds(list);
        add_dropout_kinds(list);
        add_elementwise_kinds(list);
        add_gather_kinds(list);
        add_linear_kinds(list);
        add_local_response_norm_kinds(list);
        add_matmul_kinds(list);
        add_optimizer_kinds(list);
        add_pad_kinds(list);
        add_pool2d_kinds(list);
        add_reduce_kinds(list);
        add_resample_kinds(list);
        add_softmax_loss_kinds(list);
        std::map<std::string, NodeKind> by_name;
        for (const NodeKind& kind : list) by_name.emplace(kind.name, kind);
        return by_name;
    }();
    return kinds;
}

}  // namespace

const NodeKind& node_kind(const std::string& name) {
    const auto found = all_kinds().find(name);
    if (found == all_kinds().end()) throw ShapeError("program: there is no node kind '" + name + "'");
    return found->second;
}

void Call::operands(size_t least, size_t most) const {
    if (in.size() < least || in.size() > most)
        throw ShapeError(message(name, ": expects ", least, " to ", most, " operands, got ", in.size()));
    for (size_t i = 0; i < least; ++i)
        if (!has[i]) throw ShapeError(message(name, ": operand ", i, " is missing"));
}

Call describe(const Graph& graph, const Node& node) {
    Call call{
        node.kind->name, node.attributes, graph.types(node.inputs), {}, graph.types(node.outputs), {}, {}};
    call.cache = graph.cache.get();
    for (ValueId id : node.inputs) {
        call.has.push_back(id != kNone);
        const bool fixed = id != kNone && graph.value(id).source == Source::constant;
        call.constant.push_back(fixed ? graph.value(id).data : nullptr);
    }
    for (ValueId id : node.outputs) call.wanted.push_back(id != kNone);
    return call;
}

bool pitch_allowed(const Graph& graph, const Node& node, bool result, size_t i) {
    const unsigned bits = result ? node.kind->pitched_out : node.kind->pitched_in;
    if (!(bits >> (i < 31 ? i : 31) & 1)) return false;
    if (node.attributes.has("layout")) return node.attributes.get<std::string>("layout") == "NHWC";
    const Shape& shape = graph.type(result ? node.out(i) : node.in(i)).shape;
    return node.attributes.get<int64_t>("dim") == shape.ndim - 1;
}

}  // namespace fastconv::program
