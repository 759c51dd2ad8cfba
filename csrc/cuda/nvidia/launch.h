#pragma once

#include <cuda_runtime.h>

#include <string>

#include "fastconv/error.h"

namespace fastconv::cuda {

inline void check(cudaError_t error, const char* what) {
    if (error != cudaSuccess) throw DeviceError(std::string(what) + ": " + cudaGetErrorString(error));
}

// Starts kernel(args...) on the stream. More than 48 KiB of shared memory must be asked for.
template <auto kernel, class... Args>
void launch(dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t stream, const Args&... args) {
    if (shared_bytes > 48 * 1024)
        check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                   static_cast<int>(shared_bytes)),
              "cudaFuncSetAttribute");
    kernel<<<grid, block, shared_bytes, stream>>>(args...);
    check(cudaGetLastError(), "launch of a kernel");
}

}  // namespace fastconv::cuda
