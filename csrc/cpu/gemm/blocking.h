// Every block size of the GEMM-like kernels, per ISA, on one page.
#pragma once

#include "cpu/simd/simd.h"

namespace fastconv::FC_ISA_NS {
namespace {

// A microkernel tile is MR rows by NV vectors of accumulators. It needs MR * NV + NV + 1 vector registers,
// and at least (FMA latency x FMAs a cycle) = 8 independent accumulators to keep two FMA units busy.
#if defined(FC_ISA_AVX512)
// 32 registers: 6x4 uses 29, 8x3 28, 8x2 19, 8x1 (two sets of accumulators) 18. Eight rows at most: each
// row's pointer wants a general register, and there are 16.
inline constexpr int kMaxNV = 4;
inline constexpr int rows_for(int nv) { return nv == 4 ? 6 : 8; }
// Row tiles may be 7x4: 28 sums, three vectors of B and one of A, the fourth of B read by each product.
inline constexpr int most_rows_for(int nv) { return nv == 4 ? 7 : 8; }
#elif defined(FC_ISA_AVX2)
// 16 registers: 6x2 uses 15, 6x1 (two sets of accumulators) 14.
inline constexpr int kMaxNV = 2;
inline constexpr int rows_for(int) { return 6; }
inline constexpr int most_rows_for(int) { return 6; }
#else
// 16 registers and a separate multiply: 4x2 uses 8 + 2 + 2.
inline constexpr int kMaxNV = 2;
inline constexpr int rows_for(int) { return 4; }
inline constexpr int most_rows_for(int) { return 4; }
#endif
inline constexpr int kMaxMR = 8;
// Rows of a tile of one vector whose rows share a pointer (narrow.h): as many as the registers hold, and
// three addresses reach.
inline constexpr int kNarrowRows = VL == 16 ? 15 : 12;
inline constexpr int kMaxNR = kMaxNV * VL;

// Pixels that a convolution's work item covers: with 64 channels of input and output each, 96 pixels of both
// fill L1, and the weights of one output block are read once for all of them.
inline constexpr int kPixelBlock = 96;
// Up to so many pixels, 16 items or fewer, threads wait for who has the larger share, and for remainders.
inline constexpr int64_t kFewPixels = 16 * kPixelBlock;
// Steps of the reduction from which on tiles of most_rows_for() rows are as fast as others.
inline constexpr int64_t kManySteps = 256;
// Most bytes of the pointer table (pixels x taps) of a work item.
inline constexpr int kPointerTableBytes = 32 << 10;

// Weights of the next block of outputs are fetched while this one is computed where they come from memory:
// few work items share them, or all of them together (floats) are more than L2 holds. Two blocks must fit
// there.
inline constexpr int64_t kFewItems = 8, kWeightsInL2 = 512 << 10, kMostFetched = 128 << 10;
// Weights of taps that L2 holds beside the pixels, floats: a larger block is taken so many taps at a time.
inline constexpr int64_t kChunkFloats = 56 << 10;
// An input of more floats than that comes from beyond L2.
inline constexpr int64_t kInputInL2 = 256 << 10;

// wgrad: reduction length (pixels) between two visits to the accumulator block in memory: 128 pixels of one
// block of columns are 32 KB and stay in L1, and loading and storing the block costs 3 % of the arithmetic.
inline constexpr int kReductionBlock = 128;
// A row of up to this many pixels is one block; a longer one is cut, or its panels would outgrow the arrays.
inline constexpr int kReductionRow = 512;

// Direct wgrad: output pixels of a band. The tap's window of 128 pixels of 64 channels is 32 KB and stays in
// L1 while the output channels pass over it; loading and storing a tile of the result once a band costs 3 %
// of the arithmetic.
inline constexpr int kWgradBand = 128;
// With one tap, whose panel serves once: half of L1, so that it stays there beside dy's lines.
inline constexpr int kWgradPointBand = 96;
// Vectors of input channels in a panel: 64 channels, of which a tile takes kMaxNV vectors. A line of dy that
// a tile reads serves all of them.
inline constexpr int kWgradVectors = 64 / VL > kMaxNV ? 64 / VL : kMaxNV;
// Output channels that pass over one panel of x, and that are copied at a time.
inline constexpr int kWgradPart = 512, kWgradChunk = 96;
// With one tap: most floats from pixel to pixel of an x that is read where it lies (beyond, its lines share
// sets of L1), and floats of results of the blocks that pass over a band one after another (a part of L2).
inline constexpr int64_t kWgradXInPlace = 128, kWgradTogether = 64 << 10;
// Work items that it wants, for threads to share.
inline constexpr int kWgradUnits = 16;

}  // namespace
}  // namespace fastconv::FC_ISA_NS
