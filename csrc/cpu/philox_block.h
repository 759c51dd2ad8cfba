// How Philox's words are numbered: in blocks of 64, from 16 counters.
#pragma once

#include <cstdint>

namespace fastconv {

inline constexpr int kPhiloxLanes = 16;                    // counters of a block
inline constexpr int64_t kPhiloxBlock = 4 * kPhiloxLanes;  // words of a block

}  // namespace fastconv
