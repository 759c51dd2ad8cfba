// fastconv._core.Graph and Program.
#include <pybind11/stl.h>

#include <cstring>
#include <memory>
#include <tuple>
#include <vector>

#include "bindings/bindings.h"
#include "ops/conv2d/program.h"
#include "program/arena.h"
#include "program/kind.h"
#include "program/passes/passes.h"
#include "program/program.h"

namespace fastconv::bindings {
namespace {

using namespace fastconv::program;

constexpr const char* kOp = "program";

Attribute to_attribute(const std::string& name, py::handle value) {
    if (py::isinstance<py::bool_>(value)) return value.cast<bool>();
    if (py::isinstance<py::int_>(value)) return value.cast<int64_t>();
    if (py::isinstance<py::float_>(value)) return value.cast<double>();
    if (py::isinstance<py::str>(value)) return value.cast<std::string>();
    if (py::isinstance<py::tuple>(value) || py::isinstance<py::list>(value)) {
        std::vector<int64_t> values;
        for (py::handle v : value) values.push_back(to_int(kOp, name.c_str(), v));
        return values;
    }
    throw DTypeError(message(kOp, ": attribute '", name, "' is of no known type"));
}

std::vector<ValueId> to_ids(const py::sequence& ids, const Graph& graph) {
    std::vector<ValueId> result;
    for (py::handle id : ids) {
        const int64_t v = id.is_none() ? kNone : to_int(kOp, "value", id);
        if (v < kNone || v >= static_cast<int64_t>(graph.values.size()))
            throw ShapeError(message(kOp, ": there is no value ", v));
        result.push_back(static_cast<ValueId>(v));
    }
    return result;
}

DType to_dtype(const py::object& dtype) {
    if (py::isinstance<py::str>(dtype)) {
        const std::string text = dtype.cast<std::string>();
        for (DType t : {DType::f32, DType::f64, DType::u8, DType::i32, DType::i64, DType::bf16})
            if (text == name(t)) return t;
    }
    throw DTypeError(message(kOp, ": unknown element type ", py::str(dtype).cast<std::string>()));
}

// A graph and the arrays that it reads and writes in place.
struct GraphAndArrays {
    Graph graph;
    py::list arrays;

    int input(const py::object& dtype, const py::object& shape, const std::string& name) {
        const Type type{to_dtype(dtype), to_shape(kOp, "shape", shape)};
        element_count(kOp, type.shape);
        return graph.add_input(type, name);
    }
    int state(py::object array, const std::string& name) {
        const ArrayInOut a(kOp, name.c_str(), array);
        arrays.append(array);
        return graph.add_value({a.dtype(), a.shape()}, Source::state, name, a.data());
    }
    // An int64 array, such as a counter, that ArrayInOut does not take.
    int counter(py::array_t<int64_t> array, const std::string& name) {
        Shape shape;
        for (py::ssize_t i = 0; i < array.ndim(); ++i)
            shape.dims[static_cast<size_t>(shape.ndim++)] = array.shape(i);
        arrays.append(array);
        return graph.add_value({DType::i64, shape}, Source::state, name, array.mutable_data());
    }
    // An array that nobody changes any more. It is read where it is; one that cannot be is copied.
    int constant(py::object array, const std::string& name) {
        const ArrayIn a(kOp, name.c_str(), array);
        const Type type{a.dtype(), a.shape()};
        if (a.data() == py::array(array).data()) {
            arrays.append(array);
            return graph.add_value(type, Source::constant, name, const_cast<void*>(a.data()));
        }
        const ValueId id = graph.add_constant(type, name);
        std::memcpy(graph.value(id).data, a.data(), static_cast<size_t>(bytes_of(type)));
        return id;
    }
    py::list add(const std::string& kind, const py::sequence& operands, const py::dict& attributes) {
        Attributes a;
        for (auto [key, value] : attributes) {
            const std::string text = py::str(key);
            a.set(text, to_attribute(text, value));
        }
        const Node& node = graph.add(kind, to_ids(operands, graph), std::move(a));
        py::list result;
        for (ValueId id : node.outputs) result.append(id);
        return result;
    }
    void set_outputs(const py::sequence& ids) {
        graph.outputs = to_ids(ids, graph);
        for (ValueId id : graph.outputs)
            if (id == kNone) throw ShapeError("program: an output is missing");
    }
    py::tuple type(int id) const {
        if (id < 0 || static_cast<size_t>(id) >= graph.values.size())
            throw ShapeError(message(kOp, ": there is no value ", id));
        const Type& t = graph.type(id);
        py::tuple shape(static_cast<size_t>(t.shape.ndim));
        for (int i = 0; i < t.shape.ndim; ++i) shape[static_cast<size_t>(i)] = t.shape[i];
        return py::make_tuple(name(t.dtype), shape);
    }

