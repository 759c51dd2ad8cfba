#include "shared_memory.h"

#include <cstdlib>
#include <cstring>
#include <new>

#include "limits.h"
#include "sanitizer.h"

namespace fastconv::cuda::emulation {

namespace {
constexpr size_t red_zone = 4096;
constexpr size_t all_bytes = max_shared_bytes + 2 * red_zone;
constexpr int not_a_number = 0xff;  // in float, half, bfloat16 and double
}  // namespace

SharedMemory::SharedMemory() {
    memory_ = static_cast<char*>(std::aligned_alloc(1024, all_bytes));
    if (!memory_) throw std::bad_alloc();
    data_ = memory_ + red_zone;
}

SharedMemory::~SharedMemory() {
    ASAN_UNPOISON_MEMORY_REGION(memory_, all_bytes);
    std::free(memory_);
}

void SharedMemory::begin(size_t bytes) {
    bytes_ = bytes;
    ASAN_UNPOISON_MEMORY_REGION(memory_, all_bytes);
    std::memset(data_, not_a_number, bytes);
    ASAN_POISON_MEMORY_REGION(memory_, red_zone);
    ASAN_POISON_MEMORY_REGION(data_ + bytes, all_bytes - red_zone - bytes);
    history_.assign(bytes, Byte());
}

bool SharedMemory::holds(const void* address) const {
    return address >= memory_ && address < memory_ + all_bytes;
}

void SharedMemory::note_read(Byte& byte, int thread, uint32_t clock) {
    const Moment last = byte.read;
    byte.read = Moment(thread, clock);
    if (!last || last.thread() == thread) return;
    (last.thread() / 32 == thread / 32 ? byte.read_in_warp : byte.read_elsewhere) = last;
}

std::string SharedMemory::access(size_t offset, size_t bytes, Access access, int thread,
                                 const Knowledge& knowledge) {
    const auto race = [&](size_t at, const char* did, Moment other) {
        const char* does = access == Access::load ? "reads" : access == Access::store ? "writes" : "updates";
        return "race in shared memory: " + std::string(does) + " byte " + std::to_string(at) +
               ", which thread number " + std::to_string(other.thread()) + " " + did +
               " with no barrier between";
    };
    for (size_t at = offset; at < offset + bytes; ++at) {
        Byte& byte = history_[at];
        if (byte.state == State::pending)
            return "shared byte " + std::to_string(at) +
                   " is touched while an asynchronous copy into it, by thread number " +
                   std::to_string(byte.write.thread()) + ", has not been waited for";
        if (byte.state == State::unwritten && access != Access::store)
            return "read of shared byte " + std::to_string(at) + ", which nobody has written";
        if (!knowledge.knows(thread, byte.write)) return race(at, "writes", byte.write);
        if (access != Access::atomic && !knowledge.knows(thread, byte.update))
            return race(at, "updates", byte.update);
        if (access == Access::load) {
            note_read(byte, thread, knowledge.clock);
            continue;
        }
        for (Moment reader : {byte.read, byte.read_in_warp, byte.read_elsewhere})
            if (!knowledge.knows(thread, reader)) return race(at, "reads", reader);
        // Atomic functions are not ordered among themselves: the next one must know the same writes and
        // reads.
        if (access == Access::atomic) {
            byte.update = Moment(thread, knowledge.clock);
            continue;
        }
        byte = Byte();
        byte.write = Moment(thread, knowledge.clock);
        byte.state = State::written;
    }
    return "";
}

std::string SharedMemory::begin_copy(size_t offset, size_t bytes, int thread, const Knowledge& knowledge) {
    std::string wrong = access(offset, bytes, Access::store, thread, knowledge);
    if (!wrong.empty()) return wrong;
    std::memset(data_ + offset, not_a_number, bytes);
    for (size_t at = offset; at < offset + bytes; ++at) history_[at].state = State::pending;
    return "";
}

void SharedMemory::land(size_t offset, const void* source, size_t valid, size_t bytes, int thread,
                        const Knowledge& knowledge) {
    if (valid) std::memcpy(data_ + offset, source, valid);
    std::memset(data_ + offset + valid, 0, bytes - valid);
    for (size_t at = offset; at < offset + bytes; ++at) {
        history_[at].state = State::written;
        history_[at].write = Moment(thread, knowledge.clock);
    }
}

}  // namespace fastconv::cuda::emulation
