#pragma once

#include <cstddef>
#include <cstdint>
#include <shared_mutex>
#include <string>
#include <vector>

namespace fastconv::cuda::emulation {

// Memory that kernels may touch, under a name for messages, while this object lives. It must be made and
// destroyed while no kernel runs.
class GlobalBuffer {
  public:
    GlobalBuffer(const void* begin, size_t bytes, std::string name, bool writable = true);
    ~GlobalBuffer();
    GlobalBuffer(const GlobalBuffer&) = delete;
    GlobalBuffer& operator=(const GlobalBuffer&) = delete;

  private:
    uintptr_t begin_;
};

// Held by launches: buffers neither come nor go.
std::shared_lock<std::shared_mutex> keep_buffers();

// "" if a buffer holds all of the bytes, or what is wrong.
std::string wrong_with(const void* address, size_t bytes, bool store);

}  // namespace fastconv::cuda::emulation
