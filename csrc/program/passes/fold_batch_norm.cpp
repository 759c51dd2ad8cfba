#include <cmath>
#include <cstring>

#include "core/bfloat16.h"
#include "program/kind.h"
#include "program/passes/passes.h"

namespace fastconv::program {
namespace {

double number_at(const Value& v, int64_t i) {
    if (v.type.dtype == DType::f64) return static_cast<const double*>(v.data)[i];
    if (v.type.dtype == DType::bf16) return to_float(static_cast<const bfloat16*>(v.data)[i]);
    return static_cast<double>(static_cast<const float*>(v.data)[i]);
}
void set_number(const Value& v, int64_t i, double x) {
    if (v.type.dtype == DType::f64)
        static_cast<double*>(v.data)[i] = x;
    else if (v.type.dtype == DType::bf16)
        static_cast<bfloat16*>(v.data)[i] = to_bfloat16(static_cast<float>(x));
    else
        static_cast<float*>(v.data)[i] = static_cast<float>(x);
}

bool all_constant(const Graph& graph, const Node& node, size_t first, size_t last) {
    for (size_t i = first; i <= last; ++i)
        if (node.in(i) != kNone && graph.value(node.in(i)).source != Source::constant) return false;
    return true;
}

// y = (conv(x, w) + b - mean) * scale + shift = conv(x, w * scale) + ((b - mean) * scale + shift).
void fold(Graph& graph, Node& conv, const Node& norm) {
    const double eps = norm.attributes.number("eps");
    // Copies: values may move as constants are added.
    const Value weight = graph.value(conv.in(1));
    const int64_t outputs = weight.type.shape[0];
    int64_t each = 1;
    for (int i = 1; i < weight.type.shape.ndim; ++i) each *= weight.type.shape[i];
    const auto at = [&](ValueId id, int64_t i, double otherwise) {
        return id == kNone ? otherwise : number_at(graph.value(id), i);
    };
    const ValueId new_weight = graph.add_constant(weight.type, weight.name);
    const ValueId new_bias = graph.add_constant({weight.type.dtype, {outputs}}, weight.name + ".shift");
    for (int64_t k = 0; k < outputs; ++k) {
        const double scale = at(norm.in(1), k, 1) / std::sqrt(at(norm.in(4), k, 1) + eps);
        for (int64_t i = k * each; i < (k + 1) * each; ++i)
            set_number(graph.value(new_weight), i, number_at(weight, i) * scale);
        set_number(graph.value(new_bias), k,
                   (at(conv.in(2), k, 0) - at(norm.in(3), k, 0)) * scale + at(norm.in(2), k, 0));
    }
    conv.inputs.resize(3, kNone);
    conv.inputs[1] = new_weight;
    conv.inputs[2] = new_bias;
}

}  // namespace

void fold_batch_norm(Graph& graph) {
    const Uses uses(graph);
    std::vector<std::pair<ValueId, ValueId>> moved;
    for (Node& norm : graph.nodes) {
        if (norm.kind != &node_kind("batch_norm_inference") || norm.in(5) != kNone) continue;
        if (norm.attributes.flag("relu") || uses.is_output(norm.out(1)) || uses.is_output(norm.out(2)))
            continue;
        if (!uses.readers(norm.out(1)).empty() || !uses.readers(norm.out(2)).empty()) continue;
        const int maker = uses.maker(norm.in(0));
        if (maker < 0 || uses.only_reader(norm.in(0)) < 0) continue;
        Node& conv = graph.nodes[static_cast<size_t>(maker)];
        if (conv.kind != &node_kind("conv2d") || conv.in(3) != kNone || conv.attributes.has("activation"))
            continue;
        if (!all_constant(graph, conv, 1, 2) || !all_constant(graph, norm, 1, 4)) continue;
        // The channels must be the convolution's: its layout and batch-norm's may differ.
        if (conv.attributes.get<std::string>("layout") != norm.attributes.get<std::string>("layout"))
            continue;
        fold(graph, conv, norm);
        moved.emplace_back(norm.out(0), conv.out(0));
    }
    for (const auto& [from, to] : moved) replace(graph, from, to);
}

}  // namespace fastconv::program