    // The convolutions: their places in the list of nodes, and what conv2d_choice says.
    py::list convolutions() const {
        py::list result;
        for (size_t n = 0; n < graph.nodes.size(); ++n)
            if (const auto choice = conv2d_choice(describe(graph, graph.nodes[n]))) {
                py::list algorithms;
                for (const std::string& name : choice->algorithms) algorithms.append(name);
                result.append(py::make_tuple(n, choice->problem, choice->chosen, algorithms));
            }
        return result;
    }
    Node& node(size_t n) {
        if (n >= graph.nodes.size()) throw ShapeError(message(kOp, ": there is no node ", n));
        return graph.nodes[n];
    }
    void choose(size_t n, const std::string& algorithm) { node(n).attributes.set("algorithm", algorithm); }
    // A graph of one node: its operands are inputs, but for constants, which stay this graph's.
    GraphAndArrays alone(size_t n) {
        GraphAndArrays made{graph, py::list(arrays)};  // what constants point into lives on
        made.graph.cache = std::make_shared<WeightCache>();
        made.graph.nodes.clear();
        made.graph.inputs.clear();
        made.graph.outputs.clear();
        Node copy = node(n);
        for (ValueId& id : copy.inputs) {
            if (id == kNone) continue;
            const Value& value = graph.value(id);
            if (value.source != Source::constant) id = made.graph.add_input(value.type, "operand");
        }
        for (ValueId& id : copy.outputs) {
            if (id == kNone) continue;
            id = made.graph.add_value(graph.type(id), Source::node);
            made.graph.outputs.push_back(id);
        }
        made.graph.nodes.push_back(std::move(copy));
        return made;
    }
    py::list input_types() const {
        py::list result;
        for (ValueId id : graph.inputs) result.append(type(id));
        return result;
    }
};

// The caller's inputs, checked, and arrays for the results.
struct Arrays {
    std::vector<ArrayIn> inputs;
    std::vector<ArrayOut> results;
    std::vector<const void*> in;
    std::vector<void*> out;

    Arrays(const Graph& graph, const py::sequence& given) {
        if (given.size() != graph.inputs.size())
            throw ShapeError(message(kOp, ": expects ", graph.inputs.size(), " inputs, got ", given.size()));
        inputs.reserve(given.size());
        for (size_t i = 0; i < given.size(); ++i) {
            const Value& value = graph.value(graph.inputs[i]);
            const char* what = value.name.c_str();
            inputs.emplace_back(kOp, what, given[i]);
            require_dtype(kOp, what, inputs[i].dtype(), value.type.dtype);
            require_shape(kOp, what, inputs[i].shape(), value.type.shape);
            in.push_back(inputs[i].data());
        }
        results.reserve(graph.outputs.size());
        for (ValueId id : graph.outputs) {
            results.emplace_back(kOp, graph.type(id).dtype, graph.type(id).shape);
            out.push_back(results.back().data());
        }
    }
};

constexpr int64_t kMostRuns = 1000000;

class BoundProgram {
  public:
    explicit BoundProgram(const GraphAndArrays& g) : arrays_(py::list(g.arrays)), program_(g.graph) {}

    // The results, and whether all steps ran: where one ended the run early, later results are undefined.
    py::tuple run(const py::sequence& inputs) {
        Arrays arrays(program_.graph(), inputs);
        bool whole = false;
        {
            const Computing computing;
            whole = program_.run(arrays.in.data(), arrays.out.data());
        }
        py::tuple result(arrays.results.size());
        for (size_t i = 0; i < arrays.results.size(); ++i) result[i] = arrays.results[i].release();
        return py::make_tuple(result, whole);
    }

