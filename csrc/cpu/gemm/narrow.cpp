#include "cpu/gemm/narrow.h"

#include "cpu/simd/unrolled.h"

namespace fastconv::FC_ISA_NS {
namespace {

// Few sums are kept in two sets, so that there are enough for the FMA units' latency.
template <int MR>
inline constexpr int kNarrowSets = MR < 8 ? 2 : 1;

template <int MR>
void narrow_tile(const NarrowRows& t) {
    constexpr int kSets = kNarrowSets<MR>, kTurn = 2;
    vf acc[kSets][MR];
    unrolled<kSets, MR>([&](auto set, auto i) FC_INLINE { acc[set][i] = zero(); });
    // Five rows lie within reach of one address: row, row + s, + 2s, + 3s, + 4s.
    const int64_t s = t.a_step * static_cast<int64_t>(sizeof(float)), s3 = 3 * s, s5 = 5 * s;
    const int64_t* offset = t.offsets;
    const float* b = t.b;
    const auto step = [&](auto u) FC_INLINE {
        const vf w = load(b + u * VL);
        const char* row[3];
        row[0] = reinterpret_cast<const char*>(t.a + offset[u]);
        row[1] = row[0] + s5, row[2] = row[1] + s5;
        unrolled<MR>([&](auto i) FC_INLINE {
            constexpr int five = decltype(i)::value / 5, at = decltype(i)::value % 5;
            const char* p = row[five];
            const char* q = at == 0   ? p
                            : at == 1 ? p + s
                            : at == 2 ? p + 2 * s
                            : at == 3 ? p + s3
                                      : p + 4 * s;
            accumulate_from(acc[u % kSets][i], reinterpret_cast<const float*>(q), w);
        });
    };
    const float *next = t.next, *const end = next + t.next_count * t.c_step;
    int64_t k = 0;
    for (; k + kTurn <= t.depth; k += kTurn, offset += kTurn, b += kTurn * VL) {
        if (next != end) {
            fetch_for_write(next);
            next += t.c_step;
        }
        unrolled<kTurn>(step);
    }
    if (k < t.depth) step(Index<0>{});
    const Tail lanes = tail(t.columns);
    if constexpr (kSets == 2) unrolled<MR>([&](auto i) FC_INLINE { acc[0][i] = acc[0][i] + acc[1][i]; });
    if (t.bias) {
        const vf bias = load(t.bias, lanes);
        unrolled<MR>([&](auto i) FC_INLINE { acc[0][i] = acc[0][i] + bias; });
    }
    unrolled<MR>([&](auto i) FC_INLINE { store(t.c + i * t.c_step, acc[0][i], lanes); });
}

using Narrow = void (*)(const NarrowRows&);
template <int... MR>
Narrow pick(int64_t rows, std::integer_sequence<int, MR...>) {
    static constexpr Narrow kernels[] = {&narrow_tile<MR + 1>...};
    return kernels[rows - 1];
}

}  // namespace

void narrow_rows(const NarrowRows& rows) {
    NarrowRows t = rows;
    // Tiles of about equally many rows.
    for (int64_t left = rows.count, tiles = (left + kNarrowRows - 1) / kNarrowRows; tiles > 0; --tiles) {
        const int64_t count = (left + tiles - 1) / tiles;
        t.next = tiles > 1 ? t.c + count * t.c_step : rows.next;
        t.next_count = tiles > 1 ? (left - count + tiles - 2) / (tiles - 1)
                                 : (rows.next_count < kNarrowRows ? rows.next_count : kNarrowRows);
        pick(count, std::make_integer_sequence<int, kNarrowRows>{})(t);
        t.a += count * t.a_step;
        t.c += count * t.c_step;
        left -= count;
    }
}

}  // namespace fastconv::FC_ISA_NS
