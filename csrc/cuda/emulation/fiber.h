#pragma once

#include <cstddef>

namespace fastconv::cuda::emulation {

// A function with a stack of its own, that gives way to who resumed it and is resumed later, always by the
// same thread of the system. The stack has a guard page below and is used again by the next `start`.
class Fiber {
  public:
    Fiber();
    ~Fiber();
    Fiber(const Fiber&) = delete;
    Fiber& operator=(const Fiber&) = delete;

    // `entry` must not throw, and ends by returning. A fiber that has not ended may be started anew: what it
    // had on its stack is forgotten, without destructors.
    void start(void (*entry)(void*), void* argument);
    // Runs it until it suspends itself or ends.
    void resume();
    // From inside: back to `resume`.
    void suspend();

  private:
    static void run();
    void leave(bool for_ever);

    void* memory_;
    char* stack_;
    void (*entry_)(void*) = nullptr;
    void* argument_ = nullptr;
    void* own_context_ = nullptr;
    void* resumers_context_ = nullptr;
    // AddressSanitizer's, for the stack that is left.
    void* own_frames_ = nullptr;
    void* resumers_frames_ = nullptr;
    const void* resumers_stack_ = nullptr;
    size_t resumers_bytes_ = 0;
};

}  // namespace fastconv::cuda::emulation
