// What keeps tiles fed: prefetching for kernels that step over whole pixels, and loads that stay single.
#pragma once

#include "ops/conv2d/cpu/common.h"

namespace fastconv::FC_ISA_NS {
namespace {

// A vector that is used several times, loaded once: GCC would otherwise read it from memory in each
// multiply-add, and unaligned rows then cost two cycles each time (43 -> 77 GFLOP/s on dgrad of a 7x7 stem).
inline vf once(vf x) {
#if defined(FC_ISA_AVX512)
    __asm__("" : "+v"(x));
#elif defined(FC_ISA_AVX2)
    __asm__("" : "+x"(x));
#endif
    return x;
}

// Arrays of fewer floats in all are likely in L2 already.
constexpr int64_t kNear = 256 << 10;

}  // namespace

// Brings two ranges that the next block needs into L2, in memory order, a few lines at each tile: the tiles
// themselves step over whole pixels, which no prefetcher of the processor follows. Measured: 1.5 to 7 times
// the speed on batches beyond L2.
template <bool WRITE>
struct Ahead {
    const float *in, *in_end;
    const float *out, *out_end;  // to be written, or read too
    int64_t lines;               // a tile

    void plan(int64_t tiles) { lines = ceil_div(most(in_end - in, out_end - out), 16 * tiles); }
    void step() {
        const int64_t reads = least(lines, ceil_div(in_end - in, 16));
        for (int64_t i = 0; i < reads; ++i) __builtin_prefetch(in + 16 * i, 0, 2);
        const int64_t writes = least(lines, ceil_div(out_end - out, 16));
        for (int64_t i = 0; i < writes; ++i) __builtin_prefetch(out + 16 * i, WRITE, 2);
        in += 16 * lines, out += 16 * lines;
    }
};

}  // namespace fastconv::FC_ISA_NS
