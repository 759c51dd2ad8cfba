#pragma once

// What threads of a block and lanes of a warp do together.

#include <cstring>
#include <type_traits>

#include "block.h"

#define threadIdx (::fastconv::cuda::emulation::current_thread().index)
#define blockIdx (::fastconv::cuda::emulation::current_block().index)
#define blockDim (::fastconv::cuda::emulation::current_block().geometry.block)
#define gridDim (::fastconv::cuda::emulation::current_block().geometry.grid)
#define warpSize 32

namespace fastconv::cuda::emulation {

// A lane's part in a shuffle, a vote, a match or a reduction.
struct Exchange {
    uint64_t value = 0;
    int argument = 0, width = 32;
    uint64_t result = 0;
    bool flag = false;
};

enum class Shuffle { index, up, down, exclusive_or };
enum class Reduction { add, min_signed, max_signed, min_unsigned, max_unsigned, bit_and, bit_or, bit_xor };

uint64_t shuffle(Shuffle kind, unsigned mask, uint64_t value, int argument, int width, Place place);
unsigned ballot(const char* name, unsigned mask, int predicate, Place place);
unsigned match_any(unsigned mask, uint64_t value, Place place);
unsigned match_all(unsigned mask, uint64_t value, int* all, Place place);
unsigned reduce(Reduction kind, unsigned mask, unsigned value, Place place);
void synchronise_warp(unsigned mask, Place place);

template <class T>
T shuffle_of(Shuffle kind, unsigned mask, T value, int argument, int width, Place place) {
    static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= 8);
    uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof(T));
    bits = shuffle(kind, mask, bits, argument, width, place);
    std::memcpy(&value, &bits, sizeof(T));
    return value;
}

}  // namespace fastconv::cuda::emulation

namespace fastconv::cuda {

// bar.sync and bar.arrive of barriers 1 to 15, for `threads` threads, whole warps.
inline void barrier_sync(int id, int threads, emulation::Place place = emulation::Place::here()) {
    emulation::current_block().named_barrier(id, threads, true, place);
}
inline void barrier_arrive(int id, int threads, emulation::Place place = emulation::Place::here()) {
    emulation::current_block().named_barrier(id, threads, false, place);
}

}  // namespace fastconv::cuda

#define FC_EMULATION_PLACE \
    ::fastconv::cuda::emulation::Place place = ::fastconv::cuda::emulation::Place::here()

inline void __syncthreads(FC_EMULATION_PLACE) {
    fastconv::cuda::emulation::current_block().synchronise("__syncthreads", 0, place);
}
inline int __syncthreads_count(int predicate, FC_EMULATION_PLACE) {
    return fastconv::cuda::emulation::current_block().synchronise("__syncthreads_count", predicate, place);
}
inline int __syncthreads_or(int predicate, FC_EMULATION_PLACE) {
    return fastconv::cuda::emulation::current_block().synchronise("__syncthreads_or", predicate, place) != 0;
}
inline int __syncthreads_and(int predicate, FC_EMULATION_PLACE) {
    const int count =
        fastconv::cuda::emulation::current_block().synchronise("__syncthreads_and", predicate, place);
    return count == fastconv::cuda::emulation::current_thread().participants;
}
inline void __syncwarp(unsigned mask = 0xffffffffu, FC_EMULATION_PLACE) {
    fastconv::cuda::emulation::synchronise_warp(mask, place);
}

template <class T>
T __shfl_sync(unsigned mask, T value, int lane, int width = 32, FC_EMULATION_PLACE) {
    using namespace fastconv::cuda::emulation;
    return shuffle_of(Shuffle::index, mask, value, lane, width, place);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, FC_EMULATION_PLACE) {
    using namespace fastconv::cuda::emulation;
    return shuffle_of(Shuffle::up, mask, value, static_cast<int>(delta), width, place);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, FC_EMULATION_PLACE) {
    using namespace fastconv::cuda::emulation;
    return shuffle_of(Shuffle::down, mask, value, static_cast<int>(delta), width, place);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32, FC_EMULATION_PLACE) {
    using namespace fastconv::cuda::emulation;
    return shuffle_of(Shuffle::exclusive_or, mask, value, bits, width, place);
}

inline unsigned __ballot_sync(unsigned mask, int predicate, FC_EMULATION_PLACE) {
    return fastconv::cuda::emulation::ballot("__ballot_sync", mask, predicate, place);
}
inline int __any_sync(unsigned mask, int predicate, FC_EMULATION_PLACE) {
    return fastconv::cuda::emulation::ballot("__any_sync", mask, predicate, place) != 0;
}
inline int __all_sync(unsigned mask, int predicate, FC_EMULATION_PLACE) {
    return fastconv::cuda::emulation::ballot("__all_sync", mask, predicate, place) == mask;
}
template <class T>
unsigned __match_any_sync(unsigned mask, T value, FC_EMULATION_PLACE) {
    uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof(T));
    return fastconv::cuda::emulation::match_any(mask, bits, place);
}
template <class T>
unsigned __match_all_sync(unsigned mask, T value, int* all, FC_EMULATION_PLACE) {
    uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof(T));
    return fastconv::cuda::emulation::match_all(mask, bits, all, place);
}
// Hardware may say that any lanes with this one run together; a kernel must be right with the lane alone.
inline unsigned __activemask() { return 1u << fastconv::cuda::emulation::current_thread().lane(); }

#define FC_EMULATION_REDUCE(name, type, kind)                                                         \
    inline type name(unsigned mask, type value, FC_EMULATION_PLACE) {                                 \
        using namespace fastconv::cuda::emulation;                                                    \
        return static_cast<type>(reduce(Reduction::kind, mask, static_cast<unsigned>(value), place)); \
    }
FC_EMULATION_REDUCE(__reduce_add_sync, int, add)
FC_EMULATION_REDUCE(__reduce_add_sync, unsigned, add)
FC_EMULATION_REDUCE(__reduce_min_sync, int, min_signed)
FC_EMULATION_REDUCE(__reduce_min_sync, unsigned, min_unsigned)
FC_EMULATION_REDUCE(__reduce_max_sync, int, max_signed)
FC_EMULATION_REDUCE(__reduce_max_sync, unsigned, max_unsigned)
FC_EMULATION_REDUCE(__reduce_and_sync, unsigned, bit_and)
FC_EMULATION_REDUCE(__reduce_or_sync, unsigned, bit_or)
FC_EMULATION_REDUCE(__reduce_xor_sync, unsigned, bit_xor)
#undef FC_EMULATION_REDUCE
#undef FC_EMULATION_PLACE

inline void __threadfence() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
inline void __threadfence_block() {}
inline void __threadfence_system() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
inline void __nanosleep(unsigned) { fastconv::cuda::emulation::current_block().give_way(); }
// Counts the thread's own accesses and looks at the clock.
inline long long clock64() { return ++fastconv::cuda::emulation::current_thread().clock; }
