// The form that every float32 convolution direction is brought into before it reaches the per-ISA kernels:
//
//   out[n, i, j, o] = bias[o] + sum over taps t, channels c of
//                     in[n, i * step_h + dh[t], j * step_w + dw[t], c] * weight[t, c, o]
//
// with zeros outside the input. fprop has one tap for each filter position. dgrad of stride s splits into s x
// s residue classes of output pixels; within a class the taps that reach it are a dense convolution of stride
// 1 over dy, so that no zero is ever multiplied.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cpu/isa.h"
#include "ops/conv2d/conv2d.h"

namespace fastconv {

struct Tap {
    int64_t dh, dw;  // where it falls in the input, from the pixel's own place
    int64_t index;   // r * S + s: its place in the weight array
};

// Consecutive taps whose input pixels are neighbours in memory: `first` in the tap list, its offset.
struct TapRun {
    int64_t first, count;
    int64_t dh, dw;
};

// What follows the bias: an array like the output is added, then an activation, or its gradient by what it
// saved.
template <class E>
struct FinishOf {
    const E *residual = nullptr, *saved = nullptr;
    const E* out = nullptr;  // the output array, of which a kernel finishes piece by piece
    bool activate = false;
    Activation activation = Activation::relu;
    float slope = 0;

    FinishOf() = default;
    FinishOf(const ConvEpilogue& e, const void* output)
        : residual(static_cast<const E*>(e.residual)),
          saved(static_cast<const E*>(e.saved)),
          out(static_cast<const E*>(output)),
          activate(e.activate),
          activation(e.activation),
          slope(static_cast<float>(e.slope)) {}
    explicit FinishOf(const ConvArgs& args) : FinishOf(args.epilogue, args.out) {}
    bool nothing() const { return !residual && !activate && !saved; }
};
using Finish = FinishOf<float>;

// What comes before: the input's line and ReLU, arrays of all channels.
struct InputLine {
    bool wanted = false, relu = false;
    const float *center = nullptr, *scale = nullptr, *shift = nullptr;

    InputLine() = default;
    explicit InputLine(const ConvPrologue& p)
        : wanted(p.wanted),
          relu(p.line.relu),
          center(static_cast<const float*>(p.line.center)),
          scale(static_cast<const float*>(p.line.scale)),
          shift(static_cast<const float*>(p.line.shift)) {}
};

// Statistics of the output before it is finished. Each work item of pixels writes its part into its own place
// of `partials`: 3 floats an output channel.
struct OutputMoments {
    bool wanted = false;
    float* partials = nullptr;
    double *mean = nullptr, *deviations = nullptr;

    OutputMoments() = default;
    explicit OutputMoments(const ConvStatistics& s)
        : wanted(s.wanted), mean(s.mean), deviations(s.deviations) {}
};

// ConvGradientSums of the output after it is finished. Each work item of pixels writes its part into its own
// place of `partials`: 2 floats an output channel.
struct OutputSums {
    bool wanted = false, relu = false;
    const float *x = nullptr, *center = nullptr, *scale = nullptr, *shift = nullptr;
    int64_t x_pitch = 0, out_pitch = 0;  // floats from a pixel of x, or of the whole output, to the next
    float* partials = nullptr;
    double *sums = nullptr, *products = nullptr;

    OutputSums() = default;
    OutputSums(const ConvGradientSums& s, int64_t channels, int64_t pitch)
        : wanted(s.wanted),
          relu(s.line.relu),
          x(static_cast<const float*>(s.x)),
          center(static_cast<const float*>(s.line.center)),
          scale(static_cast<const float*>(s.line.scale)),
          shift(static_cast<const float*>(s.line.shift)),
          x_pitch(s.x_pitch ? s.x_pitch : channels),
          out_pitch(pitch ? pitch : channels),
          sums(s.sums),
          products(s.products) {}
};

struct GatherConv {
    // Input sizes and element strides; channels are neighbours.
    const float* in;
    int64_t n, h, w;
    int64_t in_n, in_h, in_w;

    int64_t groups, depth, width;  // depth input and width output channels per group
    const Tap* taps;               // ordered by (dh, dw)
    int64_t tap_count;
    int64_t step_h, step_w;

    // Output grid and element strides.
    int64_t rows, cols;
    float* out;
    int64_t out_n, out_c, out_h, out_w;
    const float* bias;  // groups * width values, or null
    Finish finish;
    InputLine line;  // with images that follow one another, and no `offsets`
    OutputMoments moments;
    OutputSums sums;  // of a channels-last output
    bool cold;        // the packed weights are in no cache

    // The weight of (group, output o, input c, tap index) is at g * weight_g + o * weight_o + c * weight_c +
    // index.
    const float* weight;
    int64_t weight_g, weight_o, weight_c;
    int64_t weight_taps;  // R * S

