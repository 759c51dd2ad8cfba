#include "program/plan.h"

#include <algorithm>
#include <stdexcept>

#include "core/checks.h"
#include "core/memory.h"
#include "program/arena.h"

namespace fastconv::program {

namespace {

// The planner's view of a value: the value whose memory it shares, where it begins there, and when that is
// needed.
struct Storage {
    ValueId root = kNone;
    int64_t offset = 0;  // bytes
    // Up to where, in bytes of the first row of a value with a pitch: enough to tell slices from each other.
    int64_t end = 0;
    int first = -1, last = -1;  // of the root
    int output = -1;            // the graph output that the root lies in
};

class Planner {
  public:
    Planner(const Graph& graph, int team) : graph_(graph), storage_(graph.values.size()) {
        plan_.team = team;
        for (size_t v = 0; v < storage_.size(); ++v) {
            storage_[v].root = static_cast<ValueId>(v);
            storage_[v].end = span_of(graph.values[v].type);
        }
    }

    Plan run() {
        prepare();
        joined();
        lifetimes();
        bases();
        arena();
        return std::move(plan_);
    }

  private:
    Storage& storage(ValueId id) { return storage_[static_cast<size_t>(id)]; }
    Storage& root(ValueId id) { return storage(storage(id).root); }
    bool in_arena(ValueId id) const { return graph_.value(id).source == Source::node; }

    void prepare() {
        for (size_t n = 0; n < graph_.nodes.size(); ++n) {
            const Node& node = graph_.nodes[n];
            if (node.kind->view() || node.in_place()) continue;
            for (const bool result : {false, true}) {
                const std::vector<ValueId>& ids = result ? node.outputs : node.inputs;
                for (size_t i = 0; i < ids.size(); ++i)
                    if (ids[i] != kNone && graph_.type(ids[i]).pitch &&
                        !pitch_allowed(graph_, node, result, i))
                        throw std::logic_error(message("program: ", node.kind->name, " knows no pitch"));
            }
            PlannedStep step;
            step.node = static_cast<int>(n);
            step.step = node.kind->prepare(describe(graph_, node));
            plan_.steps.push_back(std::move(step));
        }
    }

    // Bytes that a piece of a joined array takes: of a row, or of the whole where there is one row.
    static int64_t piece_bytes(const Type& piece) {
        const int64_t bytes = bytes_of(piece);
        if (!piece.pitch || !bytes) return bytes;
        return piece.shape[piece.shape.ndim - 1] * size_of(piece.dtype);
    }
    void put(ValueId piece, const Storage& whole, int64_t& at) {
        const int64_t bytes = piece_bytes(graph_.type(piece));
        Storage& s = storage(piece);
        s.root = whole.root;
        s.offset = whole.offset + at;
        s.end = s.offset + bytes;
        at += bytes;
    }
    // Operands of joins in place lie in their results, which may lie in those of later joins. Where all of
    // them have their places already, the result is the stretch that they fill.
    void joined() {
        for (size_t n = graph_.nodes.size(); n-- > 0;) {
            const Node& node = graph_.nodes[n];
            if (!node.in_place() || node.kind != &node_kind("concat")) continue;
            int64_t at = 0;
            const Storage first = storage(node.in(0));
            if (first.root != node.in(0)) {
                put(node.out(0), first, at);
                continue;
            }
            for (ValueId id : node.inputs) put(id, storage(node.out(0)), at);
        }
    }

