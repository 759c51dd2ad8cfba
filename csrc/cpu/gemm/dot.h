// The register tile for few columns: lanes run along the reduction, where lanes along the columns would be
// mostly empty, and each sum's lanes are added at the end.
#pragma once

#include "cpu/gemm/microkernel.h"

namespace fastconv::FC_ISA_NS {

inline constexpr int kMostDots = 8;        // of a tile
inline constexpr int kMostDotsTwice = 12;  // for two passes over one tap

// The most rows of a tile of `columns`: rows * columns sums, the fewer of rows and columns, and one more
// vector fit the registers.
inline constexpr int dot_rows_for(int columns) {
#if defined(FC_ISA_AVX512)
    return columns <= 3 ? 8 : columns == 4 ? 6 : columns <= 6 ? 4 : 3;
#else
    return columns == 1 ? 8 : columns == 2 ? 6 : columns == 3 ? 4 : columns == 4 ? 3 : columns <= 6 ? 2 : 1;
#endif
}

// Floats of a column's weights at one tap: zeros behind the end.
inline constexpr int64_t dot_depth(int64_t depth) { return (depth + VL - 1) / VL * VL; }

// As RowTile and TileOut say (out.columns of B, no `ahead`, no `next`), but B is packed
// [tap][column][dot_depth(depth)], or for one tap lies in rows `column` floats apart whose depth is whole
// vectors; ldb is not used.
using DotKernel = void (*)(const RowTile&, const TileOut&);

// The kernel for `rows` (1 to dot_rows_for(columns)) by `columns` (1 to kMostDots).
DotKernel dot_kernel(int rows, int columns);

// Rows of A and C that lie a constant number of floats apart, B of one tap:
// C[i][j] = bias[j] + sum over k < depth of a[i * a_step + k] * b[j * dot_depth(depth) + k].
struct DotRows {
    const float* a;
    int64_t a_step, count, depth;
    const float* b;
    float* c;
    int64_t c_step;
    const float* bias;  // or null
    bool far;           // A comes from beyond L2: the next tile's rows are fetched meanwhile
};
using DotRowsKernel = void (*)(const DotRows&);
// For dot_rows_for(columns) rows or more; the bits are those of the tiles.
DotRowsKernel dot_rows_kernel(int columns);

}  // namespace fastconv::FC_ISA_NS
