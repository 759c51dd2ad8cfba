// The register tile that every GEMM-like kernel ends in: MR rows by NV vectors, accumulated over one or more
// segments of the reduction.
#pragma once

#include "cpu/gemm/blocking.h"

namespace fastconv::FC_ISA_NS {

// Lines of the tile that is computed next, owned for writing meanwhile: rows of NV vectors from `column` on.
// Stores that wait for their lines took a third of the time of convolutions with few input channels. Then
// lines so many floats away, which are read when the tiles are done; 0: none.
struct NextLines {
    float* const* rows = nullptr;
    int64_t count = 0, column = 0;
    int64_t read = 0, read_too = 0;
};

// What becomes of a tile's sums as they are stored: a residual `residual` floats behind each value's place
// (0: none) is added, then they are brought into [low, high] (`clamp`; NaN stays).
struct TileEnd {
    int64_t residual = 0;
    bool clamp = false;
    float low = 0, high = 0;
};

// Where the result goes: row i of the tile is rows[i][0 .. columns).
struct TileOut {
    float* const* rows;
    int64_t columns;           // (NV - 1) * VL < columns <= NV * VL
    const float* column_bias;  // added to every row (readable for `columns` values), or null
    const float* row_bias;     // row_bias[i] added to row i, or null
    bool accumulate;           // add to what is there instead of overwriting it
    NextLines next = {};       // row and offset kernels
    TileEnd end = {};          // likewise
};

// C[i][j] = sum over t < taps, k < depth of a[t * a_step + i][offsets[t] + k] * b[(t * depth + k) * ldb + j]
// (offsets may be null: zeros). Rows of A are contiguous in k, each behind its own pointer: a convolution's
// input pixels need no packing, and a pixel in the padding points to zeros. B is packed, or any matrix with
// unit column stride; its last vector is masked, so that nothing beyond `columns` is read, unless it is
// `whole`: NV vectors a row.
struct RowTile {
    const float* const* a;
    int64_t a_step;
    int64_t taps;
    int64_t depth;
    const float* b;
    int64_t ldb;
    const int64_t* offsets = nullptr;
    // Floats from A's rows to those that are wanted next, which are brought into L2 at the pace of the
    // reduction; 0: none.
    int64_t ahead = 0;
    bool whole = false;
    // Lines of weights that are wanted next, likewise; for dot tiles columns of them, as far apart as B's.
    const float* next_b = nullptr;
    int64_t next_lines = 0;
    // For dot tiles: floats between B's columns; 0: as they are packed.
    int64_t column = 0;
};

// C[i][j] = sum over k < depth of a[i][offsets[k]] * b[k * ldb + j]: one loop over a whole filter, where a
// start at every tap would cost more than the few channels behind it. Every offset from every row must be
// readable, and NV vectors of every row of B.
struct OffsetTile {
    const float* const* a;
    const int64_t* offsets;
    int64_t depth;
    const float* b;
    int64_t ldb;
};

// C[i][j] = sum over k < depth of a[i][k] * b[offsets[k] + j]: lanes run along a row of an image plane, and
// each step of the reduction is another plane or another shift of it.
struct ShiftTile {
    const float* const* a;
    const float* b;
    const int64_t* offsets;
    int64_t depth;
};

// C[i][j] = sum over segments s, k < s.depth of a[s.a + k * lda + i] * b[s.b + k * ldb + j].
// A is read down its columns (lda apart): the weight gradient's reduction over runs of pixels.
struct Segment {
    int64_t a;
    int64_t b;
    int64_t depth;
};
struct ColumnTile {
    const float* a;
    int64_t lda;
    const float* b;
    int64_t ldb;
    const Segment* segments;
    int64_t count;
};

// C[i][j] = sum over k < depth of a[k * lda + i] * b[offsets[k] + j]: the same over single pixels, wherever
// they lie.
struct PixelTile {
    const float* a;
    int64_t lda;
    const float* b;
    const int64_t* offsets;
    int64_t depth;
    // What is wanted next comes into L2 at the pace of the reduction: at every step the line `ahead` floats
    // from A's (0: none), and `next_rows` times kSteps lines, `next_step` floats from one time to the next.
    int64_t ahead = 0;
    const float* next = nullptr;
    int64_t next_step = 0, next_rows = 0;
};

using RowKernel = void (*)(const RowTile&, const TileOut&);
using OffsetKernel = void (*)(const OffsetTile&, const TileOut&);
using ShiftKernel = void (*)(const ShiftTile&, const TileOut&);
using PixelKernel = void (*)(const PixelTile&, const TileOut&);
using ColumnKernel = void (*)(const ColumnTile&, const TileOut&);

// Steps of the reduction in a turn of a kernel's loop.
inline constexpr int kSteps = 4;

// The kernel for `rows` (1 to rows_for(nv), of row tiles to most_rows_for(nv)) by `nv` (1 to kMaxNV)
// vectors. With more than rows_for(nv) rows a row tile is `whole`.
RowKernel row_kernel(int rows, int nv);
OffsetKernel offset_kernel(int rows, int nv);
ShiftKernel shift_kernel(int rows, int nv);
ColumnKernel column_kernel(int rows, int nv);
PixelKernel pixel_kernel(int rows, int nv);

}  // namespace fastconv::FC_ISA_NS
