// What passes ask about convolution nodes.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "ops/conv2d/conv2d.h"
#include "program/kind.h"

namespace fastconv::program {

// Whether the algorithm that a conv2d or conv2d_weight node would run applies a line to x as it reads it.
bool conv2d_takes_line(const Call& call);

// Whether the algorithm that a conv2d_input node would run takes sums for a batch-norm as it stores dx.
bool conv2d_takes_gradient_sums(const Call& call);

// The geometry that a node's attributes give.
Conv2dParams conv2d_params(const Call& call);
double conv2d_operations(const Conv2dProblem& problem);

// Whether a conv2d, conv2d_input or conv2d_weight node, of NCHW arrays and without residual, line or
// statistics, would run the algorithm of pooled.h.
bool conv2d_pools(const Call& call);
// The type of a picture (N, C, H, W) in lanes: (N / L, C, H, W, L).
Type in_lanes(const Type& picture);

// pooled_program.cpp, inverted_program.cpp
void add_pooled_conv_kinds(std::vector<NodeKind>& list);
void add_inverted_kinds(std::vector<NodeKind>& list);

// What a convolution node could run: a name for everything that times depend on, what it would run, and what
// it could run with the accuracy that the precision asks for.
struct ConvChoice {
    std::string problem, chosen;
    std::vector<std::string> algorithms;
};
// Nothing for nodes of other kinds.
std::optional<ConvChoice> conv2d_choice(const Call& call);

}  // namespace fastconv::program