    // Time is the node's number. Views share their operand's memory; so does the first result of a node that
    // may overwrite an operand which nobody reads later.
    void lifetimes() {
        std::vector<int> last_read(graph_.values.size(), -1);
        for (size_t n = 0; n < graph_.nodes.size(); ++n)
            for (ValueId id : graph_.nodes[n].inputs)
                if (id != kNone) last_read[static_cast<size_t>(id)] = static_cast<int>(n);
        const int end = static_cast<int>(graph_.nodes.size());
        for (ValueId id : graph_.outputs) last_read[static_cast<size_t>(id)] = end;
        // A view's readers read its operand.
        for (size_t n = graph_.nodes.size(); n-- > 0;) {
            const Node& node = graph_.nodes[n];
            if (!node.kind->view() || node.out(0) == kNone) continue;
            int& operand = last_read[static_cast<size_t>(node.in(0))];
            operand = std::max(operand, last_read[static_cast<size_t>(node.out(0))]);
        }
        for (size_t n = 0; n < graph_.nodes.size(); ++n) {
            const Node& node = graph_.nodes[n];
            const int now = static_cast<int>(n);
            for (ValueId id : node.inputs)
                if (id != kNone) root(id).last = std::max(root(id).last, now);
            for (size_t o = 0; o < node.outputs.size(); ++o) {
                const ValueId id = node.outputs[o];
                if (id == kNone) continue;
                Storage& s = storage(id);
                const bool cut = node.in_place() && node.kind != &node_kind("concat");
                if (cut) {
                    int64_t at = 0;
                    for (size_t i = 0; i < o; ++i) at += sizes_before(node, i);
                    put(id, storage(node.in(0)), at);
                } else if (node.kind->view()) {
                    const Storage& whole = storage(node.in(0));
                    s.root = whole.root, s.offset = whole.offset, s.end = whole.end;
                } else if (o == 0 && s.root == id && !node.in_place()) {
                    overwrite(node, id, last_read, now);
                }
                if (graph_.type(id).pitch && s.root == id && !node.in_place())
                    throw std::logic_error("program: a slice without an array around it");
                Storage& r = root(id);
                if (r.first < 0) r.first = now;
                r.last = std::max({r.last, now, last_read[static_cast<size_t>(id)]});
            }
        }
        for (size_t o = 0; o < graph_.outputs.size(); ++o) {
            const ValueId id = graph_.outputs[o];
            Storage& r = root(id);
            r.last = end;
            // Results are written where the caller wants them, the first time that he wants them.
            if (in_arena(storage(id).root) && r.output < 0 && storage(id).offset == 0 &&
                bytes_of(graph_.type(storage(id).root)) == bytes_of(graph_.type(id)))
                r.output = static_cast<int>(o);
        }
    }

    // Bytes of piece i of a node that cuts its operand, wanted or not.
    int64_t sizes_before(const Node& node, size_t i) const {
        Type piece = graph_.type(node.in(0));
        const auto axis = static_cast<int>(node.attributes.get<int64_t>("dim"));
        piece.shape[axis] = node.attributes.get<std::vector<int64_t>>("sizes")[i];
        bool rows = false;
        for (int d = 0; d < axis; ++d) rows |= piece.shape[d] != 1;
        if (rows) piece.pitch = 1;
        return piece_bytes(piece);
    }

    bool meet(ValueId a, ValueId b) {
        const Storage &one = storage(a), &other = storage(b);
        return one.root == other.root && one.offset < other.end && other.offset < one.end;
    }

    // A node's first result takes the memory of an operand where the node allows that and nobody reads it
    // later.
    void overwrite(const Node& node, ValueId result, const std::vector<int>& last_read, int now) {
        for (size_t i = 0; i < node.inputs.size() && i < 32; ++i) {
            const ValueId id = node.inputs[i];
            if (!(node.kind->in_place >> i & 1) || id == kNone) continue;
            if (!in_arena(storage(id).root) || graph_.type(id) != graph_.type(result)) continue;
            // Nobody may read any value in this memory later, nor this node through another operand.
            bool free = true;
            for (size_t v = 0; v < storage_.size() && free; ++v)
                if (last_read[v] > now && meet(static_cast<ValueId>(v), id)) free = false;
            for (size_t j = 0; j < node.inputs.size() && free; ++j)
                if (j != i && node.inputs[j] != kNone && meet(node.inputs[j], id)) free = false;
            if (!free) continue;
            Storage& s = storage(result);
            s.root = storage(id).root, s.offset = storage(id).offset, s.end = storage(id).end;
            return;
        }
    }

