#include "fiber.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <exception>
#include <new>

#include "sanitizer.h"

#if defined(FASTCONV_EMULATION_UCONTEXT) || !(defined(__x86_64__) || defined(__aarch64__))
#    define FC_EMULATION_UCONTEXT 1
#    include <ucontext.h>
#endif

namespace fastconv::cuda::emulation {

namespace {

constexpr size_t stack_bytes = 256 * 1024;

thread_local Fiber* entered = nullptr;

size_t page() { return static_cast<size_t>(sysconf(_SC_PAGESIZE)); }

}  // namespace

#ifndef FC_EMULATION_UCONTEXT

// Saves what a call must keep on the stack that is left, its address in *left, and continues on the other
// stack.
extern "C" void fastconv_switch_stack(void** left, void* entered);

#    if defined(__x86_64__)
asm(R"(
    .text
    .p2align 4
    .globl fastconv_switch_stack
    .hidden fastconv_switch_stack
    .type fastconv_switch_stack, @function
fastconv_switch_stack:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
    .size fastconv_switch_stack, .-fastconv_switch_stack
)");

namespace {
// Six registers, the function to return to, and no return address above it: a function is entered with its
// stack eight bytes off a multiple of sixteen.
void* first_context(char* top, void (*function)()) {
    auto* words = reinterpret_cast<uint64_t*>(top) - 8;
    for (int i = 0; i < 8; ++i) words[i] = 0;
    words[6] = reinterpret_cast<uint64_t>(function);
    return words;
}
}  // namespace

#    else
asm(R"(
    .text
    .p2align 4
    .globl fastconv_switch_stack
    .hidden fastconv_switch_stack
    .type fastconv_switch_stack, %function
fastconv_switch_stack:
    sub sp, sp, #160
    stp x19, x20, [sp, #0]
    stp x21, x22, [sp, #16]
    stp x23, x24, [sp, #32]
    stp x25, x26, [sp, #48]
    stp x27, x28, [sp, #64]
    stp x29, x30, [sp, #80]
    stp d8, d9, [sp, #96]
    stp d10, d11, [sp, #112]
    stp d12, d13, [sp, #128]
    stp d14, d15, [sp, #144]
    mov x9, sp
    str x9, [x0]
    mov sp, x1
    ldp x19, x20, [sp, #0]
    ldp x21, x22, [sp, #16]
    ldp x23, x24, [sp, #32]
    ldp x25, x26, [sp, #48]
    ldp x27, x28, [sp, #64]
    ldp x29, x30, [sp, #80]
    ldp d8, d9, [sp, #96]
    ldp d10, d11, [sp, #112]
    ldp d12, d13, [sp, #128]
    ldp d14, d15, [sp, #144]
    add sp, sp, #160
    ret
    .size fastconv_switch_stack, .-fastconv_switch_stack
)");

namespace {
// The link register is the function to return to.
void* first_context(char* top, void (*function)()) {
    auto* words = reinterpret_cast<uint64_t*>(top) - 20;
    for (int i = 0; i < 20; ++i) words[i] = 0;
    words[11] = reinterpret_cast<uint64_t>(function);
    return words;
}
}  // namespace
#    endif

namespace {
void switch_to(void** left, void* entered_context) { fastconv_switch_stack(left, entered_context); }
void free_contexts(void*, void*) {}
}  // namespace

#else

namespace {
void switch_to(void** left, void* entered_context) {
    if (!*left) *left = new ucontext_t;
    swapcontext(static_cast<ucontext_t*>(*left), static_cast<ucontext_t*>(entered_context));
}
void free_contexts(void* one, void* other) {
    delete static_cast<ucontext_t*>(one);
    delete static_cast<ucontext_t*>(other);
}
}  // namespace

#endif

Fiber::Fiber() {
    memory_ = mmap(nullptr, stack_bytes + page(), PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory_ == MAP_FAILED) throw std::bad_alloc();
    mprotect(memory_, page(), PROT_NONE);
    stack_ = static_cast<char*>(memory_) + page();
}

Fiber::~Fiber() {
    free_contexts(own_context_, resumers_context_);
    ASAN_UNPOISON_MEMORY_REGION(stack_, stack_bytes);
    munmap(memory_, stack_bytes + page());
}

void Fiber::start(void (*entry)(void*), void* argument) {
    entry_ = entry;
    argument_ = argument;
    own_frames_ = nullptr;
    ASAN_UNPOISON_MEMORY_REGION(stack_, stack_bytes);
#ifndef FC_EMULATION_UCONTEXT
    own_context_ = first_context(stack_ + stack_bytes, &Fiber::run);
#else
    if (!own_context_) own_context_ = new ucontext_t;
    auto* context = static_cast<ucontext_t*>(own_context_);
    getcontext(context);
    context->uc_stack.ss_sp = stack_;
    context->uc_stack.ss_size = stack_bytes;
    context->uc_link = nullptr;
    makecontext(context, &Fiber::run, 0);
#endif
}

void Fiber::resume() {
    entered = this;
#ifdef FC_EMULATION_ASAN
    __sanitizer_start_switch_fiber(&resumers_frames_, stack_, stack_bytes);
#endif
    switch_to(&resumers_context_, own_context_);
#ifdef FC_EMULATION_ASAN
    __sanitizer_finish_switch_fiber(resumers_frames_, nullptr, nullptr);
#endif
}

void Fiber::leave([[maybe_unused]] bool for_ever) {
#ifdef FC_EMULATION_ASAN
    __sanitizer_start_switch_fiber(for_ever ? nullptr : &own_frames_, resumers_stack_, resumers_bytes_);
#endif
    switch_to(&own_context_, resumers_context_);
}

void Fiber::suspend() {
    leave(false);
#ifdef FC_EMULATION_ASAN
    __sanitizer_finish_switch_fiber(own_frames_, &resumers_stack_, &resumers_bytes_);
#endif
}

void Fiber::run() {
    Fiber* self = entered;
#ifdef FC_EMULATION_ASAN
    __sanitizer_finish_switch_fiber(nullptr, &self->resumers_stack_, &self->resumers_bytes_);
#endif
    self->entry_(self->argument_);
    self->leave(true);
    std::terminate();
}

}  // namespace fastconv::cuda::emulation
