#include <algorithm>

#include "program/kind.h"
#include "program/passes/passes.h"

namespace fastconv::program {
namespace {

bool is(const Node& node, const char* kind) { return node.kind == &node_kind(kind); }

// How an array is cut along a dimension: into stretches of its one row, or of every row, which have a pitch
// then.
struct Cut {
    bool possible = false;
    int64_t pitch = 0;  // of the pieces
    Cut(const Node& node, const Type& whole) {
        const auto axis = static_cast<int>(node.attributes.get<int64_t>("dim"));
        int64_t rows = 1;
        for (int d = 0; d < axis; ++d) rows *= whole.shape[d];
        if (rows > 1) pitch = whole.pitch ? whole.pitch : whole.shape[axis];
        const bool last = axis == whole.shape.ndim - 1;
        possible = rows > 1 ? last && whole.dtype != DType::f64 : rows == 1 && (!whole.pitch || last);
        if (rows == 1 && whole.pitch) pitch = whole.pitch;
    }
};

class Joins {
  public:
    explicit Joins(Graph& graph) : graph_(graph), uses_(graph), place_(graph.values.size()) {}

    void run() {
        for (size_t n = graph_.nodes.size(); n-- > 0;)
            if (is(graph_.nodes[n], "concat")) join(static_cast<int>(n));
        for (size_t n = 0; n < graph_.nodes.size(); ++n)
            if (is(graph_.nodes[n], "concat_backward")) cut(static_cast<int>(n));
    }

  private:
    // Where a value lies, if that is in another one.
    struct Place {
        ValueId whole = kNone;
        int64_t from = 0, to = 0;
    };
    Place& place(ValueId id) { return place_[static_cast<size_t>(id)]; }
    Node& node(int n) { return graph_.nodes[static_cast<size_t>(n)]; }
    bool made(ValueId id) const { return graph_.value(id).source == Source::node && !uses_.is_output(id); }

    // What batch-norm's gradient is added to: it has to have that one's pitch.
    static constexpr size_t kSum = 7;
    static bool is_sum(const Node& node, size_t i) { return is(node, "batch_norm_backward") && i == kSum; }

    // Whether every node that reads `id` can do so where it has a pitch; `sums`: also as such a sum.
    bool readable(ValueId id, bool sums = false) {
        for (int n : uses_.readers(id)) {
            const Node& reader = node(n);
            for (size_t i = 0; i < reader.inputs.size(); ++i) {
                if (reader.inputs[i] != id) continue;
                if (!pitch_allowed(graph_, reader, false, i) || (is_sum(reader, i) && !sums)) return false;
            }
        }
        return true;
    }
    // Whether the node that makes `id` can put it into another value.
    bool writable(ValueId id, bool pitched) {
        const int n = uses_.maker(id);
        if (n < 0) return false;
        const Node& maker = node(n);
        if (maker.kind->view() || is(maker, "concat_backward")) return false;
        if (!pitched) return true;
        if (is(maker, "batch_norm_backward") && maker.in(kSum) != kNone) return false;
        for (size_t o = 0; o < maker.outputs.size(); ++o)
            if (maker.outputs[o] == id) return pitch_allowed(graph_, maker, true, o);
        return false;
    }

    static int64_t length(const Node& node, const Type& type) {
        return type.shape[static_cast<int>(node.attributes.get<int64_t>("dim"))];
    }

    // The operands become stretches of the result.
    void join(int n) {
        Node& join = node(n);
        const ValueId whole = join.out(0);
        if (adjoining(join)) return;
        const Cut cut(join, graph_.type(whole));
        if (!cut.possible || (cut.pitch && !pitch_allowed(graph_, join, true, 0))) return;
        for (size_t i = 0; i < join.inputs.size(); ++i) {
            const ValueId id = join.inputs[i];
            if (std::count(join.inputs.begin(), join.inputs.end(), id) != 1) return;
            if (!made(id) || place(id).whole != kNone || !writable(id, cut.pitch != 0)) return;
            if (cut.pitch && !readable(id)) return;
        }
        const int64_t pitch = widened(whole, cut.pitch);
        int64_t at = 0;
        for (ValueId id : join.inputs) {
            const int64_t next = at + length(join, graph_.type(id));
            place(id) = {whole, at, next};
            graph_.value(id).type.pitch = pitch;
            at = next;
        }
        join.attributes.set("in_place", true);
    }

