// Two-dimensional cross-correlation (what deep learning calls convolution), its gradients, and its transpose.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "core/window.h"
#include "fastconv/types.h"

namespace fastconv {

// What a call to conv2d says besides its arrays.
struct Conv2dParams {
    enum class Padding { explicit_, same, valid };

    std::array<int64_t, 2> stride{1, 1};
    std::array<int64_t, 2> padding{0, 0};
    Padding padding_mode = Padding::explicit_;
    std::array<int64_t, 2> dilation{1, 1};
    int64_t groups = 1;
    Layout layout = Layout::nchw;
};

// One checked convolution: x (N, C, H, W), weight (K, C/groups, R, S), y (N, K, P, Q), the sizes of x and y
// in `layout` order in memory.
struct Conv2dProblem {
    DType dtype = DType::f32;
    Layout layout = Layout::nchw;
    int64_t n = 0, c = 0, h = 0, w = 0;
    int64_t k = 0, r = 0, s = 0;
    int64_t p = 0, q = 0;
    WindowAxis vertical, horizontal;
    int64_t groups = 1;

    int64_t group_c() const { return c / groups; }
    int64_t group_k() const { return k / groups; }
    int64_t taps() const { return r * s; }
    int64_t pixels_in() const { return h * w; }
    int64_t pixels_out() const { return p * q; }
    bool unpadded_1x1() const {
        return r == 1 && s == 1 && vertical.pad_begin == 0 && vertical.pad_end == 0 &&
               horizontal.pad_begin == 0 && horizontal.pad_end == 0;
    }
    // One filter an output channel; K may be a multiple of C.
    bool depthwise() const { return groups == c && groups > 1; }
    Shape x_shape() const;
    Shape weight_shape() const { return {k, group_c(), r, s}; }
    Shape y_shape() const;
};

// Checks shapes and parameters and works out the output size. ShapeError naming `op` where something does not
// fit.
Conv2dProblem conv2d_problem(const char* op, DType dtype, const Shape& x, const Shape& weight,
                             const Conv2dParams& params);

// The convolution whose data gradient is the transposed convolution of `input` (the gradient's role is the
// input's, and `weight` is (C_in, C_out/groups, R, S)).
Conv2dProblem conv_transpose2d_problem(const char* op, DType dtype, const Shape& input, const Shape& weight,
                                       const Conv2dParams& params,
                                       const std::array<int64_t, 2>& output_padding);

// y = conv(x, weight) + bias; bias (K values) may be null. `algorithm` names a candidate, or "" for the best
// one that takes the problem; ShapeError where the named one does not.
void conv2d_fprop(const Conv2dProblem& problem, const void* x, const void* weight, const void* bias, void* y,
                  const std::string& algorithm = "");
// dx = gradient with respect to x. `bias` (C values, or null) is added: the transposed convolution's bias.
void conv2d_dgrad(const Conv2dProblem& problem, const void* weight, const void* dy, const void* bias,
                  void* dx, const std::string& algorithm = "");
// dweight = gradient with respect to weight.
void conv2d_wgrad(const Conv2dProblem& problem, const void* x, const void* dy, void* dweight,
                  const std::string& algorithm = "");
// dbias[k] = sum of dy over images and pixels.
void conv2d_bias_grad(const Conv2dProblem& problem, const void* dy, void* dbias);

// The names of the candidates for "fprop", "dgrad" or "wgrad", best first, each with "" or the reason why it
// declines this problem.
std::vector<std::pair<std::string, std::string>> conv2d_candidates(const Conv2dProblem& problem,
                                                                   const std::string& direction);

}  // namespace fastconv
