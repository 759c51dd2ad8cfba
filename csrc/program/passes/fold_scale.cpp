#include <cmath>
#include <cstdio>
#include <optional>
#include <string>

#include "core/bfloat16.h"
#include "program/kind.h"
#include "program/passes/passes.h"

namespace fastconv::program {
namespace {

bool is(const Node& node, const char* kind) { return node.kind == &node_kind(kind); }

// An array of weights as double.
class Numbers {
  public:
    explicit Numbers(std::optional<Value> v) : v_(std::move(v)) {}
    // `otherwise` where there is no array.
    double at(int64_t i, double otherwise) const {
        if (!v_) return otherwise;
        if (v_->type.dtype == DType::f64) return static_cast<const double*>(v_->data)[i];
        if (v_->type.dtype == DType::bf16) return to_float(static_cast<const bfloat16*>(v_->data)[i]);
        return static_cast<double>(static_cast<const float*>(v_->data)[i]);
    }

  private:
    std::optional<Value> v_;
};

void set_number(DType type, void* to, int64_t i, double x) {
    if (type == DType::f64) static_cast<double*>(to)[i] = x;
    if (type == DType::bf16) static_cast<bfloat16*>(to)[i] = to_bfloat16(static_cast<float>(x));
    if (type == DType::f32) static_cast<float*>(to)[i] = static_cast<float>(x);
}

// All digits of a number.
std::string exact(double x) {
    char text[40];
    std::snprintf(text, sizeof text, "%a", x);
    return text;
}

// How the channels lie in an array: element i belongs to channel (i / apart) % count. A view keeps that.
struct Channels {
    int64_t count = 1, apart = 1;
};

// The channels of a picture or of rows, whose layout its maker has; without one they are the last dimension.
Channels channels_of(const Shape& shape, const Attributes& attributes) {
    if (!attributes.has("layout") || attributes.get<std::string>("layout") != "NCHW" || shape.ndim < 2)
        return {shape[shape.ndim - 1], 1};
    Channels c{shape[1], 1};
    for (int d = 2; d < shape.ndim; ++d) c.apart *= shape[d];
    return c;
}

// y = scale x + shift, with a number for each channel.
struct Line {
    ValueId operand = kNone;
    std::optional<Channels> channels;  // none: one number for all
    std::vector<double> scale, shift;
    std::string key;  // tells it from any other

    double scale_of(int64_t k) const { return scale[channels ? static_cast<size_t>(k) : 0]; }
    double shift_of(int64_t k) const { return shift[channels ? static_cast<size_t>(k) : 0]; }
    bool finite() const {
        for (double s : scale)
            if (!std::isfinite(s)) return false;
        return true;
    }
};

class Folding {
  public:
    explicit Folding(Graph& graph)
        : graph_(graph), uses_(graph), same_(graph.values.size()), alone_(same_.size()) {
        for (size_t v = 0; v < same_.size(); ++v) {
            same_[v] = static_cast<ValueId>(v);
            alone_[v] = uses_.only_reader(same_[v]) >= 0;
        }
    }

    void run() {
        std::vector<bool> gone(graph_.nodes.size(), false);
        for (size_t n = 0; n < graph_.nodes.size(); ++n) {
            Node& node = graph_.nodes[n];
            for (ValueId& id : node.inputs)
                if (id != kNone && static_cast<size_t>(id) < same_.size())
                    id = same_[static_cast<size_t>(id)];
            const std::optional<Line> line = line_of(node);
            if (!line || !line->finite()) continue;
            Node* layer = layer_behind(*line);
            if (!layer) continue;
            is(*layer, "batch_norm_inference") ? fold_norm(*layer, *line) : fold_weights(*layer, *line);
            const auto result = static_cast<size_t>(node.out(0)),
                       operand = static_cast<size_t>(line->operand);
            same_[result] = line->operand;
            alone_[operand] = alone_[result];
            gone[n] = true;
        }
        for (ValueId& id : graph_.outputs) id = same_[static_cast<size_t>(id)];
        remove_nodes(graph_, gone);
    }

  private:
    // Whoever made `id` before folding; nobody for a constant that folding has made.
    int maker(ValueId id) const { return static_cast<size_t>(id) < same_.size() ? uses_.maker(id) : -1; }

