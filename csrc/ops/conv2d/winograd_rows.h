// Winograd convolution along the rows alone, F(4, s), lanes along the images: for few channels, which would
// leave lanes along them, or along short rows, empty.
//
// Rows of x of a vector of images are cut into tiles of 4 + s - 1 pixels (fewer for the last outputs) and
// taken to the points of winograd.h; products are summed over channels and the filter's rows, one point after
// the other, weights broadcast. dgrad is the transposed algorithm: points of dy's tiles, the same products,
// and tiles of dx that overlap and are added up. So neither the frame of zeros around dy nor that of x's rows
// is multiplied. wgrad sums the products of both in each lane, and adds up the lanes at the end.
//
// Between layers arrays may stay "in lanes": (N / L, C, H, W, L) with the images of a vector of L lanes side
// by side. With `pools` an activation and averages over windows of 2x2 follow fprop, whose gradient is the
// others' dy; the activated y is then kept in lanes for them.
#pragma once

#include <cstdint>

#include "cpu/isa.h"
#include "ops/activation/activation.h"

namespace fastconv {

struct WinogradRows {
    static constexpr int64_t kTile = 4;

    int64_t n, c, h, w, k, r, s, p, q;
    int64_t stride, dilation;  // of the filter's rows
    int64_t top, left;         // padding
    const float *x, *dy, *packed, *bias;
    float* out;           // y, dx or dW
    int64_t parts, band;  // wgrad: of the images, and dy's rows at a time

    bool activate, pools;
    Activation activation;
    float slope;
    bool x_lanes, y_lanes;  // whether x or dx, and the averages or their gradient, lie in lanes
    float* kept;            // y, or null where fprop need not keep it
    float* dbias;           // wgrad's, or null

    int64_t averages_p() const { return p / 2; }
    int64_t averages_q() const { return q / 2; }
    int64_t tiles() const { return (q + kTile - 1) / kTile; }
    int64_t points() const { return kTile + s - 1; }
    // Tiles that have the point.
    int64_t tiles_with(int64_t point) const {
        return point < q - (tiles() - 1) * kTile + s - 1 ? tiles() : tiles() - 1;
    }
    // Points of a row, and those of the points before one.
    int64_t row_points() const { return before(points()); }
    int64_t before(int64_t point) const {
        const int64_t all = q - (tiles() - 1) * kTile + s - 1;
        return point <= all ? point * tiles() : all * tiles() + (point - all) * (tiles() - 1);
    }
    // Rows of x that wgrad reads, padding included.
    int64_t reach(int64_t rows) const { return (rows - 1) * stride + (r - 1) * dilation + 1; }
};

FC_ISA_DECLARE(int64_t winograd_rows_lanes())
// Floats of the packed weights, and of a worker's scratch memory.
FC_ISA_DECLARE(int64_t winograd_rows_packed(const WinogradRows& g))
FC_ISA_DECLARE(void winograd_rows_pack(const WinogradRows& g, bool dgrad, const float* weight, float* packed))
FC_ISA_DECLARE(int64_t winograd_rows_scratch(const WinogradRows& g))
FC_ISA_DECLARE(int64_t winograd_rows_wgrad_scratch(const WinogradRows& g))
FC_ISA_DECLARE(void winograd_rows_fprop(const WinogradRows& g, float* scratch, int team))
FC_ISA_DECLARE(void winograd_rows_dgrad(const WinogradRows& g, float* scratch, int team))
// partial: dW of each part, then dbias of each.
FC_ISA_DECLARE(void winograd_rows_wgrad(const WinogradRows& g, float* partial, float* scratch, int team))

}  // namespace fastconv
