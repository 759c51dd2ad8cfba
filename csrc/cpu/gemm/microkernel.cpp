#include "cpu/gemm/microkernel.h"

#include "cpu/simd/unrolled.h"

namespace fastconv::FC_ISA_NS {
namespace {

// Loads row j of B's NV vectors; the last is masked.
template <int NV, bool Full = false>
FC_INLINE inline void load_b(const float* b, Tail last, vf (&v)[NV]) {
    unrolled<NV - 1>([&](auto j) FC_INLINE { v[j] = load(b + j * VL); });
    v[NV - 1] = Full ? load(b + (NV - 1) * VL) : load(b + (NV - 1) * VL, last);
}

// One vector of columns has only MR independent sums, too few to cover the FMA's latency on two units: such
// tiles alternate between two sets of accumulators.
template <int NV>
inline constexpr int kSets = NV == 1 ? 2 : 1;

// Whether the registers hold no more than NV - 1 vectors of B beside the sums.
template <int MR, int NV>
inline constexpr bool kTall = MR > rows_for(NV);

template <int MR, int NV>
struct Sums {
    vf acc[kSets<NV>][MR][NV];

    FC_INLINE Sums() {
        unrolled<kSets<NV>>([&](auto set) FC_INLINE {
            unrolled<MR, NV>([&](auto i, auto j) FC_INLINE { acc[set][i][j] = zero(); });
        });
    }

    // acc[i][j] += a(i) * b[j] for one step of the reduction.
    template <int Set, bool Full = false, class A>
    FC_INLINE void step(const A& a, const float* b, Tail last) {
#if defined(FC_ISA_AVX512)
        if constexpr (kTall<MR, NV>) {
            static_assert(Full, "the last vector of B cannot be masked");
            vf v[NV - 1];
            unrolled<NV - 1>([&](auto j) FC_INLINE { v[j] = load(b + j * VL); });
            unrolled<MR>([&](auto i) FC_INLINE {
                const vf x = set1(a(i));
                unrolled<NV - 1>([&](auto j) FC_INLINE { accumulate(acc[Set][i][j], x, v[j]); });
                accumulate_at(acc[Set][i][NV - 1], x, b + (NV - 1) * VL);
            });
            return;
        }
#endif
        vf v[NV];
        load_b<NV, Full>(b, last, v);
        unrolled<MR>([&](auto i) FC_INLINE {
            const vf x = set1(a(i));
            unrolled<NV>([&](auto j) FC_INLINE { accumulate(acc[Set][i][j], x, v[j]); });
        });
    }

