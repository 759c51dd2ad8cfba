// bfloat16 convolution: the form that its kernels take, and which kernels this machine can run.
//
// The kernels of cpu/bf16/ are built for AVX-512 with BF16 and AMX in a namespace of their own, and are never
// entered without the run-time check of bf16_tier().
#pragma once

#include <cstddef>
#include <cstdint>

namespace fastconv {

// How bfloat16 products are computed; all accumulate in float32.
enum class Bf16Tier {
    emulated,     // widened to float32, through the float32 kernels
    avx512_bf16,  // vdpbf16ps
    amx,          // tdpbf16ps on tiles
};
const char* name(Bf16Tier tier);

// The best tier of the active ISA that the processor and the operating system allow, or the one that
// FASTCONV_BF16=amx|avx512_bf16|emulated asks for; DeviceError where that is unknown or cannot run here.
Bf16Tier bf16_tier();

// What a vdpbf16ps takes of an FMA's time, 1 or 1.75: measured once, when first asked for, and rounded to one
// of the two, so that choices, and with them bits, do not change from run to run. 1 without the instruction.
double bf16_dot_time();

struct Bf16Tap {
    int64_t dh, dw;  // where it falls in the input, from the pixel's own place
    int64_t index;   // its place in the weight array
};

// As GatherConv (gather.h):
//   out[n, i, j, o] = bias[o] + sum over taps t, channels c of
//                     in[n, i * step_h + dh[t], j * step_w + dw[t], c] * weight[t, c, o]
struct Bf16Conv {
    const uint16_t* in;
    int64_t n, h, w;
    int64_t in_n, in_h, in_w;  // element strides; channels are neighbours

    int64_t groups, depth, width;
    const Bf16Tap* taps;
    int64_t tap_count;
    // Taps in groups of `run` neighbours in memory, more than one for few channels (and then one group): each
    // group is one tap of run * depth channels.
    int64_t run;
    int64_t step_h, step_w;

    int64_t rows, cols;
    uint16_t* out;
    int64_t out_n, out_h, out_w;
    const float* bias;  // groups * width values, or null
    // Before the rounding: added, and ReLU or (where `saved`, like the output, is not positive) its gradient.
    const uint16_t *residual, *saved;
    bool relu;

    const uint16_t* weight;
    int64_t weight_g, weight_o, weight_c;
    int64_t weight_taps;  // R * S: a filter's elements, one run of memory

    bool amx;  // tdpbf16ps rather than vdpbf16ps
};

// dweight[g, o, c, index[t]] = sum over n, i, j of dy[n, i, j, o] * in[n, i * step_h + dh[t], j * step_w +
// dw[t], c]
struct Bf16Wgrad {
    const uint16_t* in;
    int64_t n, h, w;
    int64_t in_n, in_h, in_w;
    const uint16_t* dy;  // contiguous, groups * width channels
    int64_t groups, depth, width;
    const Bf16Tap* taps;
    int64_t tap_count;
    int64_t run;
    int64_t step_h, step_w;
    int64_t rows, cols;
    int64_t weight_taps;
    bool amx;
};

// Bytes that the caller allocates: packed weights, scratch of one worker (wgrad: partial sums and scratch).
struct Bf16Sizes {
    size_t shared, scratch;
};

#ifdef FASTCONV_HAS_X86
namespace isa_avx512_bf16 {
// The time of a vdpbf16ps over that of an FMA, on registers.
double bf16_measure_dot();
// Whether the frame of zeros around an item's input stays small against it.
bool bf16_conv_fits(const Bf16Conv& g);
Bf16Sizes bf16_conv_sizes(const Bf16Conv& g);
// Whether bf16_conv_run does well without packed weights (null), packing parts of them on the way.
bool bf16_conv_packs_itself(const Bf16Conv& g);
// The weights of `count` convolutions, the residue classes of one dgrad, one after the other.
void bf16_conv_pack(const Bf16Conv* parts, int64_t count, char* packed, int team);
void bf16_conv_run(const Bf16Conv& g, const char* packed, char* scratch, int team);

bool bf16_wgrad_fits(const Bf16Wgrad& g);
Bf16Sizes bf16_wgrad_sizes(const Bf16Wgrad& g);
// out[j * rows + i] = in[i * columns + j] for `count` matrices.
void bf16_transpose_batch(const uint16_t* in, uint16_t* out, int64_t count, int64_t rows, int64_t columns,
                          int team);
// dweight is float32 or bfloat16.
void bf16_wgrad_run(const Bf16Wgrad& g, char* partial, char* scratch, void* dweight, bool dweight_f32,
                    int team);
}  // namespace isa_avx512_bf16
#endif

}  // namespace fastconv
