#include "program/program.h"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "cpu/threads.h"

namespace fastconv::program {
namespace {

// Arenas that a program keeps for runs that meet.
constexpr size_t kMostMemories = 16;

double now() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

Program::Program(Graph graph) : graph_(std::move(graph)), plan_(make_plan(graph_, num_threads())) {
    for (const Node& node : graph_.nodes)
        for (size_t i = 0; i < node.inputs.size() && i < 32; ++i)
            writes_ |= (node.kind->writes >> i & 1) && node.inputs[i] != kNone;
    memories_.reserve(kMostMemories);
    memories_.push_back(new_memory());
}

Program::Memory Program::new_memory() const {
    Memory memory{Workspace(plan_.arena_bytes), {}};
    memory.bases.resize(static_cast<size_t>(plan_.first_array) + plan_.arrays.size());
    memory.bases[0] = memory.arena.as<char>();
    for (size_t i = 0; i < plan_.arrays.size(); ++i)
        memory.bases[static_cast<size_t>(plan_.first_array) + i] = static_cast<char*>(plan_.arrays[i]);
    return memory;
}

Program::Memory Program::take_memory(const void* const* inputs, void* const* outputs) {
    Memory memory;
    {
        const std::lock_guard<std::mutex> lock(memories_mutex_);
        if (!memories_.empty()) {
            memory = std::move(memories_.back());
            memories_.pop_back();
        }
    }
    if (memory.bases.empty()) memory = new_memory();
    for (size_t i = 0; i < graph_.inputs.size(); ++i)
        memory.bases[static_cast<size_t>(plan_.first_input) + i] =
            const_cast<char*>(static_cast<const char*>(inputs[i]));
    for (size_t i = 0; i < graph_.outputs.size(); ++i)
        memory.bases[static_cast<size_t>(plan_.first_output) + i] = static_cast<char*>(outputs[i]);
    return memory;
}

void Program::give_back(Memory memory) {
    const std::lock_guard<std::mutex> lock(memories_mutex_);
    if (memories_.size() < kMostMemories) memories_.push_back(std::move(memory));
}

bool Program::run(const void* const* inputs, void* const* outputs) {
    std::unique_lock<std::mutex> alone(running_, std::defer_lock);
    if (writes_) alone.lock();
    Memory memory = take_memory(inputs, outputs);
    const bool whole = run_in(memory, nullptr);
    give_back(std::move(memory));
    return whole;
}

bool Program::run_in(const Memory& memory, std::vector<double>* seconds) const {
    const auto resolve = [&](const Ref& r) -> void* {
        return r.base < 0 ? nullptr : memory.bases[static_cast<size_t>(r.base)] + r.offset;
    };
    void* in[kMostOperands];
    void* out[kMostOperands];
    bool whole = true;
    for (size_t s = 0; s < plan_.steps.size(); ++s) {
        const PlannedStep& step = plan_.steps[s];
        std::vector<void*> long_in(step.in.size() > kMostOperands ? step.in.size() : 0);
        std::vector<void*> long_out(step.out.size() > kMostOperands ? step.out.size() : 0);
        void** operands = long_in.empty() ? in : long_in.data();
        void** results = long_out.empty() ? out : long_out.data();
        for (size_t i = 0; i < step.in.size(); ++i) operands[i] = resolve(step.in[i]);
        for (size_t i = 0; i < step.out.size(); ++i) results[i] = resolve(step.out[i]);
        const double start = seconds ? now() : 0;
        whole = step.step->run({operands, results, resolve(step.workspace), plan_.team});
        if (!whole) break;
        if (seconds) (*seconds)[s] = std::min((*seconds)[s], now() - start);
    }
    for (const Plan::Copy& copy : plan_.copies)
        if (copy.bytes)
            std::memcpy(resolve({plan_.first_output + copy.output, 0}), resolve(copy.from), copy.bytes);
    return whole;
}

std::vector<StepTime> Program::profile(const void* const* inputs, void* const* outputs, int runs) {
    std::unique_lock<std::mutex> alone(running_, std::defer_lock);
    if (writes_) alone.lock();
    std::vector<double> seconds(plan_.steps.size(), 1e30);
    Memory memory = take_memory(inputs, outputs);
    for (int r = 0; r < runs; ++r) run_in(memory, &seconds);
    give_back(std::move(memory));
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
