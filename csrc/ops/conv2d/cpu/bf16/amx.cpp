// The block on AMX tiles. A step is four tdpbf16ps, 64 cycles, and four tile loads, 32 cycles from L1: so
// operands may come from L2, one of the two at least.
#include <immintrin.h>

#include "ops/conv2d/cpu/bf16/tile.h"

namespace fastconv::FC_ISA_NS {
namespace {

// Sums 0 to 3 (row-major), A 4 and 5, B 6 and 7.
struct alignas(64) TileConfig {
    uint8_t palette = 1, start_row = 0, reserved[14] = {};
    uint16_t row_bytes[16] = {};
    uint8_t rows[16] = {};
};

template <int MT, int NT>
inline void block_of(const Block& k, Drain& drain) {
    const char* a0 = k.a[0];
    const char* a1 = MT == 2 ? k.a[1] : nullptr;
    const char* b = k.b;
    _tile_zero(0);
    if (NT == 2) _tile_zero(1);
    if (MT == 2) _tile_zero(2);
    if (MT == 2 && NT == 2) _tile_zero(3);
    const int64_t rows_a_step = drain.at < drain.count ? (drain.count - drain.at + k.steps - 1) / k.steps : 0;
    const int64_t touched = (MT * 16 + k.steps - 1) / k.steps;
    for (int64_t s = 0; s < k.steps; ++s) {
        const int64_t offset = k.offsets[s];
        _tile_loadd(4, a0 + offset, k.a_stride);
        _tile_loadd(6, b, 64);
        if (NT == 2) _tile_loadd(7, b + kTileBytes, 64);
        _tile_dpbf16ps(0, 4, 6);
        if (NT == 2) _tile_dpbf16ps(1, 4, 7);
        if (MT == 2) {
            _tile_loadd(5, a1 + offset, k.a_stride);
            _tile_dpbf16ps(2, 5, 6);
            if (NT == 2) _tile_dpbf16ps(3, 5, 7);
        }
        if (rows_a_step) drain_rows(drain, rows_a_step);
        for (int64_t r = s * touched; r < (s + 1) * touched && r < MT * 16; ++r)
            if (k.places[r] >= 0) __builtin_prefetch(k.out + k.places[r], 1, 3);
        if (drain.ahead_lines > 0) prefetch_ahead(drain, drain.lines_a_step);
        b += NT * kTileBytes;
    }
    _tile_stored(0, k.c, 128);
    if (NT == 2) _tile_stored(1, k.c + 16, 128);
    if (MT == 2) _tile_stored(2, k.c + 512, 128);
    if (MT == 2 && NT == 2) _tile_stored(3, k.c + 528, 128);
}

template <int MT>
inline void grad_block_of(const GradBlock& k) {
    const char *a0 = k.a[0], *a1 = k.a[1];
    if (k.accumulate) {
        _tile_loadd(0, k.c, 128);
        _tile_loadd(1, k.c + 16, 128);
        if (MT == 2) _tile_loadd(2, k.c + 512, 128);
        if (MT == 2) _tile_loadd(3, k.c + 528, 128);
    } else {
        _tile_zero(0);
        _tile_zero(1);
        if (MT == 2) _tile_zero(2);
        if (MT == 2) _tile_zero(3);
    }
    for (int64_t s = 0; s < k.steps; ++s) {
        const int64_t offset = k.b_offsets[s];
        _tile_loadd(4, a0, 64);
        _tile_loadd(6, k.b[0] + offset, 64);
        _tile_loadd(7, k.b[1] + offset, 64);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        a0 += kTileBytes;
        if (MT == 2) {
            _tile_loadd(5, a1, 64);
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
            a1 += kTileBytes;
        }
    }
    _tile_stored(0, k.c, 128);
    _tile_stored(1, k.c + 16, 128);
    if (MT == 2) _tile_stored(2, k.c + 512, 128);
    if (MT == 2) _tile_stored(3, k.c + 528, 128);
}

}  // namespace

void amx_grad_block(const GradBlock& block) {
    block.a_tiles == 2 ? grad_block_of<2>(block) : grad_block_of<1>(block);
}

void amx_begin(int rows) {
    TileConfig config;
    for (int i = 0; i < 8; ++i) {
        config.row_bytes[i] = 64;
        config.rows[i] = static_cast<uint8_t>(i < 6 ? rows : 16);
    }
    // Not the intrinsic: GCC 12 takes it to read a pointer's width only, and drops stores to the rest.
    __asm__ volatile("ldtilecfg %0" : : "m"(config));
}

void amx_end() { _tile_release(); }

void amx_block(const Block& block, Drain& drain) {
    if (block.a_tiles == 2)
        block.b_tiles == 2 ? block_of<2, 2>(block, drain) : block_of<2, 1>(block, drain);
    else
        block.b_tiles == 2 ? block_of<1, 2>(block, drain) : block_of<1, 1>(block, drain);
}

}  // namespace fastconv::FC_ISA_NS