    // A value that is a constant or a view of one, with that one's memory.
    std::optional<Value> constant(ValueId id) const {
        if (id == kNone) return std::nullopt;
        const Type type = graph_.type(id);
        for (int at = maker(id); at >= 0; at = maker(id)) {
            const Node& node = graph_.nodes[static_cast<size_t>(at)];
            if (!is(node, "reshape")) return std::nullopt;
            id = node.in(0);
        }
        Value found = graph_.value(id);
        found.type = type;
        return found.source == Source::constant ? std::optional(found) : std::nullopt;
    }

    bool all_constant(const Node& node, size_t first, size_t last) const {
        for (size_t i = first; i <= last; ++i)
            if (node.in(i) != kNone && !constant(node.in(i))) return false;
        return true;
    }

    // Operands from `first` on, as part of a key.
    std::string memory_of(const Node& node, size_t first, size_t last) const {
        std::string text;
        for (size_t i = first; i <= last; ++i) {
            const std::optional<Value> found = constant(node.in(i));
            text += message(' ', found ? found->data : nullptr);
        }
        return text;
    }

    bool unread(ValueId id) const {
        return id == kNone || (!uses_.is_output(id) && uses_.readers(id).empty());
    }

    std::optional<Line> line_of(const Node& node) const {
        if (is(node, "batch_norm_inference")) return line_of_norm(node);
        if (is(node, "elementwise_scalar")) {
            const double value = node.attributes.number("value");
            return line_of_sum(node, 0, node.attributes.flag("first"), std::nullopt, {value}, exact(value));
        }
        if (!is(node, "elementwise")) return std::nullopt;
        for (size_t i : {0, 1}) {
            const Type& operand = graph_.type(node.in(1 - i));
            const std::optional<Value> found = constant(node.in(1 - i));
            if (!found || graph_.type(node.in(i)) != graph_.type(node.out(0))) continue;
            std::optional<Channels> channels;
            int64_t apart = 1;
            for (int d = operand.shape.ndim - 1; d >= 0; --d) {
                if (operand.shape[d] != 1 && channels) return std::nullopt;
                if (operand.shape[d] != 1) channels = Channels{operand.shape[d], apart};
                apart *= graph_.type(node.in(i))
                             .shape[d - operand.shape.ndim + graph_.type(node.in(i)).shape.ndim];
            }
            std::vector<double> values(static_cast<size_t>(channels ? channels->count : 1));
            for (size_t k = 0; k < values.size(); ++k)
                values[k] = Numbers(found).at(static_cast<int64_t>(k), 0);
            return line_of_sum(node, i, i == 1, channels, values, message(found->data));
        }
        return std::nullopt;
    }

    // x op c, or with `first` c op x.
    std::optional<Line> line_of_sum(const Node& node, size_t operand, bool first,
                                    std::optional<Channels> channels, const std::vector<double>& c,
                                    const std::string& name) const {
        const std::string& kind = node.attributes.get<std::string>("kind");
        Line line{node.in(operand), channels, {}, {}, message(kind, ' ', first, ' ', name)};
        for (double value : c) {
            if (kind == "mul" || (kind == "div" && !first)) {
                line.scale.push_back(kind == "mul" ? value : 1 / value);
                line.shift.push_back(0);
            } else if (kind == "add" || kind == "sub") {
                line.scale.push_back(kind == "sub" && first ? -1 : 1);
                line.shift.push_back(kind == "sub" && !first ? -value : value);
            } else {
                return std::nullopt;
            }
        }
        return line;
    }

    std::optional<Line> line_of_norm(const Node& norm) const {
        if (norm.in(5) != kNone || norm.attributes.flag("relu") || !all_constant(norm, 1, 4) ||
            !unread(norm.out(1)) || !unread(norm.out(2)))
            return std::nullopt;
        const double eps = norm.attributes.number("eps");
        Line line{norm.in(0),
                  channels_of(graph_.type(norm.in(0)).shape, norm.attributes),
                  {},
                  {},
                  "norm " + exact(eps) + memory_of(norm, 1, 4)};
        const Numbers gamma(constant(norm.in(1))), beta(constant(norm.in(2))), mean(constant(norm.in(3))),
            var(constant(norm.in(4)));
        for (int64_t k = 0; k < line.channels->count; ++k) {
            line.scale.push_back(gamma.at(k, 1) / std::sqrt(var.at(k, 1) + eps));
            line.shift.push_back(beta.at(k, 0) - mean.at(k, 0) * line.scale.back());
        }
        return line;
    }

