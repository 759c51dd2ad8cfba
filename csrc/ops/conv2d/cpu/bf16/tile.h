// The blocks that bfloat16 products end in, accumulated in float32 over steps of 32 products: on tdpbf16ps
// two tiles of up to 16 rows by two of 16 columns, on vdpbf16ps what the vector registers hold.
#pragma once

#include "cpu/simd/simd.h"
#include "ops/conv2d/bf16.h"

namespace fastconv::FC_ISA_NS {

inline constexpr int64_t kTileBytes = 1024;  // 16 rows of 32 bfloat16, or of 16 float32

// What comes before the rounding: a residual is added, ReLU applied, or its gradient (nothing where `saved`,
// the result of ReLU, is). Null or false where not wanted.
struct DotFinish {
    const uint16_t* residual = nullptr;
    const uint16_t* saved = nullptr;
    bool relu = false;
    bool nothing() const { return !residual && !saved && !relu; }
};

// Rows of results that wait to be rounded and written: they are, a few at a time, between the steps of the
// next block, whose tile instructions leave the vector units idle.
struct Drain {
    const float* from = nullptr;    // rows of 32 floats
    const int64_t* rows = nullptr;  // where each goes, or -1
    int64_t at = 0, count = 0;
    uint16_t* out = nullptr;
    const float* bias = nullptr;  // 32 values, or null
    uint32_t mask = 0;            // which of the 32 columns exist
    DotFinish finish;             // at the same places as `out`
    // Memory that will be read soon, brought into L2 a few lines a step.
    const char* ahead = nullptr;
    int64_t ahead_lines = 0, lines_a_step = 0;
};

// Tile i of A has its rows at a[i] + offsets[step] + row * a_stride (bytes), 32 elements each; a step of B is
// `b_tiles` tiles of [16 pairs of elements][16 columns][2], one after another.
struct Block {
    const char* a[2];
    int64_t a_stride;
    const int64_t* offsets;
    int64_t steps;
    const char* b;
    int64_t b_tiles;  // tiles of B in a step: 2, or 1 at the end of the columns
    int a_tiles;
    int rows;  // of a tile of A
    float* c;  // 32 rows of 32 floats: tile i's rows start at row 16 * i
    // Where this block's rows will go, as in Drain: a store would wait for its line from memory, so the lines
    // are asked for during the steps.
    const int64_t* places;
    const uint16_t* out;
};

// The block on vdpbf16ps: up to kDotRows rows by two vectors of columns, rounded and written from registers.
// A step of B is as in Block; those from `whole` on have only `pairs` pairs of elements that are not zero.
inline constexpr int64_t kDotRows = 14;
struct DotBlock {
    const char* a;
    int64_t a_stride;
    const int64_t* offsets;
    int64_t steps, whole, pairs;
    bool half;
    const char* b;
    int64_t b_tiles;
    int64_t rows;
    const int64_t* places;  // of the rows in `out`, or -1
    const int64_t* next;    // of rows whose lines are fetched meanwhile
    uint16_t* out;
    const float* bias;  // 32 values, or null
    uint32_t mask;      // which of the 32 columns exist
    DotFinish finish;
};

// The block of a weight gradient: a step of A lies kTileBytes behind the one before, one of B at
// b_offsets[step]. A's tiles are [row][32 elements]; for vdpbf16ps [pair of elements][row][2].
struct GradBlock {
    const char* a[2];
    const char* b[2];
    const int64_t* b_offsets;
    const uint8_t* pairs;  // of each step's 16 those that are not zero; vdpbf16ps leaves the rest out
    int64_t steps;
    int a_tiles;
    bool accumulate;  // add to what c holds
    float* c;         // 32 rows of 32 floats
};

namespace {

inline void prefetch_ahead(Drain& d, int64_t count) {
    for (; count > 0 && d.ahead_lines > 0; --count, --d.ahead_lines, d.ahead += 64)
        _mm_prefetch(d.ahead, _MM_HINT_T1);
}

// The 32 columns at `from`, widened.
inline void widen_row(const uint16_t* from, uint32_t mask, __m512& low, __m512& high) {
    const __m512i row = _mm512_maskz_loadu_epi16(mask, from);
    const auto half = [](__m256i v) {
        return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(v), 16));
    };
    low = half(_mm512_castsi512_si256(row)), high = half(_mm512_extracti64x4_epi64(row, 1));
}

inline void finish_row(const DotFinish& f, int64_t to, uint32_t mask, __m512& low, __m512& high) {
    const __m512 zero = _mm512_setzero_ps();
    __m512 l, h;
    if (f.residual) {
        widen_row(f.residual + to, mask, l, h);
        low = _mm512_add_ps(low, l), high = _mm512_add_ps(high, h);
    }
    if (f.relu) low = _mm512_max_ps(zero, low), high = _mm512_max_ps(zero, high);  // NaN stays
    if (f.saved) {
        widen_row(f.saved + to, mask, l, h);
        low = _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(l, zero, _CMP_NLE_UQ), low);
        high = _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(h, zero, _CMP_NLE_UQ), high);
    }
}

inline void drain_rows(Drain& d, int64_t count) {
    const int64_t end = d.at + count < d.count ? d.at + count : d.count;
    for (; d.at < end; ++d.at) {
        const int64_t to = d.rows[d.at];
        if (to < 0) continue;
        __m512 low = _mm512_loadu_ps(d.from + d.at * 32), high = _mm512_loadu_ps(d.from + d.at * 32 + 16);
        if (d.bias) {
            low = _mm512_add_ps(low, _mm512_loadu_ps(d.bias));
            high = _mm512_add_ps(high, _mm512_loadu_ps(d.bias + 16));
        }
        if (!d.finish.nothing()) finish_row(d.finish, to, d.mask, low, high);
        const __m512i rounded = reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(high, low));
        if (d.mask == 0xffffffffu)
            _mm512_storeu_si512(d.out + to, rounded);
        else
            _mm512_mask_storeu_epi16(d.out + to, d.mask, rounded);
    }
}

}  // namespace

// Tiles of `rows` rows from here on, on this thread.
void amx_begin(int rows);
void amx_end();
// Rows past those of the tile are left as they were.
void amx_block(const Block& block, Drain& drain);
// `drain` has only what is to be fetched ahead.
void dot_block(const DotBlock& block, Drain& drain);
void amx_grad_block(const GradBlock& block);
void dot_grad_block(const GradBlock& block);

}  // namespace fastconv::FC_ISA_NS
