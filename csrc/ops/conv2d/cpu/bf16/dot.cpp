// The block on vdpbf16ps: up to 8 rows by two vectors of sums, pairs of input channels broadcast from memory.
#include <immintrin.h>

#include "ops/conv2d/cpu/bf16/tile.h"

namespace fastconv::FC_ISA_NS {
namespace {

inline __m512bh pairs(const char* p) { return reinterpret_cast<__m512bh>(_mm512_loadu_si512(p)); }
inline __m512bh broadcast(const char* p) {
    int32_t pair;
    __builtin_memcpy(&pair, p, 4);
    return reinterpret_cast<__m512bh>(_mm512_set1_epi32(pair));
}

template <int R, int NT>
void rows_of(const Block& k, const char* a, float* c) {
    __m512 sum[R][NT];
    for (int r = 0; r < R; ++r)
        for (int n = 0; n < NT; ++n) sum[r][n] = _mm512_setzero_ps();
    const char* b = k.b;
    for (int64_t s = 0; s < k.steps; ++s, b += NT * kTileBytes) {
        const char* row[R];
        for (int r = 0; r < R; ++r) row[r] = a + k.offsets[s] + r * k.a_stride;
        for (int64_t at = 0; at < 64; at += 4) {
            __m512bh w[NT];
            for (int n = 0; n < NT; ++n) w[n] = pairs(b + at * 16 + n * kTileBytes);
            for (int r = 0; r < R; ++r) {
                const __m512bh x = broadcast(row[r] + at);
                for (int n = 0; n < NT; ++n) sum[r][n] = _mm512_dpbf16_ps(sum[r][n], x, w[n]);
            }
        }
    }
    for (int r = 0; r < R; ++r)
        for (int n = 0; n < NT; ++n) _mm512_storeu_ps(c + r * 32 + n * 16, sum[r][n]);
}

using Rows = void (*)(const Block&, const char*, float*);
template <int NT>
inline Rows rows_kernel(int64_t rows) {
    static constexpr Rows kernels[] = {rows_of<1, NT>, rows_of<2, NT>, rows_of<3, NT>, rows_of<4, NT>,
                                       rows_of<5, NT>, rows_of<6, NT>, rows_of<7, NT>, rows_of<8, NT>};
    return kernels[rows - 1];
}

// Eight rows of a tile.
inline void grad_rows(const GradBlock& k, const char* a, float* c) {
    __m512 sum[8][2];
    for (int r = 0; r < 8; ++r)
        for (int n = 0; n < 2; ++n)
            sum[r][n] = k.accumulate ? _mm512_loadu_ps(c + r * 32 + n * 16) : _mm512_setzero_ps();
    for (int64_t s = 0; s < k.steps; ++s, a += kTileBytes) {
        const int64_t offset = k.b_offsets[s];
        for (int64_t at = 0; at < 64; at += 4) {
            const __m512bh w0 = pairs(k.b[0] + offset + at * 16), w1 = pairs(k.b[1] + offset + at * 16);
            for (int r = 0; r < 8; ++r) {
                const __m512bh x = broadcast(a + r * 64 + at);
                sum[r][0] = _mm512_dpbf16_ps(sum[r][0], x, w0);
                sum[r][1] = _mm512_dpbf16_ps(sum[r][1], x, w1);
            }
        }
    }
    for (int r = 0; r < 8; ++r)
        for (int n = 0; n < 2; ++n) _mm512_storeu_ps(c + r * 32 + n * 16, sum[r][n]);
}

}  // namespace

void dot_grad_block(const GradBlock& block) {
    for (int r = 0; r < block.a_tiles * 16; r += 8)
        grad_rows(block, block.a[r / 16] + r % 16 * 64, block.c + r * 32);
}

void dot_block(const Block& block, Drain& drain) {
    drain_rows(drain, drain.count);
    const int64_t first = (block.rows + 1) / 2, second = block.rows / 2;
    for (int i = 0; i < block.a_tiles; ++i) {
        const char* a = block.a[i];
        float* c = block.c + i * 512;
        (block.b_tiles == 2 ? rows_kernel<2>(first) : rows_kernel<1>(first))(block, a, c);
        if (second)
            (block.b_tiles == 2 ? rows_kernel<2>(second) : rows_kernel<1>(second))(
                block, a + first * block.a_stride, c + first * 32);
    }
}

}  // namespace fastconv::FC_ISA_NS
