// Two-dimensional cross-correlation (what deep learning calls convolution), its gradients, and its transpose.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/window.h"
#include "fastconv/types.h"
#include "ops/activation/activation.h"
#include "ops/batch_norm/batch_norm.h"

namespace fastconv {

// What a call to conv2d says besides its arrays.
struct Conv2dParams {
    enum class Padding { explicit_, same, valid };

    std::array<int64_t, 2> stride{1, 1};
    std::array<int64_t, 2> padding{0, 0};
    // At the bottom and right, where that is not the same.
    std::optional<std::array<int64_t, 2>> padding_after;
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
    // Channels-last arrays may be slices of longer ones: elements from a pixel of x or y to the next, 0 where
    // that is c or k. Only ConvPlan knows of them.
    int64_t x_pitch = 0, y_pitch = 0;

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

// What happens to each value of the output before it is stored, in this order.
struct ConvEpilogue {
    const void* bias = nullptr;      // one value an output channel, added
    const void* residual = nullptr;  // an array like the output, added
    bool activate = false;
    Activation activation = Activation::relu;
    double slope = 0.01;  // leaky_relu's
    // An array like the output: what the gradient of `activation` reads (its output or input), by which the
    // result is multiplied. Instead of `activate`.
    const void* saved = nullptr;

    bool plain() const { return !residual && !activate && !saved; }
};

// What happens to each value of x before it is convolved: its channel's line, then perhaps a ReLU. Padding
// stays zero. The line's arrays may be null where memory is only
// counted.
struct ConvPrologue {
    bool wanted = false;
    BatchNormLine line;
};

// What batch-norm wants to know of y: each output channel's mean and sum of (y - mean)^2 over images and
// pixels, y being what it is before the epilogue's residual and activation. K values each; zeros for an empty
// batch.
struct ConvStatistics {
    bool wanted = false;
    double *mean = nullptr, *deviations = nullptr;
};

// What the backward pass of a batch-norm of x wants to know of dx, both float32 and channels-last: with g =
// dx, or with line.relu 0 where the line of x is not above 0, each channel's sum of g and of g * (x -
// center). C values each; zeros for an empty batch.
struct ConvGradientSums {
    bool wanted = false;
    const void* x = nullptr;
    int64_t x_pitch = 0;  // elements from pixel to pixel of x; 0: C
    BatchNormLine line;
    double *sums = nullptr, *products = nullptr;
};

// The arrays of fprop (in = x, out = y) or dgrad (in = dy, out = dx).
struct ConvArgs {
    const void* in = nullptr;
    const void* weight = nullptr;
    const void* packed = nullptr;  // the chosen candidate's packed weights
    bool cold = false;             // which are in no cache: other layers have run meanwhile
    ConvPrologue prologue;         // fprop
    ConvEpilogue epilogue;
    ConvStatistics statistics;  // fprop
    ConvGradientSums sums;      // dgrad
    void* out = nullptr;
    int team = 1;  // workers that the workspace has room for
};
struct WgradArgs {
    const void* x = nullptr;
    const void* dy = nullptr;
    void* dweight = nullptr;
    ConvPrologue prologue;  // of x
    int team = 1;
};

// fprop: y = conv(x, weight), then the epilogue. `algorithm` names a candidate, or "" for the best one that
// takes the problem; ShapeError where the named one does not.
void conv2d_fprop(const Conv2dProblem& problem, const void* x, const void* weight,
                  const ConvEpilogue& epilogue, void* y, const std::string& algorithm = "");
// dx = gradient with respect to x. The epilogue serves the transposed convolution (bias: C values).
void conv2d_dgrad(const Conv2dProblem& problem, const void* weight, const void* dy,
                  const ConvEpilogue& epilogue, void* dx, const std::string& algorithm = "");
// dweight = gradient with respect to weight.
void conv2d_wgrad(const Conv2dProblem& problem, const void* x, const void* dy, void* dweight,
                  const std::string& algorithm = "");
// dbias[k] = sum of dy over images and pixels.
void conv2d_bias_grad(const Conv2dProblem& problem, const void* dy, void* dbias);

enum class ConvDirection { fprop, dgrad, wgrad };
ConvDirection conv_direction(const std::string& name);  // ShapeError for an unknown one

struct ConvCandidate;
struct WgradCandidate;

// One convolution with its algorithm chosen, for callers that run it often and bring their own memory: query,
// allocate, pack once, run many times.
class ConvPlan {
  public:
    // `weights_stay`: they are packed once for many runs.
    ConvPlan(const Conv2dProblem& problem, ConvDirection direction, const std::string& algorithm = "",
             bool weights_stay = false);

    const char* algorithm() const;
    const Conv2dProblem& problem() const { return problem_; }
    ConvDirection direction() const { return direction_; }
    // 64-byte aligned memory that `pack` fills and `run` reads: 0 where weights are read as they are.
    size_t packed_bytes() const;
    void pack(const void* weight, void* packed) const;
    // Whether a single run is quicker with args.packed null than with weights packed just for it.
    bool packs_itself(int team) const;
    // Whether the algorithm normalises x as it reads it, and takes statistics of y as it writes it; otherwise
    // a pass over the array does.
    bool fuses_prologue() const;
    bool fuses_statistics() const;
    // Whether args.sums may be wanted.
    bool takes_gradient_sums() const;
    // 64-byte aligned memory that `run` needs for so many workers, with a prologue, statistics or sums, and
    // where the result has a pitch with an epilogue of more than a bias.
    size_t workspace_bytes(int team, bool prologue = false, bool statistics = false, bool epilogue = false,
                           bool sums = false) const;
    // fprop and dgrad. Neither allocates nor throws. `args.packed` must be set where packed_bytes() is not 0,
    // unless packs_itself().
    void run(const ConvArgs& args, void* workspace) const;
    void run(const WgradArgs& args, void* workspace) const;

  private:
    Conv2dProblem problem_;
    ConvDirection direction_;
    const ConvCandidate* conv_ = nullptr;
    const WgradCandidate* wgrad_ = nullptr;
};

// The names of the candidates for a direction, best first (as ConvPlan chooses), each with "" or the reason
// why it declines this problem.
std::vector<std::pair<std::string, std::string>> conv2d_candidates(const Conv2dProblem& problem,
                                                                   ConvDirection direction,
                                                                   bool weights_stay = false);

}  // namespace fastconv
