// Philox-4x32-10 (Salmon et al., SC 2011): random words as a function of a key and a counter. Sixteen
// counters side by side in plain loops, which the compiler vectorises for each ISA.
#pragma once

#include "cpu/philox_block.h"
#include "cpu/simd/simd.h"

namespace fastconv::FC_ISA_NS {
namespace {

// words[16 j + l] = output j of counter `first` + l.
inline void philox_block(uint64_t first, uint64_t key, uint32_t* __restrict words) {
    uint32_t c0[kPhiloxLanes], c1[kPhiloxLanes], c2[kPhiloxLanes], c3[kPhiloxLanes];
    for (int l = 0; l < kPhiloxLanes; ++l) {
        // `first` is a multiple of 16, so its low word does not carry.
        c0[l] = static_cast<uint32_t>(first) + static_cast<uint32_t>(l);
        c1[l] = static_cast<uint32_t>(first >> 32);
        c2[l] = 0;
        c3[l] = 0;
    }
    uint32_t k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
    for (int round = 0; round < 10; ++round) {
        for (int l = 0; l < kPhiloxLanes; ++l) {
            const uint64_t p0 = uint64_t{0xD2511F53} * c0[l], p1 = uint64_t{0xCD9E8D57} * c2[l];
            c0[l] = static_cast<uint32_t>(p1 >> 32) ^ c1[l] ^ k0;
            c1[l] = static_cast<uint32_t>(p1);
            c2[l] = static_cast<uint32_t>(p0 >> 32) ^ c3[l] ^ k1;
            c3[l] = static_cast<uint32_t>(p0);
        }
        k0 += 0x9E3779B9;
        k1 += 0xBB67AE85;
    }
    for (int l = 0; l < kPhiloxLanes; ++l) {
        words[l] = c0[l];
        words[kPhiloxLanes + l] = c1[l];
        words[2 * kPhiloxLanes + l] = c2[l];
        words[3 * kPhiloxLanes + l] = c3[l];
    }
}

}  // namespace
}  // namespace fastconv::FC_ISA_NS
