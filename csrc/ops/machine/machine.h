// The machine's limits, measured with the instructions that the kernels use: what a benchmark's times are
// held against.
#pragma once

#include <cstdint>

namespace fastconv {

inline constexpr int64_t kMinStreamBytes = 4096;
inline constexpr int64_t kMaxStreamBytes = int64_t{4} << 30;
inline constexpr double kMaxSeconds = 60;

// Multiply-adds in GFLOP/s (two operations each) that `threads` threads reach together on independent vector
// accumulators. Bursts of a fixed number of instructions repeat for `seconds`; the best one counts.
// ShapeError unless 0 < seconds <= kMaxSeconds and threads >= 1.
double fma_peak(double seconds, int64_t threads);

// GB/s, read plus written, of y = s * x where x and y take `bytes` bytes together and are shared among
// `threads` threads: beyond the last-level cache the memory's rate, below it the cache's. Ordinary and
// streaming stores are both tried; the best pass counts. ShapeError unless kMinStreamBytes <= bytes <=
// kMaxStreamBytes, and as fma_peak.
double stream_bandwidth(int64_t bytes, double seconds, int64_t threads);

// GB/s at which one thread reads 4 MB that no cache holds, the best of so many passes of a millisecond; it
// ends where that is enough. 0 where caches cannot be emptied.
double memory_read_rate(int passes = 5, double enough = 1e30);

// Microseconds for a cache line that one thread writes to go to another and back, the best of several hundred
// round trips at a time: 0.1 between processors with a cache in common, 0.5 between others. 0 where no second
// thread ran beside this one.
double line_round_trip();

// Whether memory keeps up with arithmetic on large transformed weights that are read once (a program's):
// measured once, or as FASTCONV_FAST_MEMORY (0, 1) says, and told apart with room on both sides, so that what
// follows from it does not change from run to run. DeviceError for another value of the variable.
bool memory_is_fast();

}  // namespace fastconv
