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

// Sums of MR pixels by NC columns, whose lanes are added at the end.
template <int MR, int NC>
struct Dots {
    static constexpr int kSums = MR * NC, kGroups = (kSums + VL - 1) / VL;
    vf acc[MR][NC];

    FC_INLINE Dots() {
        unrolled<MR, NC>([&](auto i, auto j) FC_INLINE { acc[i][j] = zero(); });
    }
    // Steps of whole vectors and a masked one over `depth` channels; weight(j) is column j's.
    template <class Weight>
    FC_INLINE void add(const float* const (&a)[MR], int64_t depth, Tail rest, const Weight& weight,
                       int64_t ahead = 0, const float* next = nullptr, int64_t column = 0) {
        const int64_t whole = depth / VL * VL;
        for (int64_t k = 0; k < whole; k += VL) {
            if (ahead) unrolled<MR>([&](auto i) FC_INLINE { __builtin_prefetch(a[i] + k + ahead, 0, 3); });
            if (next && k % 16 == 0)
                unrolled<NC>([&](auto j) FC_INLINE { __builtin_prefetch(next + j * column + k, 0, 2); });
            step(k, weight, [&](auto i) FC_INLINE { return load(a[i] + k); });
        }
        if (whole < depth) step(whole, weight, [&](auto i) FC_INLINE { return load(a[i] + whole, rest); });
    }
    template <class Weight, class Get>
    FC_INLINE void step(int64_t k, const Weight& weight, const Get& get) {
        if constexpr (MR < NC) {
            vf x[MR];
            unrolled<MR>([&](auto i) FC_INLINE { x[i] = get(i); });
            unrolled<NC>([&](auto j) FC_INLINE {
                const vf w = load(weight(j) + k);
                unrolled<MR>([&](auto i) FC_INLINE { accumulate(acc[i][j], x[i], w); });
            });
        } else {
            vf w[NC];
            unrolled<NC>([&](auto j) FC_INLINE { w[j] = load(weight(j) + k); });
            unrolled<MR>([&](auto i) FC_INLINE {
                const vf x = get(i);
                unrolled<NC>([&](auto j) FC_INLINE { accumulate(acc[i][j], x, w[j]); });
            });
        }
    }
    // Sums VL * g and on, pixel by pixel.
    template <int G>
    FC_INLINE vf sums() const {
        vf v[VL];
        unrolled<VL>([&](auto e) FC_INLINE {
            constexpr int at = G * VL + decltype(e)::value;
            if constexpr (at < kSums)
                v[e] = acc[at / NC][at % NC];
            else
                v[e] = zero();
        });
        return add_lanes(v);
    }
};

template <int MR, int NC>
void dot_tile(const RowTile& t, const TileOut& out) {
    Dots<MR, NC> dots;
    const float* b = t.b;
    const int64_t depth = t.depth, column = t.column ? t.column : dot_depth(depth);
    const float* const* pointers = t.a;
    const Tail rest = tail(depth % VL);
    for (int64_t tap = 0; tap < t.taps; ++tap, b += NC * column) {
        const float* a[MR];
        const int64_t offset = t.offsets ? t.offsets[tap] : 0;
        unrolled<MR>([&](auto i) FC_INLINE { a[i] = pointers[i] + offset; });
        pointers += t.a_step;
        dots.add(a, depth, rest, [&](auto j) FC_INLINE { return b + j * column; }, 0, t.next_b, column);
    }
    float sums[dots.kGroups * VL];
    unrolled<dots.kGroups>([&](auto g) FC_INLINE { store(sums + g * VL, dots.template sums<g>()); });
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

template <int NC>
void dot_rows(const DotRows& t) {
    constexpr int MR = dot_rows_for(NC);
    using Tile = Dots<MR, NC>;
    const int64_t column = dot_depth(t.depth);
    const Tail rest = tail(t.depth % VL);
    // The bias as it lies beside a tile's sums.
    float bias[Tile::kGroups * VL] = {};
    if (t.bias)
        for (int e = 0; e < Tile::kSums; ++e) bias[e] = t.bias[e % NC];
    for (int64_t first = 0; first < t.count; first += MR) {
        // The last tile reaches back: what it computes again is the same.
        const int64_t m = first + MR <= t.count ? first : t.count - MR;
        const float* a[MR];
        unrolled<MR>([&](auto i) FC_INLINE { a[i] = t.a + (m + i) * t.a_step; });
        Tile dots;
        dots.add(
            a, t.depth, rest, [&](auto j) FC_INLINE { return t.b + j * column; }, t.far ? MR * t.a_step : 0);
        float sums[Tile::kGroups * VL];
        float* const to = t.c + m * t.c_step;
        const bool dense = t.c_step == NC;
        unrolled<Tile::kGroups>([&](auto g) FC_INLINE {
            constexpr int at = g * VL, left = Tile::kSums - at;
            const vf v = dots.template sums<g>() + load(bias + at);
            if (!dense)
                store(sums + at, v);
            else if constexpr (left >= VL)
                store(to + at, v);
            else
                store(to + at, v, tail(left));
        });
        if (dense) continue;
        for (int i = 0; i < MR; ++i)
            for (int j = 0; j < NC; ++j) to[i * t.c_step + j] = sums[i * NC + j];
    }
}

template <int NC, int... MR>
DotKernel pick(int rows, std::integer_sequence<int, MR...>) {
    static constexpr DotKernel kernels[] = {&dot_tile<MR + 1, NC>...};
    return kernels[rows - 1];
}
template <int NC>
DotKernel pick(int rows) {
    return pick<NC>(rows, std::make_integer_sequence<int, dot_rows_for(NC)>{});
}

}  // namespace

DotKernel dot_kernel(int rows, int columns) {
    static constexpr DotKernel (*picks[])(int) = {&pick<1>, &pick<2>, &pick<3>, &pick<4>,
                                                  &pick<5>, &pick<6>, &pick<7>, &pick<8>};
    return picks[columns - 1](rows);
}

DotRowsKernel dot_rows_kernel(int columns) {
    static constexpr DotRowsKernel kernels[] = {&dot_rows<1>, &dot_rows<2>, &dot_rows<3>, &dot_rows<4>,
                                                &dot_rows<5>, &dot_rows<6>, &dot_rows<7>, &dot_rows<8>};
    return kernels[columns - 1];
}

}  // namespace fastconv::FC_ISA_NS
