// Two-dimensional pooling: maximum, average and sum over windows, adaptive windows or the whole picture.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "fastconv/types.h"
#include "ops/pool2d/plan.h"

namespace fastconv {

struct Pool2dParams {
    PoolKind kind = PoolKind::max;
    Layout layout = Layout::nchw;
    bool adaptive = false;
    std::array<int64_t, 2> output_size{1, 1};  // adaptive only; the rest is for sliding windows
    std::array<int64_t, 2> kernel{1, 1};
    std::array<int64_t, 2> stride{1, 1};
    std::array<int64_t, 2> padding{0, 0};
    std::array<int64_t, 2> dilation{1, 1};  // max only
    bool ceil_mode = false;
    bool count_include_pad = true;  // average only
    int64_t divisor_override = 0;   // average only; 0 for none
};

// The geometry of one pooling operation, checked when it is made and shared by forward and backward.
class Pool2d {
  public:
    // ShapeError naming `op` where the parameters do not fit an input of shape `input` (in params.layout).
    Pool2d(const char* op, const Pool2dParams& params, const Shape& input);
    Pool2d(const Pool2d&) = delete;
    Pool2d& operator=(const Pool2d&) = delete;

    const Shape& input() const { return input_; }
    const Shape& output() const { return output_; }
    PoolKind kind() const { return plan_.kind; }
    // The element type of a maximum's saved tap numbers: uint8 for windows of up to 256 taps, else int32.
    DType index_dtype() const;

    // y = pool(x). For a maximum, index.data may be null or receives the winning tap of each window:
    // row * taps(width) + column within the undilated window. y may have a pitch where it is channels-last,
    // unless of float64.
    void forward(const TensorView& x, const TensorView& y, const TensorView& index) const;
    // dx from dy; index is read for a maximum only.
    void backward(const TensorView& dy, const TensorView& index, const TensorView& dx) const;
    // The int64 positions h * W + w in the input plane that tap numbers stand for.
    void positions(const TensorView& index, const TensorView& out) const;

  private:
    Shape input_, output_;
    int64_t inputs_ = 0, outputs_ = 0;
    PoolPlan plan_;
    std::vector<int64_t> tables_;
    std::vector<double> sizes_;
};

}  // namespace fastconv
