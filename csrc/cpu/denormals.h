// Denormal numbers cost a microcode assist of some 150 cycles each in multiplies; kernels take them for zero.
#pragma once

#include <cstdint>

#if defined(__SSE__)
#    include <xmmintrin.h>
#endif

namespace fastconv {

// While it lives, this thread's arithmetic takes denormal operands for zero and gives zero instead of
// denormal results. The thread's own mode, its sticky exception flags included, comes back at the end, also
// when an exception ends it. Processors without such a switch keep theirs.
class FlushDenormals {
  public:
#if defined(__SSE__)
    FlushDenormals() noexcept : before_(_mm_getcsr()) {
        _mm_setcsr(before_ | kFlushToZero | kDenormalsAreZero);
    }
    ~FlushDenormals() { _mm_setcsr(before_); }
#elif defined(__aarch64__)
    FlushDenormals() noexcept : before_(read()) { write(before_ | kFlushToZero); }
    ~FlushDenormals() { write(before_); }
#else
    FlushDenormals() noexcept {}
    ~FlushDenormals() {}
#endif
    FlushDenormals(const FlushDenormals&) = delete;
    FlushDenormals& operator=(const FlushDenormals&) = delete;

  private:
#if defined(__SSE__)
    // Bits of MXCSR. Every processor with AVX, and every x86-64 one but the very first, has both.
    static constexpr unsigned kFlushToZero = 1u << 15, kDenormalsAreZero = 1u << 6;
    unsigned before_;
#elif defined(__aarch64__)
    static constexpr uint64_t kFlushToZero = uint64_t{1} << 24;  // FPCR.FZ: operands and results
    static uint64_t read() noexcept {
        uint64_t value;
        asm volatile("mrs %0, fpcr" : "=r"(value));
        return value;
    }
    static void write(uint64_t value) noexcept { asm volatile("msr fpcr, %0" : : "r"(value)); }
    uint64_t before_;
#endif
};

}  // namespace fastconv