    // Pixels that lie a multiple of a kilobyte apart share few sets of the caches, and of a slice only some
    // lines are read: where its readers allow it the joined array gets a pitch that is none. Returns that of
    // its pieces.
    int64_t widened(ValueId whole, int64_t pitch) {
        Type& type = graph_.value(whole).type;
        const int64_t line = 64 / size_of(type.dtype);
        if (!pitch || type.pitch || pitch % (16 * line) || place(whole).whole != kNone) return pitch;
        if (!made(whole) || !readable(whole)) return pitch;
        return type.pitch = pitch + line;
    }

    // A join of values that are neighbours already, in a later join: its result is that stretch. Cut along
    // another dimension they would not be neighbours here.
    bool adjoining(Node& join) {
        const Place first = place(join.in(0));
        if (first.whole == kNone || place(join.out(0)).whole != kNone || !made(join.out(0))) return false;
        const int64_t pitch = graph_.type(join.in(0)).pitch;
        if (pitch && !readable(join.out(0))) return false;
        const Node& outer = node(uses_.maker(first.whole));
        if (outer.attributes.get<int64_t>("dim") != join.attributes.get<int64_t>("dim")) return false;
        int64_t at = first.from;
        for (ValueId id : join.inputs) {
            if (place(id).whole != first.whole || place(id).from != at) return false;
            at = place(id).to;
        }
        place(join.out(0)) = {first.whole, first.from, at};
        graph_.value(join.out(0)).type.pitch = pitch;
        join.attributes.set("in_place", true);
        return true;
    }

    // The results become stretches of the operand.
    void cut(int n) {
        Node& cut = node(n);
        const ValueId whole = cut.in(0);
        const Cut how(cut, graph_.type(whole));
        if (!how.possible || graph_.value(whole).source != Source::node) return;
        if (how.pitch && !pitch_allowed(graph_, cut, false, 0)) return;
        std::vector<ValueId> sums;
        for (ValueId id : cut.outputs) {
            if (id == kNone) continue;
            if (uses_.is_output(id)) return;
            if (how.pitch && (!readable(id, true) || !in_sum(whole, id, sums))) return;
        }
        for (ValueId id : cut.outputs)
            if (id != kNone) graph_.value(id).type.pitch = how.pitch;
        if (how.pitch)
            for (ValueId id : sums) graph_.value(id).type.pitch = how.pitch;
        cut.attributes.set("in_place", true);
    }

    // Where `piece` is added to a batch-norm's gradient, that has to take its place: nobody else may need
    // what is there, and everybody has to read the sum with a pitch. The sum is noted.
    bool in_sum(ValueId whole, ValueId piece, std::vector<ValueId>& sums) {
        for (int n : uses_.readers(piece)) {
            const Node& reader = node(n);
            if (!is(reader, "batch_norm_backward") || reader.in(kSum) != piece) continue;
            if (uses_.readers(piece).size() != 1 || uses_.readers(whole).size() != 1) return false;
            if (uses_.is_output(whole) || reader.in(0) == piece || reader.in(1) == piece) return false;
            // Memory that others look at under another name.
            const Node& maker = node(uses_.maker(whole));
            if (maker.kind->view() || is(maker, "concat") || is(maker, "concat_backward")) return false;
            const ValueId sum = reader.out(0);
            if (sum == kNone || !made(sum) || !readable(sum) || place(sum).whole != kNone) return false;
            // Its own pieces' readers decide when their turn comes; a copy reads a pitch too.
            sums.push_back(sum);
        }
        return true;
    }

    Graph& graph_;
    const Uses uses_;
    std::vector<Place> place_;
};

}  // namespace

void join_in_place(Graph& graph) { Joins(graph).run(); }

}  // namespace fastconv::program
