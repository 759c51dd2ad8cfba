#include "cpu/gemm/microkernel.h"

namespace fastconv::FC_ISA_NS {
namespace {

// Loads row j of B's NV vectors; the last is masked.
template <int NV, bool Full = false>
inline void load_b(const float* b, Tail last, vf (&v)[NV]) {
#pragma GCC unroll 4
    for (int j = 0; j < NV - 1; ++j) v[j] = load(b + j * VL);
    v[NV - 1] = Full ? load(b + (NV - 1) * VL) : load(b + (NV - 1) * VL, last);
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

// One vector of columns has only MR independent sums, too few to cover the FMA's latency on two units: such
// tiles alternate between two sets of accumulators.
template <int NV>
inline constexpr int kSets = NV == 1 ? 2 : 1;

// acc[i][j] += a(i) * b[j] for one step of the reduction.
template <int MR, int NV, bool Full = false, class A>
inline void step(const A& a, const float* b, Tail last, vf (&acc)[MR][NV]) {
    vf v[NV];
    load_b<NV, Full>(b, last, v);
#pragma GCC unroll 8
    for (int i = 0; i < MR; ++i) {
        const vf x = set1(a(i));
#pragma GCC unroll 4
        for (int j = 0; j < NV; ++j) accumulate(acc[i][j], x, v[j]);
    }
}

template <int MR, int NV>
inline void join(vf (&acc)[kSets<NV>][MR][NV]) {
    if constexpr (kSets<NV> == 2) {
#pragma GCC unroll 8
        for (int i = 0; i < MR; ++i) acc[0][i][0] = acc[0][i][0] + acc[1][i][0];
    }
}

// Full: the last vector of B and of the result is whole. (A masked load takes a slot of an FMA unit.)
template <int MR, int NV, bool Full>
void row_body(const RowTile& t, const TileOut& out) {
    const Tail last = tail(out.columns - (NV - 1) * VL);
    vf acc[kSets<NV>][MR][NV];
    for (auto& set : acc) clear<MR, NV>(set);
    const float* b = t.b;
    const int64_t ldb = t.ldb, depth = t.depth;
    const float* const* pointers = t.a;
    for (int64_t tap = 0; tap < t.taps; ++tap) {
        const float* a[MR];
        const int64_t offset = t.offsets ? t.offsets[tap] : 0;
#pragma GCC unroll 8
        for (int i = 0; i < MR; ++i) a[i] = pointers[i] + offset;
        pointers += t.a_step;
        int64_t k = 0;
        if constexpr (kSets<NV> == 2) {
            for (; k + 2 <= depth; k += 2, b += 2 * ldb) {
                step<MR, NV, Full>([&](int i) { return a[i][k]; }, b, last, acc[0]);
                step<MR, NV, Full>([&](int i) { return a[i][k + 1]; }, b + ldb, last, acc[1]);
            }
        } else {
            for (; k + 4 <= depth; k += 4) {
#pragma GCC unroll 4
                for (int u = 0; u < 4; ++u, b += ldb)
                    step<MR, NV, Full>([&](int i) { return a[i][k + u]; }, b, last, acc[0]);
            }
        }
        for (; k < depth; ++k, b += ldb) step<MR, NV, Full>([&](int i) { return a[i][k]; }, b, last, acc[0]);
    }
    join<MR, NV>(acc);
    write<MR, NV>(out, last, acc[0]);
}

template <int MR, int NV>
void row_tile(const RowTile& t, const TileOut& out) {
    if (out.columns == NV * VL)
        row_body<MR, NV, true>(t, out);
    else
        row_body<MR, NV, false>(t, out);
}

template <int MR, int NV>
void offset_tile(const OffsetTile& t, const TileOut& out) {
    const Tail last = tail(out.columns - (NV - 1) * VL);
    vf acc[kSets<NV>][MR][NV];
    for (auto& set : acc) clear<MR, NV>(set);
    const float* b = t.b;
    const int64_t *offset = t.offsets, *end = t.offsets + t.depth;
    const int64_t ldb = t.ldb;
    const float* a[MR];
#pragma GCC unroll 8
    for (int i = 0; i < MR; ++i) a[i] = t.a[i];
    if constexpr (kSets<NV> == 2) {
        for (; offset + 2 <= end; offset += 2, b += 2 * ldb) {
            const int64_t even = offset[0], odd = offset[1];
            step<MR, NV>([&](int i) { return a[i][even]; }, b, last, acc[0]);
            step<MR, NV>([&](int i) { return a[i][odd]; }, b + ldb, last, acc[1]);
        }
    }
    for (; offset < end; ++offset, b += ldb) {
        const int64_t at = *offset;
        step<MR, NV>([&](int i) { return a[i][at]; }, b, last, acc[0]);
    }
    join<MR, NV>(acc);
    write<MR, NV>(out, last, acc[0]);
}

template <int MR, int NV>
void shift_tile(const ShiftTile& t, const TileOut& out) {
    const Tail last = tail(out.columns - (NV - 1) * VL);
    vf acc[kSets<NV>][MR][NV];
    for (auto& set : acc) clear<MR, NV>(set);
    const float* a[MR];
#pragma GCC unroll 8
    for (int i = 0; i < MR; ++i) a[i] = t.a[i];
    int64_t k = 0;
    if constexpr (kSets<NV> == 2) {
        for (; k + 2 <= t.depth; k += 2) {
            step<MR, NV>([&](int i) { return a[i][k]; }, t.b + t.offsets[k], last, acc[0]);
            step<MR, NV>([&](int i) { return a[i][k + 1]; }, t.b + t.offsets[k + 1], last, acc[1]);
        }
    }
    for (; k < t.depth; ++k) step<MR, NV>([&](int i) { return a[i][k]; }, t.b + t.offsets[k], last, acc[0]);
    join<MR, NV>(acc);
    write<MR, NV>(out, last, acc[0]);
}

template <int MR, int NV, bool Full>
void column_body(const ColumnTile& t, const TileOut& out) {
    const Tail last = tail(out.columns - (NV - 1) * VL);
    vf acc[kSets<NV>][MR][NV];
    for (auto& set : acc) clear<MR, NV>(set);
    const int64_t lda = t.lda, ldb = t.ldb;
    for (int64_t s = 0; s < t.count; ++s) {
        const float* a = t.a + t.segments[s].a;
        const float* b = t.b + t.segments[s].b;
        int64_t k = t.segments[s].depth;
        if constexpr (kSets<NV> == 2) {
            for (; k >= 2; k -= 2, a += 2 * lda, b += 2 * ldb) {
                step<MR, NV, Full>([&](int i) { return a[i]; }, b, last, acc[0]);
                step<MR, NV, Full>([&](int i) { return a[lda + i]; }, b + ldb, last, acc[1]);
            }
        } else {
            for (; k >= 4; k -= 4) {
#pragma GCC unroll 4
                for (int u = 0; u < 4; ++u, a += lda, b += ldb)
                    step<MR, NV, Full>([&](int i) { return a[i]; }, b, last, acc[0]);
            }
        }
        for (; k > 0; --k, a += lda, b += ldb)
            step<MR, NV, Full>([&](int i) { return a[i]; }, b, last, acc[0]);
    }
    join<MR, NV>(acc);
    write<MR, NV>(out, last, acc[0]);
}

template <int MR, int NV>
void column_tile(const ColumnTile& t, const TileOut& out) {
    if (out.columns == NV * VL)
        column_body<MR, NV, true>(t, out);
    else
        column_body<MR, NV, false>(t, out);
}

template <int MR, int NV, bool Full>
void pixel_body(const PixelTile& t, const TileOut& out) {
    const Tail last = tail(out.columns - (NV - 1) * VL);
    vf acc[kSets<NV>][MR][NV];
    for (auto& set : acc) clear<MR, NV>(set);
    const int64_t lda = t.lda;
    const float *a = t.a, *b = t.b;
    const int64_t *offset = t.offsets, *end = t.offsets + t.depth;
    // The sums that these will be added to arrive meanwhile.
    if (out.accumulate) {
        for (int i = 0; i < MR; ++i)
            for (int j = 0; j < NV * VL; j += 16) __builtin_prefetch(out.rows[i] + j, 1);
    }
    constexpr int kUnroll = 4;
    for (; offset + kUnroll <= end; offset += kUnroll) {
#pragma GCC unroll 4
        for (int u = 0; u < kUnroll; ++u, a += lda)
            step<MR, NV, Full>([&](int i) { return a[i]; }, b + offset[u], last, acc[u % kSets<NV>]);
    }
    for (; offset < end; ++offset, a += lda)
        step<MR, NV, Full>([&](int i) { return a[i]; }, b + *offset, last, acc[0]);
    join<MR, NV>(acc);
    write<MR, NV>(out, last, acc[0]);
}

template <int MR, int NV>
void pixel_tile(const PixelTile& t, const TileOut& out) {
    if (out.columns == NV * VL)
        pixel_body<MR, NV, true>(t, out);
    else
        pixel_body<MR, NV, false>(t, out);
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
struct PickOffset {
    static OffsetKernel kernel() { return &offset_tile<MR, NV>; }
};
template <int MR, int NV>
struct PickShift {
    static ShiftKernel kernel() { return &shift_tile<MR, NV>; }
};
template <int MR, int NV>
struct PickColumn {
    static ColumnKernel kernel() { return &column_tile<MR, NV>; }
};
template <int MR, int NV>
struct PickPixel {
    static PixelKernel kernel() { return &pixel_tile<MR, NV>; }
};

template <template <int, int> class Pick, class Kernel>
inline Kernel of(int rows, int nv) {
    switch (nv) {
        case 1:
            return of_rows<1, Pick, Kernel>(rows);
#if defined(FC_ISA_AVX512)
        case 3:
            return of_rows<3, Pick, Kernel>(rows);
        case 4:
            return of_rows<4, Pick, Kernel>(rows);
#endif
        default:
            return of_rows<2, Pick, Kernel>(rows);
    }
}

}  // namespace

RowKernel row_kernel(int rows, int nv) { return of<PickRow, RowKernel>(rows, nv); }
OffsetKernel offset_kernel(int rows, int nv) { return of<PickOffset, OffsetKernel>(rows, nv); }
ShiftKernel shift_kernel(int rows, int nv) { return of<PickShift, ShiftKernel>(rows, nv); }
PixelKernel pixel_kernel(int rows, int nv) { return of<PickPixel, PixelKernel>(rows, nv); }
ColumnKernel column_kernel(int rows, int nv) { return of<PickColumn, ColumnKernel>(rows, nv); }

}  // namespace fastconv::FC_ISA_NS