    py::list profile(const py::sequence& inputs, const py::object& count) {
        const int64_t runs = to_int("profile", "runs", count);
        if (runs < 1 || runs > kMostRuns)
            throw ShapeError(message("profile: runs must be 1 to ", kMostRuns, ", got ", runs));
        Arrays arrays(program_.graph(), inputs);
        std::vector<StepTime> times;
        {
            const Computing computing;
            times = program_.profile(arrays.in.data(), arrays.out.data(), static_cast<int>(runs));
        }
        py::list result;
        for (const StepTime& t : times) {
            py::dict d;
            d["op"] = t.name, d["algorithm"] = t.algorithm, d["result"] = t.what;
            d["seconds"] = t.seconds, d["operations"] = t.operations, d["bytes"] = t.bytes;
            result.append(d);
        }
        return result;
    }

    py::dict memory() const {
        const Plan& plan = program_.plan();
        py::dict d;
        d["arena"] = plan.arena_bytes;
        d["tensors"] = plan.tensor_bytes;
        d["workspace"] = plan.workspace_bytes;
        d["steps"] = plan.steps.size();
        return d;
    }

  private:
    py::list arrays_;  // what the program's pointers point into
    Program program_;
};

}  // namespace

void bind_program(py::module_& m) {
    py::class_<WeightCache, std::shared_ptr<WeightCache>>(m, "WeightCache").def(py::init<>());
    py::class_<GraphAndArrays>(m, "Graph")
        .def(py::init([](std::shared_ptr<WeightCache> cache) {
                 GraphAndArrays made;
                 if (cache) made.graph.cache = std::move(cache);
                 return made;
             }),
             py::arg("cache") = nullptr)
        .def("input", &GraphAndArrays::input, py::arg("dtype"), py::arg("shape"), py::arg("name"))
        .def("state", &GraphAndArrays::state, py::arg("array"), py::arg("name"))
        .def("counter", &GraphAndArrays::counter, py::arg("array"), py::arg("name"))
        .def("constant", &GraphAndArrays::constant, py::arg("array"), py::arg("name"))
        .def("add", &GraphAndArrays::add, py::arg("kind"), py::arg("operands"), py::arg("attributes"))
        .def("set_outputs", &GraphAndArrays::set_outputs, py::arg("values"))
        .def("type", &GraphAndArrays::type, py::arg("value"))
        .def("convolutions", &GraphAndArrays::convolutions)
        .def("choose", &GraphAndArrays::choose, py::arg("node"), py::arg("algorithm"))
        .def("alone", &GraphAndArrays::alone, py::arg("node"))
        .def("input_types", &GraphAndArrays::input_types)
        .def("run_pass", [](GraphAndArrays& g, const std::string& name) { run_pass(g.graph, name); })
        .def("copy", [](const GraphAndArrays& g) { return GraphAndArrays{g.graph, py::list(g.arrays)}; })
        .def("dump", [](const GraphAndArrays& g) { return g.graph.dump(); });
    m.def("graph_passes", [] {
        py::list names;
        for (const std::string& name : pass_names()) names.append(name);
        return names;
    });
    // What `place` makes of (bytes, first, last, scratch), for tests: the whole's size and each one's offset.
    m.def(
        "arena_places",
        [](const std::vector<std::tuple<size_t, int, int, bool>>& given, int team) {
            std::vector<Interval> intervals;
            for (const auto& [bytes, first, last, scratch] : given)
                intervals.push_back({bytes, first, last, scratch, 0});
            const size_t total = place(intervals, team);
            std::vector<size_t> offsets;
            for (const Interval& i : intervals) offsets.push_back(i.offset);
            return std::make_tuple(total, offsets);
        },
        py::arg("intervals"), py::arg("team"));
    py::class_<BoundProgram>(m, "Program")
        .def(py::init<const GraphAndArrays&>())
        .def("run", &BoundProgram::run, py::arg("inputs"))
        .def("profile", &BoundProgram::profile, py::arg("inputs"), py::arg("runs"))
        .def("memory", &BoundProgram::memory);
}

}  // namespace fastconv::bindings
