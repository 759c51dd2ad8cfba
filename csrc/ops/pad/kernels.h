// What pad.cpp works out once for both directions, and the loops that use it.
#pragma once

#include "ops/pad/pad.h"

namespace fastconv {

// (batch, out_0, ..., out_{ndim-1}, inner): leading dimensions without padding are joined into `batch`,
// trailing ones into `inner`. source[d][o] is the input position of output o along d, or -1 for the constant.
struct PadLoops {
    int ndim = 0;
    int64_t batch = 1, inner = 1;
    bool repeats = false;  // an input may have several outputs
    int64_t in[kMaxDims] = {}, out[kMaxDims] = {};
    const int64_t* source[kMaxDims] = {};
};

// Both run over a range of the batch.
template <class T>
void pad_reference(const PadLoops& loops, T value, const T* x, T* y, int64_t begin, int64_t end);
template <class T>
void pad_backward_reference(const PadLoops& loops, const T* dy, T* dx, int64_t begin, int64_t end);

}  // namespace fastconv
