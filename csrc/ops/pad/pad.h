// Padding: an array with a border, constant or repeated from its own elements; negative amounts crop.
#pragma once

#include <string>
#include <vector>

#include "fastconv/types.h"

namespace fastconv {

enum class PadMode : uint8_t { constant, reflect, replicate, circular };

// ShapeError for an unknown name.
PadMode pad_mode_from_name(const std::string& name);

// `before` and `after` have one amount for each dimension.
struct PadParams {
    PadMode mode = PadMode::constant;
    double value = 0;
    int64_t before[kMaxDims] = {};
    int64_t after[kMaxDims] = {};
};

// The output's shape. ShapeError where it would be negative, or the mode cannot fill the border: reflect
// needs amounts below the size, circular amounts up to it, replicate at least one element.
Shape pad_shape(const char* op, const Shape& shape, const PadParams& p);

void pad(const PadParams& p, const TensorView& x, const TensorView& y);

// dx gathers dy: each element the sum of the outputs that copied it.
void pad_backward(const PadParams& p, const TensorView& dy, const TensorView& dx);

}  // namespace fastconv
