// The block on vdpbf16ps: rows by two vectors of sums, pairs of input channels broadcast from memory.
// Fourteen rows fill the registers, and divide the maps of most networks.
#include <immintrin.h>

#include "cpu/simd/unrolled.h"
#include "ops/conv2d/cpu/bf16/tile.h"

namespace fastconv::FC_ISA_NS {
namespace {

inline __m512bh pairs(const char* p) { return reinterpret_cast<__m512bh>(_mm512_loadu_si512(p)); }
// Pinned: folded into its uses it would be loaded for each.
inline __m512bh weights(const char* p) {
    __m512i w = _mm512_loadu_si512(p);
    asm("" : "+v"(w));
    return reinterpret_cast<__m512bh>(w);
}
inline __m512bh broadcast(const char* p) {
    int32_t pair;
    __builtin_memcpy(&pair, p, 4);
    return reinterpret_cast<__m512bh>(_mm512_set1_epi32(pair));
}

inline void dot(__m512& sum, __m512bh x, __m512bh w) {
    asm("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(x), "v"(w));
}

// Adds the products of `pairs` pairs of elements, `along` bytes apart in A. `stride`, from row to row, is a
// constant where rows lie in a panel; tiles of B are `apart`.
template <int along, int R, int NT>
FC_INLINE inline void add_pairs(__m512 (&sum)[R][NT], const char* a, int64_t stride, const char* b,
                                int64_t apart, int64_t pairs) {
    for (; pairs > 0; --pairs, a += along, b += 64) {
        __m512bh w[NT];
        unrolled<NT>([&](auto n) FC_INLINE { w[n] = weights(b + n * apart); });
        unrolled<R>([&](auto r) FC_INLINE {
            const __m512bh x = broadcast(a + r * stride);
            unrolled<NT>([&](auto n) FC_INLINE { dot(sum[r][n], x, w[n]); });
        });
    }
}

// The product of one element.
template <int R, int NT>
FC_INLINE inline void add_half(__m512 (&sum)[R][NT], const char* a, int64_t stride, const char* b) {
    unrolled<R>([&](auto r) FC_INLINE {
        uint16_t element;
        __builtin_memcpy(&element, a + r * stride, 2);
        const __m512bh x = reinterpret_cast<__m512bh>(_mm512_set1_epi32(element));
        unrolled<NT>([&](auto n) FC_INLINE { dot(sum[r][n], x, weights(b + n * kTileBytes)); });
    });
}

inline void fetch_row(const DotBlock& k, int64_t to) {
    if (to < 0) return;
    __builtin_prefetch(k.out + to, 1, 3);
    if (k.finish.residual) __builtin_prefetch(k.finish.residual + to, 0, 3);
    if (k.finish.saved) __builtin_prefetch(k.finish.saved + to, 0, 3);
}

template <int R, int NT, bool Frame, bool Finish>
void rows_of(const DotBlock& k, Drain& drain) {
    __m512 sum[R][NT];
    unrolled<R, NT>([&](auto r, auto n) FC_INLINE { sum[r][n] = _mm512_setzero_ps(); });
    const char* b = k.b;
    const int64_t touched = (R + k.steps - 1) / k.steps, stride = Frame ? 64 : k.a_stride;
    int64_t next = 0;
    for (int64_t s = 0; s < k.steps; ++s, b += NT * kTileBytes) {
#pragma GCC unroll 1
        for (int64_t i = 0; i < touched && next < R; ++i, ++next) fetch_row(k, k.next[next]);
        if (drain.ahead_lines > 0) prefetch_ahead(drain, drain.lines_a_step);
        const char* a = k.a + k.offsets[s];
        add_pairs<4, R, NT>(sum, a, stride, b, kTileBytes, s < k.whole ? 16 : k.pairs);
        if (k.half && s >= k.whole) add_half<R, NT>(sum, a + k.pairs * 4, stride, b + k.pairs * 64);
    }
    if (k.bias)
        unrolled<R, NT>([&](auto r, auto n) FC_INLINE {
            sum[r][n] = _mm512_add_ps(sum[r][n], _mm512_loadu_ps(k.bias + n * 16));
        });
    const bool whole = NT == 2 && k.mask == 0xffffffffu;
    unrolled<R>([&](auto r) FC_INLINE {
        const int64_t to = k.places[r];
        if (to < 0) return;
        __m512 low = sum[r][0], high = sum[r][NT - 1];
        if constexpr (Finish) finish_row(k.finish, to, k.mask, low, high);
        const __m512i rounded = reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(high, low));
        if (whole)
            _mm512_storeu_si512(k.out + to, rounded);
        else
            _mm512_mask_storeu_epi16(k.out + to, k.mask, rounded);
    });
}

using Rows = void (*)(const DotBlock&, Drain&);
template <int NT, bool Frame, bool Finish, int... R>
inline Rows rows_kernel(int64_t rows, std::integer_sequence<int, R...>) {
    static constexpr Rows kernels[] = {rows_of<R + 1, NT, Frame, Finish>...};
    return kernels[rows - 1];
}
template <int NT, bool Frame>
inline Rows rows_kernel(const DotBlock& k) {
    constexpr auto all = std::make_integer_sequence<int, kDotRows>{};
    return k.finish.nothing() ? rows_kernel<NT, Frame, false>(k.rows, all)
                              : rows_kernel<NT, Frame, true>(k.rows, all);
}

// Eight rows of a tile.
inline void grad_rows(const GradBlock& k, const char* a, float* c) {
    __m512 sum[8][2];
    unrolled<8, 2>([&](auto r, auto n) FC_INLINE {
        sum[r][n] = k.accumulate ? _mm512_loadu_ps(c + r * 32 + n * 16) : _mm512_setzero_ps();
    });
    const int64_t apart = k.b[1] - k.b[0];
    for (int64_t s = 0; s < k.steps; ++s, a += kTileBytes)
        add_pairs<64, 8, 2>(sum, a, 4, k.b[0] + k.b_offsets[s], apart, k.pairs[s]);
    unrolled<8, 2>([&](auto r, auto n) FC_INLINE { _mm512_storeu_ps(c + r * 32 + n * 16, sum[r][n]); });
}

// Time stamps that 256 turns of sixteen independent instructions take.
template <class Step>
inline uint64_t stamps(const Step& step) {
    __m512 sum[16];
    unrolled<16>([&](auto i) FC_INLINE { sum[i] = _mm512_setzero_ps(); });
    const uint64_t begin = __rdtsc();
    for (int turn = 0; turn < 256; ++turn) {
        unrolled<16>([&](auto i) FC_INLINE { step(sum[i]); });
    }
    unrolled<16>([&](auto i) FC_INLINE { asm volatile("" : : "v"(sum[i])); });
    return __rdtsc() - begin;
}

}  // namespace

double bf16_measure_dot() {
    const __m512 zero = _mm512_setzero_ps();
    uint64_t dots = ~uint64_t{0}, fmas = dots;
    for (int i = 0; i < 16; ++i) {  // the least of each: what neighbours take is not the instruction's
        const uint64_t d = stamps([&](__m512& sum) FC_INLINE {
            asm volatile("vdpbf16ps %1, %1, %0" : "+v"(sum) : "v"(zero));
        });
        const uint64_t f = stamps([&](__m512& sum) FC_INLINE {
            asm volatile("vfmadd231ps %1, %1, %0" : "+v"(sum) : "v"(zero));
        });
        dots = d < dots ? d : dots;
        fmas = f < fmas ? f : fmas;
    }
    return static_cast<double>(dots) / static_cast<double>(fmas);
}

void dot_grad_block(const GradBlock& block) {
    for (int r = 0; r < block.a_tiles * 16; r += 8)
        grad_rows(block, block.a[r / 16] + r % 16 * 4, block.c + r * 32);
}

void dot_block(const DotBlock& block, Drain& drain) {
    const bool frame = block.a_stride == 64;
    const Rows kernel = block.b_tiles == 2 ? (frame ? rows_kernel<2, true> : rows_kernel<2, false>)(block)
                                           : (frame ? rows_kernel<1, true> : rows_kernel<1, false>)(block);
    kernel(block, drain);
}

}  // namespace fastconv::FC_ISA_NS
