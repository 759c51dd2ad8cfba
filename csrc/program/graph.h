// A network, or a whole training step, as a list of nodes in the order in which they run.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/memory.h"
#include "fastconv/types.h"
#include "program/attributes.h"
#include "program/weight_cache.h"

namespace fastconv::program {

struct NodeKind;

using ValueId = int32_t;
inline constexpr ValueId kNone = -1;

// With a pitch a value is a slice of the last dimension of another one's memory: TensorView.
struct Type {
    DType dtype = DType::f32;
    Shape shape;
    int64_t pitch = 0;
    bool operator==(const Type& o) const { return dtype == o.dtype && shape == o.shape && pitch == o.pitch; }
    bool operator!=(const Type& o) const { return !(*this == o); }
};
// Of its elements, without what lies between them.
int64_t bytes_of(const Type& type);
// From its first element to behind its last row, whole.
int64_t span_of(const Type& type);
// "float32 (2, 3)", "float32 (2, 3 of 8)"
std::string to_string(const Type& type);

// Where a value comes from.
enum class Source : uint8_t {
    input,     // handed over at every run
    state,     // an array of the caller's that lives across runs; nodes may write it
    constant,  // an array whose contents never change
    node,
};

struct Value {
    Type type;
    Source source = Source::node;
    std::string name;
    void* data = nullptr;  // of a state or constant
};

struct Node {
    const NodeKind* kind = nullptr;
    std::vector<ValueId> inputs;   // kNone for an operand that is left out
    std::vector<ValueId> outputs;  // kNone for a result that nobody asked for
    Attributes attributes;

    ValueId in(size_t i) const { return i < inputs.size() ? inputs[i] : kNone; }
    ValueId out(size_t i) const { return i < outputs.size() ? outputs[i] : kNone; }
    // Its operands lie in its result, or its results in its operand: nothing to run.
    bool in_place() const { return attributes.has("in_place"); }
};

class Graph {
  public:
    std::vector<Value> values;
    std::vector<Node> nodes;
    std::vector<ValueId> inputs;   // in the order in which a run takes them
    std::vector<ValueId> outputs;  // in the order in which it gives them
    // Shared by the graphs of a program.
    std::shared_ptr<WeightCache> cache = std::make_shared<WeightCache>();

    ValueId add_value(const Type& type, Source source, const std::string& name = "", void* data = nullptr);
    ValueId add_input(const Type& type, const std::string& name);
    // A constant in memory that belongs to the graph and its copies, to be filled by the caller.
    ValueId add_constant(const Type& type, const std::string& name);
    // One from the cache.
    ValueId add_constant(const Type& type, const std::string& name, WeightCache::Entry memory);
    // Appends a node; its results' types come from its kind. ShapeError or DTypeError where it does not fit.
    Node& add(const std::string& kind, std::vector<ValueId> operands, Attributes attributes);

    const Value& value(ValueId id) const { return values[static_cast<size_t>(id)]; }
    Value& value(ValueId id) { return values[static_cast<size_t>(id)]; }
    const Type& type(ValueId id) const { return value(id).type; }
    // The types of a node's operands; a default Type for those that are left out.
    std::vector<Type> types(const std::vector<ValueId>& ids) const;

    // A line a node: "%7 = conv2d(%0, weight, -) {stride=(1, 1)} : float32 (2, 8, 8, 4)".
    std::string dump() const;

  private:
    std::string label(ValueId id) const;
    std::vector<std::shared_ptr<const Workspace>> owned_;
};

// Who makes and who reads each value. Valid until the graph changes.
class Uses {
  public:
    explicit Uses(const Graph& graph);
    // The node that makes `id`, or -1.
    int maker(ValueId id) const { return makers_[static_cast<size_t>(id)]; }
    const std::vector<int>& readers(ValueId id) const { return readers_[static_cast<size_t>(id)]; }
    bool is_output(ValueId id) const { return output_[static_cast<size_t>(id)]; }
    // The node that alone reads `id`, which is not an output; else -1.
    int only_reader(ValueId id) const {
        return !is_output(id) && readers(id).size() == 1 ? readers(id)[0] : -1;
    }

  private:
    std::vector<int> makers_;
    std::vector<std::vector<int>> readers_;
    std::vector<bool> output_;
};

// Where each value is made by now, for passes that let one node make what another made.
std::vector<int> makers_of(const Graph& graph, const Uses& uses);
// Of the operands of a sum of two arrays of one type the one that is made last (so that the other is there
// when that one's maker runs); -1 where `node` is no such sum.
int later_summand(const Graph& graph, const Node& node, const std::vector<int>& makers);

// Puts `to` in the place of `from` wherever a node or the caller reads it.
void replace(Graph& graph, ValueId from, ValueId to);
// Takes out the nodes whose flag is set.
void remove_nodes(Graph& graph, const std::vector<bool>& gone);

}  // namespace fastconv::program
