// Convolution of channels-last arrays with few channels a group (a depthwise filter is the case of one):
// lanes run along the output channels of all groups or, where those are fewer than lanes, along columns and
// channels of a row together.
//
// A work item is a chunk of output rows of one image and one vector of output channels, band by band. The
// input under a band is copied into a frame of zeros in L1 or near it, once for each input channel d of a
// group: lane l of a column holds the d-th input of that lane's group. A column stride splits each row into
// its phases. Every step k = (d, tap) of the reduction is then one vector of weights times runs of
// neighbours,
//   out[i, j, lane] = bias[lane] + sum over steps k of weight[k][lane] * band[place(i, j) + offset[k]][lane],
// without a lane that waits for another group. dgrad of stride s does this for each of the s x s residue
// classes of its pixels, so that no zero is multiplied. wgrad sums dy[i, j, lane] * band[...][lane] over the
// pixels.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cpu/isa.h"

namespace fastconv {

// A vector of a band: its place in the band and in the output, and how many lanes count.
struct StripVector {
    int64_t in, out, count;
};

// `count` steps that read neighbouring columns, the first of them `offset` in the band.
struct StripRun {
    int64_t offset, count;
};
inline constexpr int64_t kMostRun = 4;

struct StripClass {
    int64_t residue_h, residue_w;  // output pixel (i, j) of the class is (i * stride + residue)
    int64_t rows, cols;            // of its grid
    int64_t steps;                 // reduction length
    const int64_t* offsets;        // of each step, in the band
    const StripRun* runs;          // the same steps
    int64_t run_count;
    const float* weight;         // [block][step][lane]
    const StripVector* vectors;  // of a whole band, row by row
    int64_t row_vectors;
};

struct StripConv {
    const float* in;
    int64_t n, h, w;                  // of the input
    int64_t groups, depth, width;     // input and output channels a group
    int64_t row_step, phases;         // input rows and columns an output row and column moves
    int64_t low_h, low_w;             // input position of band row and column 0 for output 0
    int64_t band, band_rows, pitch;   // output rows of a band, its input rows, columns of a phase's row
    uint64_t used_rows, used_phases;  // bit e % row_step: whether a tap reads row e of the band; phases alike
    int64_t chunk;                    // bands of a work item, which hand rows on to each other
    int64_t column, step;             // floats between columns of the band, between vectors of a row
    int64_t lanes;                    // of a vector
    const StripClass* classes;
    int64_t class_count, rows;  // rows: the most of any class
    const float* bias;          // groups * width values, or null
    float* out;
    int64_t out_h, out_w;        // size of the output
    int64_t stride_h, stride_w;  // of a class's pixels in the output
    // wgrad
    const float* dy;
    // Parts of the chunks, and the work items that are wanted: numbers that depend on shapes only.
    int64_t splits, items;

    int64_t channels_in() const { return groups * depth; }
    int64_t channels_out() const { return groups * width; }
    // Fewer output channels than lanes: a vector holds several columns.
    bool flat() const { return channels_out() < lanes; }
    int64_t blocks() const { return (channels_out() + lanes - 1) / lanes; }
    // With room for the last vector's lanes behind the end.
    int64_t phase_row() const { return pitch * column + (flat() ? lanes : 0); }
    int64_t band_row() const { return phases * phase_row(); }
    int64_t band_floats() const { return depth * band_rows * band_row() + lanes; }
    // Results of a flat row that go to scattered pixels.
    bool scattered() const { return flat() && stride_w > 1; }
    int64_t piece_floats() const { return scattered() ? classes[0].cols * column + lanes : 0; }
    int64_t bands() const { return (rows + band - 1) / band; }
    int64_t chunks() const { return (bands() + chunk - 1) / chunk; }
};

FC_ISA_DECLARE(int64_t strip_lanes())
// scratch: (band_floats() + piece_floats()) floats a worker.
FC_ISA_DECLARE(void strip_run(const StripConv& g, float* scratch, int team))
// scratch: (band_floats() + band * row_vectors * lanes) floats a worker; partial: splits * blocks * steps *
// lanes, of which the first part becomes the sum.
FC_ISA_DECLARE(void strip_wgrad_run(const StripConv& g, float* partial, float* scratch, int team))

}  // namespace fastconv
