// Where every value lies while a program runs: lifetimes, and one arena in which memory is used again.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "program/graph.h"
#include "program/kind.h"

namespace fastconv::program {

// Memory of a step's operand: a base and a distance. Bases are the arena, then the caller's arrays.
struct Ref {
    int32_t base = -1;  // -1: absent
    int64_t offset = 0;
};

struct PlannedStep {
    int node = 0;
    std::unique_ptr<Step> step;
    std::vector<Ref> in, out;
    Ref workspace;
};

struct Plan {
    std::vector<PlannedStep> steps;
    size_t arena_bytes = 0;
    size_t tensor_bytes = 0;     // of all values that lie in the arena, if each had memory of its own
    size_t workspace_bytes = 0;  // of the step that needs most
    int team = 1;
    // Bases: 0 is the arena; 1 .. are the inputs, then the outputs, then states and constants.
    int first_input = 1, first_output = 1, first_array = 1;
    std::vector<void*> arrays;
    // Outputs that are not written by a step: copied from here at the end.
    struct Copy {
        Ref from;
        int output;
        size_t bytes;
    };
    std::vector<Copy> copies;
};

Plan make_plan(const Graph& graph, int team);

}  // namespace fastconv::program