    void bases() {
        plan_.first_output = plan_.first_input + static_cast<int>(graph_.inputs.size());
        plan_.first_array = plan_.first_output + static_cast<int>(graph_.outputs.size());
        base_.assign(graph_.values.size(), -1);
        for (size_t i = 0; i < graph_.inputs.size(); ++i)
            base_[static_cast<size_t>(graph_.inputs[i])] = plan_.first_input + static_cast<int>(i);
        for (size_t v = 0; v < graph_.values.size(); ++v) {
            const Value& value = graph_.values[v];
            if (value.source != Source::state && value.source != Source::constant) continue;
            base_[v] = plan_.first_array + static_cast<int>(plan_.arrays.size());
            plan_.arrays.push_back(value.data);
        }
    }

    void arena() {
        std::vector<Interval> intervals;
        std::vector<int> of_value(graph_.values.size(), -1), of_step(plan_.steps.size(), -1);
        for (size_t v = 0; v < graph_.values.size(); ++v) {
            const Storage& s = storage_[v];
            if (graph_.values[v].source != Source::node || s.first < 0) continue;
            if (s.root != static_cast<ValueId>(v)) continue;
            const auto bytes = static_cast<size_t>(span_of(graph_.values[v].type));
            if (s.output >= 0) continue;
            of_value[v] = static_cast<int>(intervals.size());
            intervals.push_back({bytes, s.first, s.last, false, 0});
        }
        for (const Node& node : graph_.nodes)
            for (ValueId id : node.outputs)
                if (id != kNone && !node.kind->view())
                    plan_.tensor_bytes += static_cast<size_t>(bytes_of(graph_.type(id)));
        for (size_t s = 0; s < plan_.steps.size(); ++s) {
            const size_t bytes = plan_.steps[s].step->workspace_bytes(plan_.team);
            plan_.workspace_bytes = std::max(plan_.workspace_bytes, bytes);
            if (!bytes) continue;
            of_step[s] = static_cast<int>(intervals.size());
            intervals.push_back({bytes, plan_.steps[s].node, plan_.steps[s].node, true, 0});
        }
        plan_.arena_bytes = place(intervals, plan_.team);

        const auto ref = [&](ValueId id) -> Ref {
            if (id == kNone) return {};
            const ValueId base = storage(id).root;
            const int64_t offset = storage(id).offset;
            if (!in_arena(base)) return {base_[static_cast<size_t>(base)], offset};
            if (storage(base).output >= 0) return {plan_.first_output + storage(base).output, offset};
            const int at = of_value[static_cast<size_t>(base)];
            return {0, static_cast<int64_t>(intervals[static_cast<size_t>(at)].offset) + offset};
        };
        for (size_t s = 0; s < plan_.steps.size(); ++s) {
            PlannedStep& step = plan_.steps[s];
            const Node& node = graph_.nodes[static_cast<size_t>(step.node)];
            for (ValueId id : node.inputs) step.in.push_back(ref(id));
            for (ValueId id : node.outputs) step.out.push_back(ref(id));
            if (of_step[s] >= 0)
                step.workspace = {0, static_cast<int64_t>(intervals[static_cast<size_t>(of_step[s])].offset)};
        }
        for (size_t o = 0; o < graph_.outputs.size(); ++o) {
            const ValueId id = graph_.outputs[o];
            const Ref from = ref(id);
            if (from.base == plan_.first_output + static_cast<int>(o) && from.offset == 0) continue;
            plan_.copies.push_back(
                {from, static_cast<int>(o), static_cast<size_t>(bytes_of(graph_.type(id)))});
        }
    }

    const Graph& graph_;
    std::vector<Storage> storage_;
    std::vector<int> base_;
    Plan plan_;
};

}  // namespace

Plan make_plan(const Graph& graph, int team) { return Planner(graph, team).run(); }

}  // namespace fastconv::program
