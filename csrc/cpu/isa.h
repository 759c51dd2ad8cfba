// Which instruction set the kernels run on: detected once, or forced by FASTCONV_ISA.
#pragma once

namespace fastconv {

enum class Isa { scalar = 0, avx2 = 1, avx512 = 2 };

const char* name(Isa isa);

// Whether this build has kernels for `isa` and the processor and the operating system can run them.
bool isa_available(Isa isa);

// The best available one, or what FASTCONV_ISA=scalar|avx2|avx512 asks for. Throws DeviceError where that
// value is unknown or cannot run here.
Isa active_isa();

// FC_ISA_PICK(fn): the active ISA's build of `fn`, which each ISA's namespace defines.
#ifdef FASTCONV_HAS_X86
#    define FC_ISA_DECLARE(signature) \
        namespace isa_scalar {        \
        signature;                    \
        }                             \
        namespace isa_avx2 {          \
        signature;                    \
        }                             \
        namespace isa_avx512 {        \
        signature;                    \
        }
#    define FC_ISA_PICK(fn)                                                    \
        (::fastconv::active_isa() == ::fastconv::Isa::avx512 ? &isa_avx512::fn \
         : ::fastconv::active_isa() == ::fastconv::Isa::avx2 ? &isa_avx2::fn   \
                                                             : &isa_scalar::fn)
#else
#    define FC_ISA_DECLARE(signature) \
        namespace isa_scalar {        \
        signature;                    \
        }
#    define FC_ISA_PICK(fn) (&isa_scalar::fn)
#endif

}  // namespace fastconv
