// Convolution with lanes along the pixels of rows, for the ends of a network: few input channels on NCHW
// arrays, few output channels (dgrad of a first layer) and depthwise filters on NCHW arrays.
//
// A work item is a band of output rows of one image and group. The input rows under it are copied into a
// frame of zeros in cache, one plane a channel, and for a column stride each row is split into its phases, so
// that every tap is a run of neighbours. Then
//   out[o][i, j] = bias[o] + sum over steps k of weight[k][o] * band[offset[k] + place of (i, j)].
// dgrad of stride s does this for each of the s x s residue classes of its pixels, so that no zero is
// multiplied.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cpu/isa.h"

namespace fastconv {

// A vector of neighbouring output pixels of a row: its place in the band and in the output, and its length.
struct PlanarVector {
    int64_t in, out, count;
};

struct PlanarClass {
    int64_t residue_h, residue_w;  // output pixel (i, j) of the class is (i * stride + residue)
    int64_t rows, cols;            // of its grid
    int64_t steps;                 // reduction length
    const int64_t* offsets;        // of each step, in the band
    const float* weight;           // [group][block of outputs][step][output of the block]
    const PlanarVector* vectors;   // of a whole band, row by row
    int64_t row_vectors;
};

struct PlanarConv {
    const float* in;
    int64_t n, groups, depth, width;  // input and output channels a group
    int64_t h, w;                     // of an input plane
    int64_t in_n, in_c, in_h, in_w;   // element strides
    int64_t row_step, phases;         // input rows and columns an output row and column moves
    int64_t low_h, low_w;             // input position of band row and column 0 for output 0
    int64_t band, band_rows, pitch;   // output rows of a band, its input rows, floats of a phase's row
    const PlanarClass* classes;
    int64_t class_count, rows;  // rows: the most of any class
    const float* bias;          // groups * width values, or null
    float* out;
    int64_t out_n, out_c, out_h, out_w;  // element strides
    int64_t stride_h, stride_w;          // of a class's pixels in the output
    // One class of neighbouring pixels is stored in place; else through a piece of scratch.
    bool direct;

    int64_t blocks() const { return (width + 7) / 8; }
    int64_t phase_row() const { return pitch; }
    int64_t band_row() const { return phases * pitch; }
    int64_t band_floats() const { return depth * band_rows * band_row() + 64; }
    int64_t piece_row() const { return (classes[0].cols + 15) / 16 * 16; }
    int64_t piece_floats() const { return direct ? 0 : class_count * width * band * piece_row(); }
};

FC_ISA_DECLARE(int64_t planar_lanes())
// scratch: (band_floats() + piece_floats()) floats for each worker of the team.
FC_ISA_DECLARE(void planar_run(const PlanarConv& g, float* scratch, int team))

}  // namespace fastconv
