#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "order.h"

namespace fastconv::cuda::emulation {

enum class Access { load, store, atomic };

// A block's shared memory, filled with NaN, with red zones around it under AddressSanitizer, and what
// happened to each of its bytes.
class SharedMemory {
  public:
    SharedMemory();
    ~SharedMemory();
    SharedMemory(const SharedMemory&) = delete;
    SharedMemory& operator=(const SharedMemory&) = delete;

    // As it is when a block begins.
    void begin(size_t bytes);
    char* data() const { return data_; }
    size_t bytes() const { return bytes_; }
    // Also true of the red zones.
    bool holds(const void* address) const;
    size_t offset(const void* address) const { return static_cast<const char*>(address) - data_; }

    // "" if it may be done, or what is wrong. The bytes must lie inside.
    std::string access(size_t offset, size_t bytes, Access access, int thread, const Knowledge& knowledge);
    // An asynchronous copy into these bytes begins: they are NaN, and nobody may touch them until it lands.
    std::string begin_copy(size_t offset, size_t bytes, int thread, const Knowledge& knowledge);
    void land(size_t offset, const void* source, size_t valid, size_t bytes, int thread,
              const Knowledge& knowledge);

  private:
    enum class State : uint8_t { unwritten, written, pending };
    // Of readers since the last write: the last one, and the last other one of its warp and of another warp.
    // With barriers of warps or of the block that is as good as all of them.
    struct Byte {
        Moment write, update;  // update: by an atomic function
        Moment read, read_in_warp, read_elsewhere;
        State state = State::unwritten;
    };

    void note_read(Byte& byte, int thread, uint32_t clock);

    char* memory_;
    char* data_;
    size_t bytes_ = 0;
    std::vector<Byte> history_;
};

}  // namespace fastconv::cuda::emulation
