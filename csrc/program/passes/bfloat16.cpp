#include "core/checks.h"
#include "cpu/layout/convert.h"
#include "program/kind.h"
#include "program/passes/passes.h"

namespace fastconv::program {

void store_bfloat16(Graph& graph) {
    const Graph before = graph;
    graph.nodes.clear();
    std::vector<ValueId> now(before.values.size(), kNone);
    const auto cast = [&](ValueId id, DType to) {
        Attributes a;
        a.set("dtype", std::string(name(to)));
        return graph.add("cast", {id}, std::move(a)).out(0);
    };
    for (size_t v = 0; v < before.values.size(); ++v) {
        const Value& value = before.values[v];
        const auto id = static_cast<ValueId>(v);
        now[v] = id;
        if (value.type.dtype != DType::f32) continue;
        if (value.source == Source::state)
            throw DTypeError("program: bfloat16 storage is for programs that do not train");
        if (value.source == Source::input) now[v] = cast(id, DType::bf16);
        if (value.source == Source::constant) {
            const Type type{DType::bf16, value.type.shape};
            const auto memory = graph.cache->get(
                message("bfloat16 ", value.data), static_cast<size_t>(bytes_of(type)), [&](void* to) {
                    FC_ISA_PICK(convert_f32_to_bf16)
                    (static_cast<const float*>(value.data), static_cast<bfloat16*>(to),
                     element_count("program", type.shape));
                });
            now[v] = graph.add_constant(type, value.name, memory);
        }
    }
    for (const Node& node : before.nodes) {
        std::vector<ValueId> operands;
        for (ValueId id : node.inputs) operands.push_back(id == kNone ? kNone : now[static_cast<size_t>(id)]);
        Attributes a = node.attributes;
        if (node.kind == &node_kind("fill") && a.get<std::string>("dtype") == name(DType::f32))
            a.set("dtype", std::string(name(DType::bf16)));
        Node& made = graph.add(node.kind->name, operands, std::move(a));
        for (size_t o = 0; o < node.outputs.size(); ++o) {
            if (node.outputs[o] == kNone)
                made.outputs[o] = kNone;
            else
                now[static_cast<size_t>(node.outputs[o])] = made.outputs[o];
        }
    }
    for (ValueId& id : graph.outputs) {
        const DType wanted = before.type(id).dtype;
        id = now[static_cast<size_t>(id)];
        if (graph.type(id).dtype != wanted) id = cast(id, wanted);
    }
}

}  // namespace fastconv::program
