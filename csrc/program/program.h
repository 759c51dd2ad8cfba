// A planned graph that runs in one call.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "core/memory.h"
#include "program/plan.h"

namespace fastconv::program {

// Operands of a step that need no memory of their own while it runs.
inline constexpr size_t kMostOperands = 64;

// What one step took, of all profiled runs.
struct StepTime {
    std::string name, algorithm, what;  // node kind, chosen algorithm, types of the results
    double seconds = 0;                 // the least of all runs
    double operations = 0, bytes = 0;   // floating-point operations, and bytes of operands and results
};

class Program {
  public:
    // The graph's states and constants are the caller's memory, which must outlive the program.
    explicit Program(Graph graph);
    Program(const Program&) = delete;
    Program& operator=(const Program&) = delete;

    const Graph& graph() const { return graph_; }
    const Plan& plan() const { return plan_; }
    // Whether a run changes states: such runs are made one after another, others at the same time.
    bool writes() const { return writes_; }

    // Runs all steps. Allocates only the arena of a run that meets another one; ops other than convolution
    // take their scratch from the pool. False where a step ended it early: outputs that were to be made later
    // are then undefined.
    bool run(const void* const* inputs, void* const* outputs);
    // The same, several times, each step by the clock.
    std::vector<StepTime> profile(const void* const* inputs, void* const* outputs, int runs);

  private:
    // The memory of one run: the arena, and the bases that plan.h numbers.
    struct Memory {
        Workspace arena;
        std::vector<char*> bases;
    };
    bool run_in(const Memory& memory, std::vector<double>* seconds) const;
    Memory new_memory() const;
    Memory take_memory(const void* const* inputs, void* const* outputs);
    void give_back(Memory memory);

    Graph graph_;
    Plan plan_;
    bool writes_ = false;
    std::mutex running_;  // held by runs that write
    std::mutex memories_mutex_;
    std::vector<Memory> memories_;  // of runs that have ended
};

}  // namespace fastconv::program
