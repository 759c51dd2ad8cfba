// What kernels include: the device's functions under nvcc, and their emulation (emulation/) for the host
// compiler. CUDA's own names (threadIdx, __syncthreads, __shfl_xor_sync, atomicAdd, float4, __half) are there
// in both; what CUDA has only as PTX, and memory accesses, which the emulation checks, are functions of
// fastconv::cuda.
#pragma once

#ifdef __CUDACC__
#    include "nvidia/launch.h"
#    include "nvidia/memory.h"
#    include "nvidia/tensor_cores.h"
#else
#    include "emulation/device.h"
#endif

#include "shared_array.h"
