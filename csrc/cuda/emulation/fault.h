#pragma once

#include <stdexcept>
#include <string>

namespace fastconv::cuda::emulation {

// What a kernel did wrong; the message names the kernel, the block and the thread.
class Fault : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

// Where a call stands in a kernel's source.
struct Place {
    const char* file = "";
    int line = 0;
    // GCC and Clang evaluate these as default arguments at the caller's line.
    static constexpr Place here(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
        return {file, line};
    }
    std::string text() const;
};

}  // namespace fastconv::cuda::emulation
