// Window arithmetic of convolution and pooling along one spatial axis. Its only home.
#pragma once

#include <cstdint>

namespace fastconv {

// One axis of a sliding window.
struct WindowAxis {
    int64_t input = 1;   // size of the input
    int64_t kernel = 1;  // number of taps
    int64_t stride = 1;
    int64_t pad_begin = 0;
    int64_t pad_end = 0;
    int64_t dilation = 1;

    // Distance between the first and last tap, plus one.
    int64_t extent() const { return dilation * (kernel - 1) + 1; }
    // Where tap 0 of output `o` falls in the input; may be negative (padding).
    int64_t start(int64_t o) const { return o * stride - pad_begin; }
};

// Checks the axis (`name` is "height" or "width") and returns the number of output positions:
// floor((input + pads - extent) / stride) + 1, or with `ceil_mode` rounded up, where the last window must
// still start inside the input or its leading padding (PyTorch's rule). Throws ShapeError naming `op`.
int64_t window_output(const char* op, const char* name, const WindowAxis& axis, bool ceil_mode = false);

// Output size of the transposed window: (input - 1) * stride - pads + extent + output_padding.
int64_t transposed_output(const char* op, const char* name, const WindowAxis& axis, int64_t output_padding);

// Total padding of "same": the output has the input's size at stride 1. An odd total puts one more at the
// end. 0 for a kernel or dilation that window_output() refuses.
int64_t same_padding_total(int64_t kernel, int64_t dilation);

// Adaptive pooling: output `o` of `outputs` covers inputs [begin, end).
inline int64_t adaptive_begin(int64_t o, int64_t input, int64_t outputs) { return o * input / outputs; }
inline int64_t adaptive_end(int64_t o, int64_t input, int64_t outputs) {
    return ((o + 1) * input + outputs - 1) / outputs;
}

}  // namespace fastconv
