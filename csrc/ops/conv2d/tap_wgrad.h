// wgrad of few input channels a group: a tile's rows are taps (input channel and filter position), its lanes
// output channels, and the reduction runs over pixels. The input rows under a few output rows are copied into
// a frame of zeros in cache; dy is read in place (NHWC) or transposed row by row (NCHW).
#pragma once

#include <cstddef>
#include <cstdint>

#include "cpu/isa.h"

namespace fastconv {

struct TapWgrad {
    const float* x;
    const float* dy;
    bool nchw;
    int64_t n, c, h, w, k, p, q;
    int64_t groups;  // 1 with nchw
    int64_t stride_h, stride_w, pad_h, pad_w;
    int64_t filter, taps;    // r * s, and those of a group: c / groups * r * s
    const int64_t* offsets;  // of each tap in the band: (channel, r, s), or `by_pixel` (r, s, channel)
    bool by_pixel;
    int64_t run;   // taps that follow one another in the band, for tiles of runs; 0: none
    int64_t band;  // output rows of a band
    int64_t band_rows, band_cols;
    int64_t splits;  // parts of the reduction over rows, a number that depends on shapes only
    // Whether each group's pixels are copied close together; otherwise a band holds all channels.
    bool apart;
    int64_t together;  // groups of a work item: apart, those whose channels fill a cache line of a pixel

    int64_t band_channels() const { return apart ? c / groups : c; }
    int64_t band_floats() const { return (band_channels() * band_rows * band_cols + 63) / 64 * 64; }
    int64_t parts() const { return (groups + together - 1) / together; }
};

struct TapWgradSizes {
    int64_t partial, scratch;  // floats; scratch is a worker's
};
// Most outputs of a group whose tiles take runs of taps.
FC_ISA_DECLARE(int64_t tap_wgrad_run_outputs())
FC_ISA_DECLARE(TapWgradSizes tap_wgrad_sizes(const TapWgrad& g))
FC_ISA_DECLARE(void tap_wgrad_run(const TapWgrad& g, float* partial, float* scratch, float* dweight,
                                  int team))

}  // namespace fastconv
