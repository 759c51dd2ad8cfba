#pragma once

// AddressSanitizer's interface where the build has it, and nothing otherwise.
#if defined(__SANITIZE_ADDRESS__)
#    define FC_EMULATION_ASAN 1
#elif defined(__has_feature)
#    if __has_feature(address_sanitizer)
#        define FC_EMULATION_ASAN 1
#    endif
#endif

#ifdef FC_EMULATION_ASAN
#    include <sanitizer/asan_interface.h>
#    include <sanitizer/common_interface_defs.h>
#else
#    define ASAN_POISON_MEMORY_REGION(address, bytes) ((void)(address), (void)(bytes))
#    define ASAN_UNPOISON_MEMORY_REGION(address, bytes) ((void)(address), (void)(bytes))
#endif
