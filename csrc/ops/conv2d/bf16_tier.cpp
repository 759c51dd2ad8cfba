// Which bfloat16 instructions this process may use.
#include <cstdlib>
#include <cstring>

#include "cpu/isa.h"
#include "fastconv/error.h"
#include "ops/conv2d/bf16.h"

#if defined(FASTCONV_HAS_X86)
#    include <cpuid.h>
#    if defined(__linux__)
#        include <sys/syscall.h>
#        include <unistd.h>
#    endif
#endif

namespace fastconv {
namespace {

#ifdef FASTCONV_HAS_X86
bool has_avx512_bf16() {
    unsigned a = 0, b = 0, c = 0, d = 0;
    return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & (1u << 5));
}

// The processor's tiles, the operating system's room for them (XCR0), and on Linux its leave: the 8 KB of
// tile registers grow every signal frame, so a process has to ask.
bool amx_allowed() {
    unsigned a = 0, b = 0, c = 0, d = 0;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
    const unsigned need = (1u << 22) | (1u << 24);  // AMX-BF16, AMX-TILE
    if ((d & need) != need) return false;
    unsigned low = 0, high = 0;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    constexpr unsigned kTileState = (1u << 17) | (1u << 18);
    if ((low & kTileState) != kTileState) return false;
#    if defined(__linux__) && defined(SYS_arch_prctl)
    constexpr int kRequestPermission = 0x1023, kTileData = 18;
    return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#    else
    return false;
#    endif
}
#endif

bool available(Bf16Tier tier) {
#ifdef FASTCONV_HAS_X86
    if (tier != Bf16Tier::emulated)
        return active_isa() == Isa::avx512 && has_avx512_bf16() && (tier != Bf16Tier::amx || amx_allowed());
#endif
    return tier == Bf16Tier::emulated;
}

Bf16Tier choose() {
    const char* forced = std::getenv("FASTCONV_BF16");
    for (Bf16Tier tier : {Bf16Tier::amx, Bf16Tier::avx512_bf16, Bf16Tier::emulated}) {
        if (forced && *forced && std::strcmp(forced, name(tier)) != 0) continue;
        if (available(tier)) return tier;
        if (forced && *forced)
            throw DeviceError(message("FASTCONV_BF16=", forced,
                                      ": this machine cannot run it (with FASTCONV_ISA ", name(active_isa()),
                                      ")"));
    }
    throw DeviceError(message("FASTCONV_BF16 must be amx, avx512_bf16 or emulated, got '", forced, "'"));
}

}  // namespace

const char* name(Bf16Tier tier) {
    constexpr const char* names[] = {"emulated", "avx512_bf16", "amx"};
    return names[static_cast<int>(tier)];
}

Bf16Tier bf16_tier() {
    static const Bf16Tier tier = choose();
    return tier;
}

double bf16_dot_time() {
#ifdef FASTCONV_HAS_X86
    // Zen 5 and Sapphire Rapids measure 1.0 and 1.75.
    static const double time =
        available(Bf16Tier::avx512_bf16) && isa_avx512_bf16::bf16_measure_dot() > 1.4 ? 1.75 : 1.0;
    return time;
#else
    return 1.0;
#endif
}

}  // namespace fastconv