    // Where a tap never falls outside the input: offsets[t * depth + c] from the pixel's place, so that a
    // whole filter is one loop. Null otherwise.
    const int64_t* offsets;
    // Few outputs a group: lanes along the input channels (cpu/gemm/dot.h). Not with `offsets`.
    bool dot;
};

// wgrad: rows of the weight gradient (output channels) of a work item. Where pieces of x are transposed on
// the way (`planar`) and the panels still fit L2, fewer and larger parts read and transpose x less often.
inline constexpr int64_t kWgradRows = 96, kWgradPlanarRows = 256;

struct GatherWgrad {
    const float* x;
    int64_t n, h, w;
    int64_t in_n, in_h, in_w;
    const float* dy;  // groups * width channels; NHWC, or NCHW with `dy_planar`
    int64_t groups, depth, width;
    const Tap* taps;
    int64_t tap_count;
    const TapRun* runs;  // all of one length; several taps long only where none falls outside the input
    int64_t run_count;
    int64_t step_h, step_w;
    int64_t rows, cols;
    int64_t weight_taps;
    // The reduction over image rows is cut into `splits` parts, a number that depends on shapes only; their
    // partial sums are added in order.
    int64_t splits;
    // Copy x and dy into contiguous panels first. Then a slice of the work is `slice_runs` runs of taps, else
    // one.
    bool packed;
    int64_t slice_runs;
    bool dy_planar;  // with one slice, dy is transposed piece by piece as it is copied
    int team;        // direct: workers
    // 1x1 of stride 1 on NCHW arrays: x and dy (also NCHW) are transposed piece by piece in cache, not as
    // wholes.
    bool planar;
    InputLine line;  // direct, one tap

    int64_t parts() const {
        const int64_t rows = planar && depth <= kWgradPlanarRows ? kWgradPlanarRows : kWgradRows;
        return (width + rows - 1) / rows;
    }
};

// Sizes in bytes of what the caller allocates: packed weights (shared), scratch of one worker (of which the
// input on its line takes `band`), a row of zeros, the moments' partial sums.
struct GatherSizes {
    size_t packed, scratch, band, zeros, partials;
};
struct WgradSizes {
    size_t partial, scratch;
};

// Most outputs of one of several groups for which `dot` serves: their pixels may lie pages apart.
inline constexpr int64_t kFewDots = 4;
// Whether a tall tile takes a single tap, never in the padding, of few outputs (cpu/gemm/narrow.h), if it has
// `offsets`; asked without.
FC_ISA_DECLARE(bool gather_narrow_point(const GatherConv& g))
// Whether `dot` costs less than lanes along the outputs.
FC_ISA_DECLARE(bool gather_dots(int64_t depth, int64_t width, int64_t taps))
FC_ISA_DECLARE(GatherSizes gather_sizes(const GatherConv& g))
FC_ISA_DECLARE(void gather_pack(const GatherConv& g, float* packed, int team))
// The classes of a dgrad, or one problem, with their packed weights.
struct GatherClass {
    const GatherConv* g;
    const float* packed;
};
FC_ISA_DECLARE(void gather_run(const GatherClass* classes, int64_t count, char* scratch, float* zeros,
                               int team))
// What the work can be shared out by: independent units, and the most parts of the reduction.
struct WgradUnits {
    int64_t units, most_splits;
};
FC_ISA_DECLARE(WgradSizes direct_wgrad_sizes(const GatherWgrad& g))
FC_ISA_DECLARE(WgradUnits direct_wgrad_units(const GatherWgrad& g))
FC_ISA_DECLARE(void direct_wgrad_run(const GatherWgrad& g, float* partial, char* scratch, float* dweight,
                                     int team))
FC_ISA_DECLARE(WgradSizes wgrad_sizes(const GatherWgrad& g))
FC_ISA_DECLARE(void wgrad_run(const GatherWgrad& g, float* partial, char* scratch, float* dweight, int team))

// 1x1 convolutions of NCHW arrays: y[n, o, :] = weight[o, :] x[n, :, :], lanes along the pixels. The input
// pixel of output (i, j) is (i * step_h, j * step_w).
struct PointwiseNchw {
    const float* x;
    const float* weight;  // groups x width x depth
    const float* bias;    // or null
    float* y;
    Finish finish;
    InputLine line;
    OutputMoments moments;
    int64_t n, groups, depth, width;
    int64_t h, w, step_h, step_w, rows, cols;
};
FC_ISA_DECLARE(size_t pointwise_scratch(const PointwiseNchw& g))
FC_ISA_DECLARE(size_t pointwise_partials(const PointwiseNchw& g))
FC_ISA_DECLARE(void pointwise_run(const PointwiseNchw& g, char* scratch, int team))

// Convolutions of stride 1 along a row with few output channels, on NCHW arrays in a frame of zeros: lanes
// along the pixels of an output row, where lanes along the channels would be mostly empty.
//   out[n, o, i, j] = bias[o] + sum over k < depth of weight[o][k] * in[n, offsets[k] + i * row_step + j]
struct ShiftConv {
    const float* in;
    const float* weight;  // groups x width x depth
    const float* bias;    // or null
    float* out;
    const int64_t* offsets;  // depth values for each group
    int64_t n, groups, width, depth;
    int64_t in_n, row_step;  // elements
    int64_t rows, cols;
};
FC_ISA_DECLARE(void shift_run(const ShiftConv& g))

// wgrad of few input channels, stride 1 along a row, on NCHW arrays (x in a frame of zeros).
struct ShiftWgrad {
    const float* x;
    const float* dy;
    int64_t n, groups, depth, width, r, s;
    int64_t rows, cols;           // of dy's planes
    int64_t x_plane, x_row;       // elements between planes, and between the rows that output rows start at
    int64_t tap_row, tap_column;  // elements between filter rows and between filter columns
    int64_t splits;               // parts of the images, as above
};
FC_ISA_DECLARE(int64_t shift_wgrad_partial(const ShiftWgrad& g))
FC_ISA_DECLARE(void shift_wgrad_run(const ShiftWgrad& g, float* partial, float* dweight))

}  // namespace fastconv
