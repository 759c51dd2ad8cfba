#include "cpu/gemm/microkernel.h"

namespace fastconv::FC_ISA_NS {
namespace {

// Loads row j of B's NV vectors; the last is masked.
template <int NV>
inline void load_b(const float* b, Tail last, vf (&v)[NV]) {
#pragma GCC unroll 4
    for (int j = 0; j < NV - 1; ++j) v[j] = load(b + j * VL);
    v[NV - 1] = load(b + (NV - 1) * VL, last);
}

template <int MR, int NV>
inline void write(const TileOut& out, Tail last, vf (&acc)[MR][NV]) {
    if (out.column_bias) {
        vf bias[NV];
        load_b<NV>(out.column_bias, last, bias);
#pragma GCC unroll 8
        for (int i = 0; i < MR; ++i)
#pragma GCC unroll 4
            for (int j = 0; j < NV; ++j) acc[i][j] = acc[i][j] + bias[j];
    }
#pragma GCC unroll 8
    for (int i = 0; i < MR; ++i) {
        float* row = out.rows[i];
        if (out.row_bias) {
            const vf bias = set1(out.row_bias[i]);
#pragma GCC unroll 4
            for (int j = 0; j < NV; ++j) acc[i][j] = acc[i][j] + bias;
        }
        if (out.accumulate) {
            vf old[NV];
            load_b<NV>(row, last, old);
#pragma GCC unroll 4
            for (int j = 0; j < NV; ++j) acc[i][j] = acc[i][j] + old[j];
        }
#pragma GCC unroll 4
        for (int j = 0; j < NV - 1; ++j) store(row + j * VL, acc[i][j]);
        store(row + (NV - 1) * VL, acc[i][NV - 1], last);
    }
}

template <int MR, int NV>
inline void clear(vf (&acc)[MR][NV]) {
#pragma GCC unroll 8
    for (int i = 0; i < MR; ++i)
#pragma GCC unroll 4
        for (int j = 0; j < NV; ++j) acc[i][j] = zero();
}

template <int MR, int NV>
void row_tile(const RowTile& t, const TileOut& out) {
    const Tail last = tail(out.columns - (NV - 1) * VL);
    vf acc[MR][NV];
    clear<MR, NV>(acc);
    const float* b = t.b;
    const int64_t ldb = t.ldb, depth = t.depth;
    const float* const* pointers = t.a;
    for (int64_t tap = 0; tap < t.taps; ++tap, pointers += t.a_step) {
        const float* a[MR];
#pragma GCC unroll 8
        for (int i = 0; i < MR; ++i) a[i] = pointers[i];
        for (int64_t k = 0; k < depth; ++k, b += ldb) {
            vf v[NV];
            load_b<NV>(b, last, v);
#pragma GCC unroll 8
            for (int i = 0; i < MR; ++i) {
                const vf x = set1(a[i][k]);
#pragma GCC unroll 4
                for (int j = 0; j < NV; ++j) acc[i][j] = fma(x, v[j], acc[i][j]);
            }
        }
    }
    write<MR, NV>(out, last, acc);
}

template <int MR, int NV>
void column_tile(const ColumnTile& t, const TileOut& out) {
    const Tail last = tail(out.columns - (NV - 1) * VL);
    vf acc[MR][NV];
    clear<MR, NV>(acc);
    const int64_t lda = t.lda, ldb = t.ldb;
    for (int64_t s = 0; s < t.count; ++s) {
        const float* a = t.a + t.segments[s].a;
        const float* b = t.b + t.segments[s].b;
        for (int64_t k = t.segments[s].depth; k > 0; --k, a += lda, b += ldb) {
            vf v[NV];
            load_b<NV>(b, last, v);
#pragma GCC unroll 8
            for (int i = 0; i < MR; ++i) {
                const vf x = set1(a[i]);
#pragma GCC unroll 4
                for (int j = 0; j < NV; ++j) acc[i][j] = fma(x, v[j], acc[i][j]);
            }
        }
    }
    write<MR, NV>(out, last, acc);
}

// Instances for 1 .. rows_for(NV) rows; taller tiles are never asked for.
template <int NV, template <int, int> class Pick, class Kernel>
inline Kernel of_rows(int rows) {
    constexpr int most = rows_for(NV);
    switch (rows) {
        case 1:
            return Pick<1, NV>::kernel();
        case 2:
            return Pick<2, NV>::kernel();
        case 3:
            return Pick<3, NV>::kernel();
        case 4:
            return Pick<4, NV>::kernel();
        case 5:
            return Pick<(most < 5 ? most : 5), NV>::kernel();
        case 6:
            return Pick<(most < 6 ? most : 6), NV>::kernel();
        case 7:
            return Pick<(most < 7 ? most : 7), NV>::kernel();
        default:
            return Pick<most, NV>::kernel();
    }
}

template <int MR, int NV>
struct PickRow {
    static RowKernel kernel() { return &row_tile<MR, NV>; }
};
template <int MR, int NV>
struct PickColumn {
    static ColumnKernel kernel() { return &column_tile<MR, NV>; }
};

}  // namespace

RowKernel row_kernel(int rows, int nv) {
    switch (nv) {
        case 1:
            return of_rows<1, PickRow, RowKernel>(rows);
#if defined(FC_ISA_AVX512)
        case 3:
            return of_rows<3, PickRow, RowKernel>(rows);
        case 4:
            return of_rows<4, PickRow, RowKernel>(rows);
#endif
        default:
            return of_rows<2, PickRow, RowKernel>(rows);
    }
}

ColumnKernel column_kernel(int rows, int nv) {
    switch (nv) {
        case 1:
            return of_rows<1, PickColumn, ColumnKernel>(rows);
#if defined(FC_ISA_AVX512)
        case 3:
            return of_rows<3, PickColumn, ColumnKernel>(rows);
        case 4:
            return of_rows<4, PickColumn, ColumnKernel>(rows);
#endif
        default:
            return of_rows<2, PickColumn, ColumnKernel>(rows);
    }
}

}  // namespace fastconv::FC_ISA_NS
