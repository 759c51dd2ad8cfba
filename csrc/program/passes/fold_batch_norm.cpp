#include <cmath>
#include <string>

#include "core/bfloat16.h"
#include "program/kind.h"
#include "program/passes/passes.h"

namespace fastconv::program {
namespace {

// An array of weights as double.
class Numbers {
  public:
    explicit Numbers(const Value* v) : v_(v) {}
    double at(int64_t i, double otherwise) const {
        if (!v_) return otherwise;
        if (v_->type.dtype == DType::f64) return static_cast<const double*>(v_->data)[i];
        if (v_->type.dtype == DType::bf16) return to_float(static_cast<const bfloat16*>(v_->data)[i]);
        return static_cast<double>(static_cast<const float*>(v_->data)[i]);
    }

  private:
    const Value* v_;
};

template <class T>
void scale_run(const void* from, void* to, int64_t begin, int64_t end, double scale) {
    const T* a = static_cast<const T*>(from);
    T* b = static_cast<T*>(to);
    for (int64_t i = begin; i < end; ++i) b[i] = narrow<T>(static_cast<double>(widen(a[i])) * scale);
}

void scale_run(DType type, const void* from, void* to, int64_t begin, int64_t end, double scale) {
    if (type == DType::f64) return scale_run<double>(from, to, begin, end, scale);
    if (type == DType::bf16) return scale_run<bfloat16>(from, to, begin, end, scale);
    scale_run<float>(from, to, begin, end, scale);
}

void set_number(DType type, void* to, int64_t i, double x) {
    if (type == DType::f64) static_cast<double*>(to)[i] = x;
    if (type == DType::bf16) static_cast<bfloat16*>(to)[i] = to_bfloat16(static_cast<float>(x));
    if (type == DType::f32) static_cast<float*>(to)[i] = static_cast<float>(x);
}

bool all_constant(const Graph& graph, const Node& node, size_t first, size_t last) {
    for (size_t i = first; i <= last; ++i)
        if (node.in(i) != kNone && graph.value(node.in(i)).source != Source::constant) return false;
    return true;
}

// y = (conv(x, w) + b - mean) * scale + shift = conv(x, w * scale) + ((b - mean) * scale + shift).
void fold(Graph& graph, Node& conv, const Node& norm) {
    const double eps = norm.attributes.number("eps");
    const Value weight = graph.value(conv.in(1));  // a copy: values may move as constants are added
    const DType dtype = weight.type.dtype;
    const int64_t outputs = weight.type.shape[0];
    int64_t each = 1;
    for (int i = 1; i < weight.type.shape.ndim; ++i) each *= weight.type.shape[i];
    const auto numbers = [&](ValueId id) { return Numbers(id == kNone ? nullptr : &graph.value(id)); };
    const Numbers bias = numbers(conv.in(2)), gamma = numbers(norm.in(1)), beta = numbers(norm.in(2)),
                  mean = numbers(norm.in(3)), var = numbers(norm.in(4));
    const auto scale = [&](int64_t k) { return gamma.at(k, 1) / std::sqrt(var.at(k, 1) + eps); };
    std::string key = message("fold ", eps);
    for (ValueId id : {conv.in(1), conv.in(2), norm.in(1), norm.in(2), norm.in(3), norm.in(4)})
        key += message(' ', id == kNone ? nullptr : graph.value(id).data);

    const Type shift{dtype, {outputs}};
    const auto scaled =
        graph.cache->get(key + " weight", static_cast<size_t>(bytes_of(weight.type)), [&](void* to) {
            for (int64_t k = 0; k < outputs; ++k)
                scale_run(dtype, weight.data, to, k * each, (k + 1) * each, scale(k));
        });
    const auto shifts = graph.cache->get(key + " shift", static_cast<size_t>(bytes_of(shift)), [&](void* to) {
        for (int64_t k = 0; k < outputs; ++k)
            set_number(dtype, to, k, (bias.at(k, 0) - mean.at(k, 0)) * scale(k) + beta.at(k, 0));
    });
    conv.inputs.resize(3, kNone);
    conv.inputs[1] = graph.add_constant(weight.type, weight.name, scaled);
    conv.inputs[2] = graph.add_constant(shift, weight.name + ".shift", shifts);
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
