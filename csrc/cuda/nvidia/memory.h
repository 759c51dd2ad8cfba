#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

namespace fastconv::cuda {

template <class T, int count>
struct alignas(sizeof(T) * count) Vector {
    T values[count];
    __device__ __forceinline__ T& operator[](int i) { return values[i]; }
    __device__ __forceinline__ const T& operator[](int i) const { return values[i]; }
};

template <class T>
using SharedReference = T&;
template <class T>
__device__ __forceinline__ T& shared_reference(T& element) {
    return element;
}
__device__ __forceinline__ void check_index(long long, long long) {}

template <class Layout>
__device__ __forceinline__ Layout& shared_memory() {
    static_assert(alignof(Layout) <= 1024);
    extern __shared__ __align__(1024) unsigned char fastconv_shared_memory[];
    return *reinterpret_cast<Layout*>(fastconv_shared_memory);
}

template <class T>
__device__ __forceinline__ T load(const T* address) {
    return *address;
}
template <class T, class Value>
__device__ __forceinline__ void store(T* address, const Value& value) {
    *address = value;
}
template <int count, class T>
__device__ __forceinline__ Vector<T, count> load_vector(const T* address) {
    static_assert(sizeof(T) * count <= 16);
    return *reinterpret_cast<const Vector<T, count>*>(address);
}
template <class T, int count>
__device__ __forceinline__ void store_vector(T* address, const Vector<T, count>& value) {
    static_assert(sizeof(T) * count <= 16);
    *reinterpret_cast<Vector<T, count>*>(address) = value;
}

__device__ __forceinline__ unsigned shared_address(const void* address) {
    return static_cast<unsigned>(__cvta_generic_to_shared(address));
}

template <int bytes>
__device__ __forceinline__ void copy_async(void* shared, const void* global, unsigned valid = bytes) {
    static_assert(bytes == 4 || bytes == 8 || bytes == 16);
    if constexpr (bytes == 16)
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)),
                     "l"(global), "r"(valid)
                     : "memory");
    else
        asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(shared_address(shared)),
                     "l"(global), "n"(bytes), "r"(valid)
                     : "memory");
}
__device__ __forceinline__ void copy_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int pending>
__device__ __forceinline__ void copy_async_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory");
}

__device__ __forceinline__ void barrier_sync(int id, int threads) {
    asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}
__device__ __forceinline__ void barrier_arrive(int id, int threads) {
    asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

}  // namespace fastconv::cuda
