// What passes ask about convolution nodes.
#pragma once

#include "program/kind.h"

namespace fastconv::program {

// Whether the algorithm that a conv2d or conv2d_weight node would run applies a line to x as it reads it.
bool conv2d_takes_line(const Call& call);

}  // namespace fastconv::program
