// What inverted residuals are made of, a few rows of an image at a time: a 1x1 convolution that widens, a
// depthwise one, and a 1x1 that narrows again. The wide arrays between them stay in a worker's L2.
#pragma once

#include <memory>

#include "ops/conv2d/depthwise.h"
#include "ops/conv2d/gather.h"

namespace fastconv {

// A 1x1 convolution of stride 1 on channels-last arrays, for runs of up to `most` rows.
struct PointwiseRows {
    std::shared_ptr<const void> lists;  // what `g` points at
    GatherConv g{};                     // without arrays
    size_t scratch = 0;                 // bytes
    const float* packed = nullptr;      // as implicit_gemm packs them
    explicit operator bool() const { return lists != nullptr; }
};
PointwiseRows pointwise_rows(const Conv2dProblem& p, int64_t most);
DepthwiseNhwc depthwise_geometry(const Conv2dProblem& p, const ConvEpilogue& e);

struct InvertedRows {
    PointwiseRows expand, project;  // either may be missing
    DepthwiseNhwc depthwise{};
    const float *filters = nullptr, *bias = nullptr;  // of `depthwise`
    int64_t rows = 1;                                 // of its output at a time
    const float* x = nullptr;
    float* y = nullptr;

    // Rows of the depthwise convolution's input that so many of its output read.
    int64_t input_rows() const { return (rows - 1) * depthwise.stride_h + depthwise.r; }
};
FC_ISA_DECLARE(size_t inverted_scratch(const InvertedRows& s, int team))
FC_ISA_DECLARE(void inverted_run(const InvertedRows& s, char* scratch, int team))

}  // namespace fastconv