    // The layer whose result, seen as another shape or not, only the line reads, if it can take the line.
    Node* layer_behind(const Line& line) {
        ValueId id = line.operand;
        for (;;) {
            const int at = maker(id);
            if (at < 0 || !alone_[static_cast<size_t>(id)]) return nullptr;
            Node& node = graph_.nodes[static_cast<size_t>(at)];
            if (is(node, "reshape")) {
                id = node.in(0);
                continue;
            }
            const bool norm = is(node, "batch_norm_inference");
            if (!norm && !is(node, "conv2d") && !is(node, "conv_transpose2d") && !is(node, "linear"))
                return nullptr;
            const bool open = norm ? node.in(5) == kNone && !node.attributes.flag("relu")
                                   : node.in(3) == kNone && node.in(4) == kNone && node.out(1) == kNone &&
                                         !node.attributes.has("activation");
            if (!open || node.out(0) != id || !all_constant(node, 1, norm ? 4 : 2)) return nullptr;
            const Channels own = channels_of(graph_.type(id).shape, node.attributes);
            if (line.channels && (line.channels->count != own.count || line.channels->apart != own.apart))
                return nullptr;
            return &node;
        }
    }

    // `count` numbers like those of operand `like`, as an operand.
    template <class F>
    void set_operand(Node& node, size_t i, const Type& type, const std::string& key, const F& number) {
        const std::string name = graph_.value(node.in(1) == kNone ? node.in(3) : node.in(1)).name;
        const auto memory = graph_.cache->get(key, static_cast<size_t>(bytes_of(type)), [&](void* to) {
            int64_t count = 1;
            for (int64_t n : type.shape) count *= n;
            for (int64_t k = 0; k < count; ++k) set_number(type.dtype, to, k, number(k));
        });
        if (node.inputs.size() <= i) node.inputs.resize(i + 1, kNone);
        node.inputs[i] = graph_.add_constant(type, i == 1 ? name : name + ".shift", memory);
    }

    std::string key_of(const Node& node, const Line& line) const {
        return message("fold ", line.key, " into ", node.kind->name, memory_of(node, 1, 2), ' ',
                       to_string(graph_.type(node.in(is(node, "batch_norm_inference") ? 3 : 1))));
    }

    // (conv(x, w) + b) * scale + shift = conv(x, w * scale) + (b * scale + shift).
    void fold_weights(Node& layer, const Line& line) {
        const Type type = graph_.type(layer.in(1));
        const Numbers weights(constant(layer.in(1))), bias(constant(layer.in(2)));
        const Shape& shape = type.shape;
        const bool transposed = is(layer, "conv_transpose2d");
        const int64_t groups = layer.attributes.get_or<int64_t>("groups", 1);
        int64_t each = 1;  // weights of one output and, transposed, one input
        for (int d = transposed ? 2 : 1; d < shape.ndim; ++d) each *= shape[d];
        const int64_t outputs = transposed ? shape[1] * groups : shape[0];
        const auto output = [&](int64_t i) {
            if (!transposed) return i / each;
            const int64_t input = i / (each * shape[1]);
            return input / (shape[0] / groups) * shape[1] + i / each % shape[1];
        };
        const std::string key = message(key_of(layer, line), ' ', groups);
        set_operand(layer, 1, type, key + " weight",
                    [&](int64_t i) { return weights.at(i, 0) * line.scale_of(output(i)); });
        set_operand(layer, 2, {type.dtype, {outputs}}, key + " shift",
                    [&](int64_t k) { return bias.at(k, 0) * line.scale_of(k) + line.shift_of(k); });
    }

    void fold_norm(Node& norm, const Line& line) {
        const Numbers gamma(constant(norm.in(1))), beta(constant(norm.in(2)));
        const Type type = graph_.type(norm.in(3));
        const std::string key = message(key_of(norm, line), ' ', type.shape[0]);
        set_operand(norm, 1, type, key + " weight",
                    [&](int64_t k) { return gamma.at(k, 1) * line.scale_of(k); });
        set_operand(norm, 2, type, key + " shift",
                    [&](int64_t k) { return beta.at(k, 0) * line.scale_of(k) + line.shift_of(k); });
    }

    Graph& graph_;
    const Uses uses_;
    std::vector<ValueId> same_;  // what stands for each value now
    std::vector<bool> alone_;    // whether one node alone reads it, by now
};

}  // namespace

void fold_scale_and_shift(Graph& graph) { Folding(graph).run(); }

}  // namespace fastconv::program
