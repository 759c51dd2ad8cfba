#include "program/graph.h"

#include <sstream>

#include "core/checks.h"
#include "program/kind.h"

namespace fastconv::program {
namespace {

struct Print {
    std::ostringstream& out;
    void operator()(bool v) const { out << (v ? "true" : "false"); }
    void operator()(int64_t v) const { out << v; }
    void operator()(double v) const { out << v; }
    void operator()(const std::string& v) const { out << v; }
    void operator()(const std::vector<int64_t>& v) const {
        out << '(';
        for (size_t i = 0; i < v.size(); ++i) out << (i ? ", " : "") << v[i];
        out << ')';
    }
};

}  // namespace

int64_t bytes_of(const Type& type) {
    return checked_mul("program", element_count("program", type.shape), size_of(type.dtype));
}

int64_t span_of(const Type& type) {
    Type whole = type;
    if (type.pitch) whole.shape[type.shape.ndim - 1] = type.pitch;
    return bytes_of(whole);
}

std::string to_string(const Type& type) {
    std::string text = std::string(fastconv::name(type.dtype)) + " " + fastconv::to_string(type.shape);
    if (type.pitch) text.insert(text.size() - 1, " of " + std::to_string(type.pitch));
    return text;
}

ValueId Graph::add_value(const Type& type, Source source, const std::string& name, void* data) {
    values.push_back({type, source, name, data});
    return static_cast<ValueId>(values.size()) - 1;
}

ValueId Graph::add_input(const Type& type, const std::string& name) {
    inputs.push_back(add_value(type, Source::input, name));
    return inputs.back();
}

ValueId Graph::add_constant(const Type& type, const std::string& name) {
    return add_constant(type, name, std::make_shared<const Workspace>(static_cast<size_t>(bytes_of(type))));
}

ValueId Graph::add_constant(const Type& type, const std::string& name, WeightCache::Entry memory) {
    owned_.push_back(std::move(memory));
    return add_value(type, Source::constant, name, owned_.back()->as<void>());
}

Node& Graph::add(const std::string& kind, std::vector<ValueId> operands, Attributes attributes) {
    for (ValueId id : operands)
        if (id != kNone && (id < 0 || static_cast<size_t>(id) >= values.size()))
            throw ShapeError(message("program: ", kind, ": there is no value ", id));
    Node node;
    node.kind = &node_kind(kind);
    node.inputs = std::move(operands);
    node.attributes = std::move(attributes);
    const std::vector<Type> results = node.kind->infer(describe(*this, node));
    for (const Type& type : results) node.outputs.push_back(add_value(type, Source::node));
    nodes.push_back(std::move(node));
    return nodes.back();
}

std::vector<Type> Graph::types(const std::vector<ValueId>& ids) const {
    std::vector<Type> result;
    result.reserve(ids.size());
    for (ValueId id : ids) result.push_back(id == kNone ? Type{} : type(id));
    return result;
}

std::string Graph::label(ValueId id) const {
    if (id == kNone) return "-";
    const Value& v = value(id);
    return v.name.empty() ? "%" + std::to_string(id) : v.name;
}

std::string Graph::dump() const {
    std::ostringstream out;
    const auto list = [&](const std::vector<ValueId>& ids) {
        for (size_t i = 0; i < ids.size(); ++i) out << (i ? ", " : "") << label(ids[i]);
    };
    for (ValueId id : inputs) out << label(id) << " : " << to_string(type(id)) << '\n';
    for (const Node& node : nodes) {
        list(node.outputs);
        out << (node.outputs.empty() ? "" : " = ") << node.kind->name << '(';
        list(node.inputs);
        out << ')';
        const auto& entries = node.attributes.entries();
        for (size_t i = 0; i < entries.size(); ++i) {
            out << (i ? ", " : " {") << entries[i].first << '=';
            std::visit(Print{out}, entries[i].second);
        }
        out << (entries.empty() ? "" : "}");
        for (size_t i = 0, shown = 0; i < node.outputs.size(); ++i)
            if (node.outputs[i] != kNone) out << (shown++ ? ", " : " : ") << to_string(type(node.outputs[i]));
        out << '\n';
    }
    out << "return ";
    list(outputs);
    out << '\n';
    return out.str();
}

Uses::Uses(const Graph& graph)
    : makers_(graph.values.size(), -1), readers_(graph.values.size()), output_(graph.values.size(), false) {
    for (size_t n = 0; n < graph.nodes.size(); ++n) {
        for (ValueId id : graph.nodes[n].outputs)
            if (id != kNone) makers_[static_cast<size_t>(id)] = static_cast<int>(n);
        for (ValueId id : graph.nodes[n].inputs)
            if (id != kNone) readers_[static_cast<size_t>(id)].push_back(static_cast<int>(n));
    }
    for (ValueId id : graph.outputs) output_[static_cast<size_t>(id)] = true;
}

std::vector<int> makers_of(const Graph& graph, const Uses& uses) {
    std::vector<int> makers(graph.values.size());
    for (size_t v = 0; v < makers.size(); ++v) makers[v] = uses.maker(static_cast<ValueId>(v));
    return makers;
}

int later_summand(const Graph& graph, const Node& node, const std::vector<int>& makers) {
    if (node.kind != &node_kind("elementwise") || node.attributes.get<std::string>("kind") != "add")
        return -1;
    const ValueId a = node.in(0), b = node.in(1);
    if (a == b || graph.type(a) != graph.type(b)) return -1;
    return makers[static_cast<size_t>(b)] > makers[static_cast<size_t>(a)] ? 1 : 0;
}

void replace(Graph& graph, ValueId from, ValueId to) {
    for (Node& node : graph.nodes)
        for (ValueId& id : node.inputs)
            if (id == from) id = to;
    for (ValueId& id : graph.outputs)
        if (id == from) id = to;
}

void remove_nodes(Graph& graph, const std::vector<bool>& gone) {
    std::vector<Node> kept;
    kept.reserve(graph.nodes.size());
    for (size_t n = 0; n < graph.nodes.size(); ++n)
        if (!gone[n]) kept.push_back(std::move(graph.nodes[n]));
    graph.nodes = std::move(kept);
}

}  // namespace fastconv::program
