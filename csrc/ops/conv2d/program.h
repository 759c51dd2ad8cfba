// What passes ask about convolution nodes.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "program/kind.h"

namespace fastconv::program {

// Whether the algorithm that a conv2d or conv2d_weight node would run applies a line to x as it reads it.
bool conv2d_takes_line(const Call& call);

// What a convolution node could run: a name for everything that times depend on, what it would run, and what
// it could run with the accuracy that the precision asks for.
struct ConvChoice {
    std::string problem, chosen;
    std::vector<std::string> algorithms;
};
// Nothing for nodes of other kinds.
std::optional<ConvChoice> conv2d_choice(const Call& call);

}  // namespace fastconv::program
