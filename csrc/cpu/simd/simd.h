// The vector type of the instruction set that this file is being compiled for. CMake builds every kernel
// file once per ISA with FC_ISA_NS set to isa_scalar, isa_avx2 or isa_avx512, and everything here lives in
// that namespace: a shared inline function could otherwise be linked in its AVX-512 form and crash elsewhere.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(FC_ISA_AVX512)
#    include "cpu/simd/avx512.h"
#elif defined(FC_ISA_AVX2)
#    include "cpu/simd/avx2.h"
#elif defined(FC_ISA_SCALAR)
#    include "cpu/simd/scalar.h"
#else
#    error "kernel files are compiled per ISA: FC_ISA_SCALAR, FC_ISA_AVX2 or FC_ISA_AVX512 must be defined"
#endif

#include "core/bfloat16.h"
#include "cpu/simd/math.h"

namespace fastconv::FC_ISA_NS {
namespace {

// Owns the line for writing soon. Stores to lines that lie in L2 or beyond wait for them one after the other,
// which takes two to three times as long as what they are the results of.
inline void fetch_for_write(const void* line) {
#if defined(FC_ISA_SCALAR)
    __builtin_prefetch(line, 1, 3);
#else  // GCC has the intrinsic only with a flag of its own; older processors ignore the instruction
    __asm__ volatile("prefetchw %0" : : "m"(*static_cast<const char*>(line)));
#endif
}

}  // namespace
}  // namespace fastconv::FC_ISA_NS
