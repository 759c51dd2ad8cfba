// Copies of an array with its dimensions in another order.
#pragma once

#include <vector>

#include "fastconv/types.h"

namespace fastconv::program {

class Permutation {
  public:
    // Result dimension i is dimension dims[i] of an array of `shape`.
    Permutation(DType dtype, const Shape& shape, const std::vector<int64_t>& dims);
    // Whether the elements keep their order in memory.
    bool moves_nothing() const { return ndim_ <= 1; }
    void run(const void* from, void* to) const;

  private:
    int64_t item_ = 0;  // bytes
    int ndim_ = 0;      // of the result, neighbours that stay together joined and sizes of 1 left out
    int64_t size_[kMaxDims] = {}, stride_[kMaxDims] = {};  // of the result; strides in the source, elements
    int64_t count_ = 0;
};

}  // namespace fastconv::program
