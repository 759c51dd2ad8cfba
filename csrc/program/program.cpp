#include "program/program.h"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "cpu/threads.h"

namespace fastconv::program {
namespace {

double now() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

Program::Program(Graph graph) : graph_(std::move(graph)), plan_(make_plan(graph_, num_threads())) {
    for (const Node& node : graph_.nodes)
        for (size_t i = 0; i < node.inputs.size() && i < 32; ++i)
            writes_ |= (node.kind->writes >> i & 1) && node.inputs[i] != kNone;
    arenas_.push_back(Workspace(plan_.arena_bytes));
}

Workspace Program::take_arena() {
    {
        const std::lock_guard<std::mutex> lock(arenas_mutex_);
        if (!arenas_.empty()) {
            Workspace arena = std::move(arenas_.back());
            arenas_.pop_back();
            return arena;
        }
    }
    return Workspace(plan_.arena_bytes);
}

bool Program::run(const void* const* inputs, void* const* outputs) {
    std::unique_lock<std::mutex> alone(running_, std::defer_lock);
    if (writes_) alone.lock();
    Workspace arena = take_arena();
    const bool whole = run_in(arena.as<void>(), inputs, outputs, nullptr);
    const std::lock_guard<std::mutex> lock(arenas_mutex_);
    if (arenas_.size() < 64) arenas_.push_back(std::move(arena));
    return whole;
}

bool Program::run_in(void* arena, const void* const* inputs, void* const* outputs,
                     std::vector<double>* seconds) {
    // Bases, as plan.h numbers them.
    char* fixed[64];
    const size_t count = static_cast<size_t>(plan_.first_array) + plan_.arrays.size();
    std::vector<char*> many;
    char** bases = fixed;
    if (count > 64) {
        many.resize(count);
        bases = many.data();
    }
    bases[0] = static_cast<char*>(arena);
    for (size_t i = 0; i < graph_.inputs.size(); ++i)
        bases[static_cast<size_t>(plan_.first_input) + i] =
            const_cast<char*>(static_cast<const char*>(inputs[i]));
    for (size_t i = 0; i < graph_.outputs.size(); ++i)
        bases[static_cast<size_t>(plan_.first_output) + i] = static_cast<char*>(outputs[i]);
    for (size_t i = 0; i < plan_.arrays.size(); ++i)
        bases[static_cast<size_t>(plan_.first_array) + i] = static_cast<char*>(plan_.arrays[i]);
    const auto resolve = [&](const Ref& r) -> void* {
        return r.base < 0 ? nullptr : bases[static_cast<size_t>(r.base)] + r.offset;
    };

    void* in[kMostOperands];
    void* out[kMostOperands];
    bool whole = true;
    for (size_t s = 0; s < plan_.steps.size(); ++s) {
        const PlannedStep& step = plan_.steps[s];
        std::vector<void*> long_in;
        void** operands = in;
        if (step.in.size() > kMostOperands) {
            long_in.resize(step.in.size());
            operands = long_in.data();
        }
        std::vector<void*> long_out;
        void** results = out;
        if (step.out.size() > kMostOperands) {
            long_out.resize(step.out.size());
            results = long_out.data();
        }
        for (size_t i = 0; i < step.in.size(); ++i) operands[i] = resolve(step.in[i]);
        for (size_t i = 0; i < step.out.size(); ++i) results[i] = resolve(step.out[i]);
        const double start = seconds ? now() : 0;
        whole = step.step->run({operands, results, resolve(step.workspace), plan_.team});
        if (!whole) break;
        if (seconds) (*seconds)[s] = std::min((*seconds)[s], now() - start);
    }
    for (const Plan::Copy& copy : plan_.copies)
        if (copy.bytes) std::memcpy(outputs[copy.output], resolve(copy.from), copy.bytes);
    return whole;
}

std::vector<StepTime> Program::profile(const void* const* inputs, void* const* outputs, int runs) {
    std::unique_lock<std::mutex> alone(running_, std::defer_lock);
    if (writes_) alone.lock();
    const Workspace arena(plan_.arena_bytes);
    std::vector<double> seconds(plan_.steps.size(), 1e30);
    for (int r = 0; r < runs; ++r) run_in(arena.as<void>(), inputs, outputs, &seconds);
    std::vector<StepTime> result;
    for (size_t s = 0; s < plan_.steps.size(); ++s) {
        const Node& node = graph_.nodes[static_cast<size_t>(plan_.steps[s].node)];
        const Step& step = *plan_.steps[s].step;
        StepTime t;
        t.name = node.kind->name;
        t.algorithm = step.algorithm();
        for (ValueId id : node.outputs)
            if (id != kNone) t.what += (t.what.empty() ? "" : ", ") + to_string(graph_.type(id));
        t.seconds = seconds[s];
        t.operations = step.operations();
        for (const auto* ids : {&node.inputs, &node.outputs})
            for (ValueId id : *ids)
                if (id != kNone) t.bytes += static_cast<double>(bytes_of(graph_.type(id)));
        result.push_back(t);
    }
    return result;
}

}  // namespace fastconv::program
