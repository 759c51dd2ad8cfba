#include "cpu/gemm/dot.h"

#include "cpu/simd/unrolled.h"

namespace fastconv::FC_ISA_NS {
namespace {

// Lane i of the result is the sum of the lanes of v[i]; N is a power of two up to VL.
template <int N>
FC_INLINE inline vf add_lanes(const vf (&v)[N]) {
    if constexpr (N == 1) {
        return v[0];
    } else {
        vf half[N / 2];
        unrolled<N / 2>([&](auto i) FC_INLINE { half[i] = add_pairs(v[2 * i], v[2 * i + 1]); });
        return add_lanes(half);
    }
}

template <int MR, int NC>
void dot_tile(const RowTile& t, const TileOut& out) {
    vf acc[MR][NC];
    unrolled<MR, NC>([&](auto i, auto j) FC_INLINE { acc[i][j] = zero(); });
    const float* b = t.b;
    const int64_t depth = t.depth, column = t.column ? t.column : dot_depth(depth);
    const float* const* pointers = t.a;
    const float* a[MR];
    const auto step = [&](int64_t k, auto get) FC_INLINE {
        if constexpr (MR < NC) {
            vf x[MR];
            unrolled<MR>([&](auto i) FC_INLINE { x[i] = get(a[i] + k); });
            unrolled<NC>([&](auto j) FC_INLINE {
                const vf w = load(b + j * column + k);
                unrolled<MR>([&](auto i) FC_INLINE { accumulate(acc[i][j], x[i], w); });
            });
        } else {
            vf w[NC];
            unrolled<NC>([&](auto j) FC_INLINE { w[j] = load(b + j * column + k); });
            unrolled<MR>([&](auto i) FC_INLINE {
                const vf x = get(a[i] + k);
                unrolled<NC>([&](auto j) FC_INLINE { accumulate(acc[i][j], x, w[j]); });
            });
        }
    };
    const int64_t whole = depth / VL * VL;
    const Tail rest = tail(depth - whole);
    for (int64_t tap = 0; tap < t.taps; ++tap, b += NC * column) {
        const int64_t offset = t.offsets ? t.offsets[tap] : 0;
        unrolled<MR>([&](auto i) FC_INLINE { a[i] = pointers[i] + offset; });
        pointers += t.a_step;
        for (int64_t k = 0; k < whole; k += VL) step(k, [](const float* p) FC_INLINE { return load(p); });
        if (whole < depth) step(whole, [&](const float* p) FC_INLINE { return load(p, rest); });
    }
    constexpr int kSums = MR * NC, kGroups = (kSums + VL - 1) / VL;
    float sums[kGroups * VL];
    unrolled<kGroups>([&](auto g) FC_INLINE {
        vf v[VL];
        unrolled<VL>([&](auto e) FC_INLINE {
            constexpr int at = decltype(g)::value * VL + decltype(e)::value;
            if constexpr (at < kSums)
                v[e] = acc[at / NC][at % NC];
            else
                v[e] = zero();
        });
        store(sums + g * VL, add_lanes(v));
    });
    const Tail columns = tail(NC), more = tail(NC - VL);
    unrolled<MR>([&](auto i) FC_INLINE {
        for (int c = 0; c < NC; c += VL) {
            const Tail lanes = c ? more : columns;
            vf value = load(sums + i * NC + c, lanes);
            if (out.column_bias) value = value + load(out.column_bias + c, lanes);
            if (out.accumulate) value = value + load(out.rows[i] + c, lanes);
            store(out.rows[i] + c, value, lanes);
        }
    });
}

template <int NC, int... MR>
constexpr DotKernel pick(int rows, std::integer_sequence<int, MR...>) {
    constexpr DotKernel kernels[] = {&dot_tile<MR + 1, NC>...};
    return kernels[rows - 1];
}
template <int NC>
DotKernel pick(int rows) {
    return pick<NC>(rows, std::make_integer_sequence<int, dot_rows_for(NC)>{});
}

}  // namespace

DotKernel dot_kernel(int rows, int columns) {
    constexpr DotKernel (*picks[])(int) = {&pick<1>, &pick<2>, &pick<3>, &pick<4>,
                                           &pick<5>, &pick<6>, &pick<7>, &pick<8>};
    return picks[columns - 1](rows);
}

}  // namespace fastconv::FC_ISA_NS
