#pragma once

namespace fastconv::cuda {

// An array in shared memory, a member of the layout that a kernel passes to shared_memory. &array[i][j] is an
// element's address.
template <class T, int... extents>
struct SharedArray;

template <class T, int extent>
struct SharedArray<T, extent> {
    T elements[extent];
    __device__ __forceinline__ SharedReference<T> operator[](int index) {
        check_index(index, extent);
        return shared_reference(elements[index]);
    }
};

template <class T, int extent, int... rest>
struct SharedArray<T, extent, rest...> {
    SharedArray<T, rest...> rows[extent];
    __device__ __forceinline__ SharedArray<T, rest...>& operator[](int index) {
        check_index(index, extent);
        return rows[index];
    }
};

}  // namespace fastconv::cuda