    FC_INLINE void write(const TileOut& out, Tail last) {
        if constexpr (kSets<NV> == 2)
            unrolled<MR>([&](auto i) FC_INLINE { acc[0][i][0] = acc[0][i][0] + acc[1][i][0]; });
        if (out.column_bias) {
            const auto add = [&](auto j, vf bias) FC_INLINE {
                unrolled<MR>([&](auto i) FC_INLINE { acc[0][i][j] = acc[0][i][j] + bias; });
            };
            unrolled<NV - 1>([&](auto j) FC_INLINE { add(j, load(out.column_bias + j * VL)); });
            add(Index<NV - 1>{}, load(out.column_bias + (NV - 1) * VL, last));
        }
        if (out.row_bias) {
            unrolled<MR>([&](auto i) FC_INLINE {
                const vf bias = set1(out.row_bias[i]);
                unrolled<NV>([&](auto j) FC_INLINE { acc[0][i][j] = acc[0][i][j] + bias; });
            });
        }
        const auto add = [&](int64_t away) FC_INLINE {
            unrolled<MR>([&](auto i) FC_INLINE {
                vf old[NV];
                load_b<NV>(out.rows[i] + away, last, old);
                unrolled<NV>([&](auto j) FC_INLINE { acc[0][i][j] = acc[0][i][j] + old[j]; });
            });
        };
        if (out.accumulate) add(0);
        if (out.end.residual) add(out.end.residual);
        if (out.end.clamp) {
            const vf low = set1(out.end.low), high = set1(out.end.high);
            // The second operand of max and min wins where a sum is NaN.
            unrolled<MR, NV>([&](auto i, auto j)
                                 FC_INLINE { acc[0][i][j] = min(high, max(low, acc[0][i][j])); });
        }
        unrolled<MR>([&](auto i) FC_INLINE {
            float* const row = out.rows[i];
            unrolled<NV - 1>([&](auto j) FC_INLINE { store(row + j * VL, acc[0][i][j]); });
            store(row + (NV - 1) * VL, acc[0][i][NV - 1], last);
        });
    }
};

// Fetches NextLines, a row at a time.
template <int NV>
struct Fetch {
    static constexpr int kLines = (NV * VL + 15) / 16;
    const NextLines& next;
    float *const *now, *const *end;
    int64_t column, read, read_too;
    bool write = true;
    FC_INLINE explicit Fetch(const NextLines& n)
        : next(n), now(n.rows), end(n.rows + n.count), column(n.column), read(n.read), read_too(n.read_too) {}
    FC_INLINE void row() {
        if (now >= end) {
            if (read == 0) return;
            now = next.rows, column = next.column + read;
            read = read_too, read_too = 0, write = false;
            if (now >= end) return;
        }
        const float* const line = *now++ + column;
        if (write)
            unrolled<kLines>([&](auto j) FC_INLINE { fetch_for_write(line + j * 16); });
        else
            unrolled<kLines>([&](auto j) FC_INLINE { __builtin_prefetch(line + j * 16, 0, 2); });
    }
};

// Full: the last vector of B is read as a whole. (A masked load takes a slot of an FMA unit.)
template <int MR, int NV, bool Full>
void row_body(const RowTile& t, const TileOut& out) {
    const Tail last = tail(out.columns - (NV - 1) * VL);
    Sums<MR, NV> sums;
    const float* b = t.b;
    const int64_t ldb = t.ldb, depth = t.depth;
    const float* const* pointers = t.a;
    Fetch<NV> next(out.next);
    const float* next_b = t.next_b;
    // Lines of it that are fetched every 16 steps. (A division takes as long as two steps.)
    int64_t each = 0;
    if (t.next_lines) {
        const int64_t turns = t.taps * (depth / 16) + 1;
        each = (t.next_lines + turns - 1) / turns;
    }
    for (int64_t tap = 0; tap < t.taps; ++tap) {
        const float* a[MR];
        const int64_t offset = t.offsets ? t.offsets[tap] : 0;
        unrolled<MR>([&](auto i) FC_INLINE { a[i] = pointers[i] + offset; });
        pointers += t.a_step;
        int64_t k = 0;
        for (; k + kSteps <= depth; k += kSteps) {
            next.row();
            if (k % 16 == 0) {
                for (int64_t i = 0; i < each; ++i, next_b += 16) __builtin_prefetch(next_b, 0, 2);
                if (t.ahead)
                    unrolled<MR>([&](auto i) FC_INLINE { __builtin_prefetch(a[i] + t.ahead + k, 0, 2); });
            }
            unrolled<kSteps>([&](auto u) FC_INLINE {
                sums.template step<u % kSets<NV>, Full>([&](auto i) FC_INLINE { return a[i][k + u]; }, b,
                                                        last);
                b += ldb;
            });
        }
        for (; k < depth; ++k, b += ldb)
            sums.template step<0, Full>([&](auto i) FC_INLINE { return a[i][k]; }, b, last);
    }
    sums.write(out, last);
}

template <int MR, int NV>
void row_tile(const RowTile& t, const TileOut& out) {
    if (kTall<MR, NV> || t.whole || out.columns == NV * VL)
        row_body<MR, NV, true>(t, out);
    else
        row_body<MR, NV, kTall<MR, NV>>(t, out);
}

template <int MR, int NV>
void offset_tile(const OffsetTile& t, const TileOut& out) {
    const Tail last = tail(out.columns - (NV - 1) * VL);
    Sums<MR, NV> sums;
    const float* b = t.b;
    const int64_t *offset = t.offsets, *end = t.offsets + t.depth;
    const int64_t ldb = t.ldb;
    const float* a[MR];
    unrolled<MR>([&](auto i) FC_INLINE { a[i] = t.a[i]; });
    const auto step = [&](auto u) FC_INLINE {
        const int64_t at = offset[u];
        sums.template step<u % kSets<NV>, true>([&](auto i) FC_INLINE { return a[i][at]; }, b, last);
        b += ldb;
    };
    Fetch<NV> next(out.next);
    for (; offset + kSteps <= end; offset += kSteps) {
        next.row();
        unrolled<kSteps>(step);
    }
    for (; offset < end; ++offset) step(Index<0>{});
    sums.write(out, last);
}

template <int MR, int NV, bool Full>
void shift_body(const ShiftTile& t, const TileOut& out) {
    const Tail last = tail(out.columns - (NV - 1) * VL);
    Sums<MR, NV> sums;
    const float* a[MR];
    unrolled<MR>([&](auto i) FC_INLINE { a[i] = t.a[i]; });
    int64_t k = 0;
    const auto step = [&](auto u) FC_INLINE {
        sums.template step<u % kSets<NV>, Full>([&](auto i) FC_INLINE { return a[i][k + u]; },
                                                t.b + t.offsets[k + u], last);
    };
    for (; k + kSteps <= t.depth; k += kSteps) unrolled<kSteps>(step);
    for (; k < t.depth; ++k) step(Index<0>{});
    sums.write(out, last);
}

template <int MR, int NV>
void shift_tile(const ShiftTile& t, const TileOut& out) {
    if (out.columns == NV * VL)
        shift_body<MR, NV, true>(t, out);
    else
        shift_body<MR, NV, false>(t, out);
}

template <int MR, int NV, bool Full>
void column_body(const ColumnTile& t, const TileOut& out) {
    const Tail last = tail(out.columns - (NV - 1) * VL);
    Sums<MR, NV> sums;
    const int64_t lda = t.lda, ldb = t.ldb;
    for (int64_t s = 0; s < t.count; ++s) {
        const float* a = t.a + t.segments[s].a;
        const float* b = t.b + t.segments[s].b;
        const auto step = [&](auto u) FC_INLINE {
            sums.template step<u % kSets<NV>, Full>([&](auto i) FC_INLINE { return a[i]; }, b, last);
            a += lda, b += ldb;
        };
        int64_t k = t.segments[s].depth;
        for (; k >= kSteps; k -= kSteps) unrolled<kSteps>(step);
        for (; k > 0; --k) step(Index<0>{});
    }
    sums.write(out, last);
}

template <int MR, int NV>
void column_tile(const ColumnTile& t, const TileOut& out) {
    if (out.columns == NV * VL)
        column_body<MR, NV, true>(t, out);
    else
        column_body<MR, NV, false>(t, out);
}

template <int MR, int NV, bool Full, bool Ahead>
void pixel_body(const PixelTile& t, const TileOut& out) {
    const Tail last = tail(out.columns - (NV - 1) * VL);
    Sums<MR, NV> sums;
    const int64_t lda = t.lda;
    const float *a = t.a, *b = t.b;
    const int64_t *offset = t.offsets, *end = t.offsets + t.depth;
    // The sums that these will be added to arrive meanwhile.
    if (out.accumulate) {
        for (int i = 0; i < MR; ++i)
            for (int j = 0; j < NV * VL; j += 16) __builtin_prefetch(out.rows[i] + j, 1);
    }
    const auto step = [&](auto u) FC_INLINE {
        sums.template step<u % kSets<NV>, Full>([&](auto i) FC_INLINE { return a[i]; }, b + offset[u], last);
        if constexpr (Ahead) __builtin_prefetch(a + t.ahead, 0, 2);
        a += lda;
    };
    const float* next = t.next;
    int64_t rows = Ahead ? t.next_rows : 0;
    for (; offset + kSteps <= end; offset += kSteps) {
        unrolled<kSteps>(step);
        if (Ahead && rows > 0) {
            unrolled<kSteps>([&](auto i) FC_INLINE { __builtin_prefetch(next + i * 16, 0, 2); });
            next += t.next_step, --rows;
        }
    }
    for (; offset < end; ++offset) step(Index<0>{});
    sums.write(out, last);
}

template <int MR, int NV>
void pixel_tile(const PixelTile& t, const TileOut& out) {
    const bool full = out.columns == NV * VL;
    if (t.ahead || t.next_rows)
        (full ? pixel_body<MR, NV, true, true> : pixel_body<MR, NV, false, true>)(t, out);
    else
        (full ? pixel_body<MR, NV, true, false> : pixel_body<MR, NV, false, false>)(t, out);
}

// Instances for 1 .. Pick<1, NV>::most rows; taller tiles are never asked for.
template <int NV, template <int, int> class Pick, class Kernel>
inline Kernel of_rows(int rows) {
    constexpr int most = Pick<1, NV>::most;
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
    static constexpr int most = most_rows_for(NV);
    static RowKernel kernel() { return &row_tile<MR, NV>; }
};
template <int MR, int NV>
struct PickOffset {
    static constexpr int most = rows_for(NV);
    static OffsetKernel kernel() { return &offset_tile<MR, NV>; }
};
template <int MR, int NV>
struct PickShift {
    static constexpr int most = rows_for(NV);
    static ShiftKernel kernel() { return &shift_tile<MR, NV>; }
};
template <int MR, int NV>
struct PickColumn {
    static constexpr int most = rows_for(NV);
    static ColumnKernel kernel() { return &column_tile<MR, NV>; }
};
template <int MR, int NV>
struct PickPixel {
    static constexpr int most = rows_for(NV);
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
