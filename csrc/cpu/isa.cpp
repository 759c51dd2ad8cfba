#include "cpu/isa.h"

#include <cstdlib>
#include <cstring>
#include <string>

#include "fastconv/error.h"

#ifdef FASTCONV_HAS_X86
#    include <cpuid.h>
#endif

namespace fastconv {
namespace {

#ifdef FASTCONV_HAS_X86
struct Features {
    bool avx2 = false;
    bool avx512 = false;
};

unsigned long long xgetbv0() {
    unsigned eax, edx;
    __asm__ volatile("xgetbv" : "=a"(eax), "=d"(edx) : "c"(0));
    return (static_cast<unsigned long long>(edx) << 32) | eax;
}

// The processor must have the instructions, and the operating system must save their registers (XCR0).
Features detect() {
    Features f;
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return f;
    const bool fma = c & (1u << 12), osxsave = c & (1u << 27), avx = c & (1u << 28);
    if (!osxsave || !avx || !fma) return f;
    const unsigned long long saved = xgetbv0();
    const bool ymm = (saved & 0x6) == 0x6, zmm = (saved & 0xe6) == 0xe6;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return f;
    f.avx2 = ymm && (b & (1u << 5));
    const unsigned need = (1u << 16) | (1u << 17) | (1u << 30) | (1u << 31);  // F, DQ, BW, VL
    f.avx512 = f.avx2 && zmm && (b & need) == need;
    return f;
}

const Features& features() {
    static const Features f = detect();
    return f;
}
#endif

Isa choose() {
    Isa best = Isa::scalar;
    for (Isa isa : {Isa::avx2, Isa::avx512})
        if (isa_available(isa)) best = isa;
    const char* forced = std::getenv("FASTCONV_ISA");
    if (!forced || !*forced) return best;
    for (Isa isa : {Isa::scalar, Isa::avx2, Isa::avx512}) {
        if (std::strcmp(forced, name(isa)) != 0) continue;
        if (!isa_available(isa))
            throw DeviceError(message("FASTCONV_ISA=", forced,
                                      ": this machine or build cannot run it (best: ", name(best), ")"));
        return isa;
    }
    throw DeviceError(message("FASTCONV_ISA must be scalar, avx2 or avx512, got '", forced, "'"));
}

}  // namespace

const char* name(Isa isa) {
    constexpr const char* names[] = {"scalar", "avx2", "avx512"};
    return names[static_cast<int>(isa)];
}

bool isa_available(Isa isa) {
#ifdef FASTCONV_HAS_X86
    if (isa == Isa::avx2) return features().avx2;
    if (isa == Isa::avx512) return features().avx512;
#endif
    return isa == Isa::scalar;
}

Isa active_isa() {
    static const Isa isa = choose();
    return isa;
}

}  // namespace fastconv
