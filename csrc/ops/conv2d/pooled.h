// A convolution, an activation and averages over windows of 2x2 as one step of a program, and its gradients
// as steps that start from the averages' gradient: winograd_rows, whose arrays stay in lanes between them.
#pragma once

#include "ops/activation/activation.h"
#include "ops/conv2d/candidate.h"

namespace fastconv {

struct PooledConv {
    ConvDirection direction = ConvDirection::fprop;
    Activation activation = Activation::relu;  // one that fuses
    double slope = 0.01;
    // Whether x (dgrad: dx), and the averages (dgrad and wgrad: their gradient), are in lanes.
    bool x_lanes = false, y_lanes = false;
};

// Images side by side.
int64_t pooled_conv_lanes();
// Why it cannot take the problem, or null.
const char* pooled_conv_declines(const Conv2dProblem& p, ConvDirection direction);

struct PooledConvArgs {
    const float* x = nullptr;       // fprop and wgrad
    const float* packed = nullptr;  // fprop and dgrad: as winograd_rows packs it
    const float* bias = nullptr;
    const float* dy = nullptr;  // dgrad and wgrad: the averages' gradient
    float* kept = nullptr;      // the activated y in lanes: fprop writes it unless null, the others read it
    float* out = nullptr;       // averages, dx or dweight
    float* dbias = nullptr;     // wgrad's, or null
    int team = 1;
};
void pooled_conv_run(const Conv2dProblem& p, const PooledConv& pooled, const PooledConvArgs& args,
                     Arena& arena);

}  // namespace fastconv
