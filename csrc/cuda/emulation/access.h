#pragma once

// Memory as kernels reach it: every access is checked and counted.

#include <cstring>
#include <type_traits>

#include "block.h"

namespace fastconv::cuda {

template <class T, int count>
struct alignas(sizeof(T) * count) Vector {
    T values[count];
    T& operator[](int i) { return values[i]; }
    const T& operator[](int i) const { return values[i]; }
};

namespace emulation {

// Not inline: where it returns to tells the kernel's instructions apart.
void touch(const void* address, unsigned bytes, unsigned alignment, Access access, Place place);
void begin_copy(void* shared, const void* global, unsigned bytes, unsigned valid, Place place);
void* shared_data(size_t bytes);
void check_index(long long index, long long extent);

// What indexing an array in shared memory gives: reads and writes like the element.
template <class T>
class SharedReference {
  public:
    explicit SharedReference(T& element) : at_(&element) {}
    SharedReference(const SharedReference&) = default;
    __forceinline__ operator T() const {
        touch(at_, sizeof(T), alignof(T), Access::load, {});
        return *at_;
    }
    __forceinline__ const SharedReference& operator=(const T& value) const {
        touch(at_, sizeof(T), alignof(T), Access::store, {});
        *at_ = value;
        return *this;
    }
    __forceinline__ const SharedReference& operator=(const SharedReference& other) const {
        return *this = static_cast<T>(other);
    }
    __forceinline__ const SharedReference& operator+=(const T& value) const {
        return *this = T(*this) + value;
    }
    __forceinline__ const SharedReference& operator-=(const T& value) const {
        return *this = T(*this) - value;
    }
    __forceinline__ const SharedReference& operator*=(const T& value) const {
        return *this = T(*this) * value;
    }
    T* operator&() const { return at_; }

  private:
    T* at_;
};

template <class T>
SharedReference<T> shared_reference(T& element) {
    return SharedReference<T>(element);
}

}  // namespace emulation

using emulation::check_index;
using emulation::shared_reference;
using emulation::SharedReference;

// The block's dynamic shared memory. A block must have been launched with sizeof(Layout) bytes or more.
template <class Layout>
Layout& shared_memory() {
    static_assert(std::is_trivially_default_constructible_v<Layout> && alignof(Layout) <= 1024);
    return *static_cast<Layout*>(emulation::shared_data(sizeof(Layout)));
}

// Of global or shared memory.
template <class T>
__forceinline__ T load(const T* address, emulation::Place place = emulation::Place::here()) {
    emulation::touch(address, sizeof(T), alignof(T), emulation::Access::load, place);
    return *address;
}
template <class T>
__forceinline__ void store(T* address, const std::common_type_t<T>& value,
                           emulation::Place place = emulation::Place::here()) {
    emulation::touch(address, sizeof(T), alignof(T), emulation::Access::store, place);
    *address = value;
}
template <int count, class T>
__forceinline__ Vector<T, count> load_vector(const T* address,
                                             emulation::Place place = emulation::Place::here()) {
    static_assert(sizeof(T) * count <= 16);
    emulation::touch(address, sizeof(T) * count, sizeof(T) * count, emulation::Access::load, place);
    Vector<T, count> value;
    std::memcpy(&value, address, sizeof(value));
    return value;
}
template <class T, int count>
__forceinline__ void store_vector(T* address, const Vector<T, count>& value,
                                  emulation::Place place = emulation::Place::here()) {
    static_assert(sizeof(T) * count <= 16);
    emulation::touch(address, sizeof(T) * count, sizeof(T) * count, emulation::Access::store, place);
    std::memcpy(address, &value, sizeof(value));
}

// cp.async: `valid` bytes from global memory and zeros behind them, to shared memory. The bytes land when
// their group is waited for, and are seen by other threads after a barrier behind that.
template <int bytes>
__forceinline__ void copy_async(void* shared, const void* global, unsigned valid = bytes,
                                emulation::Place place = emulation::Place::here()) {
    static_assert(bytes == 4 || bytes == 8 || bytes == 16);
    emulation::begin_copy(shared, global, bytes, valid, place);
}
inline void copy_async_commit() { emulation::current_block().commit_copies(); }
// Until at most `pending` of the groups that this thread committed are on their way.
template <int pending>
void copy_async_wait() {
    emulation::current_block().wait_copies(pending);
}

namespace emulation {

template <class T, class Change>
__forceinline__ T update(T* address, Change change, Place place) {
    using Bits = std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>;
    touch(address, sizeof(T), sizeof(T), Access::atomic, place);
    auto* bits = reinterpret_cast<Bits*>(address);
    Bits before = __atomic_load_n(bits, __ATOMIC_RELAXED), after;
    T value;
    do {
        std::memcpy(&value, &before, sizeof(T));
        const T changed = change(value);
        std::memcpy(&after, &changed, sizeof(T));
    } while (!__atomic_compare_exchange_n(bits, &before, after, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED));
    return value;
}

}  // namespace emulation
}  // namespace fastconv::cuda

#define FC_EMULATION_ATOMIC(name, type, result)                                              \
    __forceinline__ type name(                                                               \
        type* address, type value,                                                           \
        fastconv::cuda::emulation::Place place = fastconv::cuda::emulation::Place::here()) { \
        return fastconv::cuda::emulation::update(                                            \
            address, [=]([[maybe_unused]] type old) -> type { return result; }, place);      \
    }
#define FC_EMULATION_ATOMICS(type)                                                        \
    FC_EMULATION_ATOMIC(atomicMax, type, old > value ? old : value)                       \
    FC_EMULATION_ATOMIC(atomicMin, type, old < value ? old : value)                       \
    FC_EMULATION_ATOMIC(atomicExch, type, value)                                          \
    FC_EMULATION_ATOMIC(atomicOr, type, old | value)                                      \
    FC_EMULATION_ATOMIC(atomicAnd, type, old& value)                                      \
    FC_EMULATION_ATOMIC(atomicXor, type, old ^ value)                                     \
    __forceinline__ type atomicCAS(type* address, type compare, type value) {             \
        return fastconv::cuda::emulation::update(                                         \
            address, [=](type old) -> type { return old == compare ? value : old; }, {}); \
    }
FC_EMULATION_ATOMICS(int)
FC_EMULATION_ATOMICS(unsigned)
FC_EMULATION_ATOMICS(unsigned long long)
// Sums of int wrap around.
FC_EMULATION_ATOMIC(atomicAdd, int,
                    static_cast<int>(static_cast<unsigned>(old) + static_cast<unsigned>(value)))
FC_EMULATION_ATOMIC(atomicAdd, unsigned, old + value)
FC_EMULATION_ATOMIC(atomicAdd, unsigned long long, old + value)
FC_EMULATION_ATOMIC(atomicAdd, float, old + value)
FC_EMULATION_ATOMIC(atomicExch, float, value)
#undef FC_EMULATION_ATOMICS
#undef FC_EMULATION_ATOMIC

template <class T>
__forceinline__ T __ldg(const T* address,
                        fastconv::cuda::emulation::Place place = fastconv::cuda::emulation::Place::here()) {
    return fastconv::cuda::load(address, place);
}
