#pragma once

#include "memory.h"

namespace fastconv::cuda {

template <int count>
__device__ __forceinline__ void load_matrices(unsigned (&r)[count], const void* row) {
    static_assert(count == 1 || count == 2 || count == 4);
    const unsigned address = shared_address(row);
    if constexpr (count == 1)
        asm volatile("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%0}, [%1];"
                     : "=r"(r[0])
                     : "r"(address)
                     : "memory");
    else if constexpr (count == 2)
        asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
                     : "=r"(r[0]), "=r"(r[1])
                     : "r"(address)
                     : "memory");
    else
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                     : "r"(address)
                     : "memory");
}

template <int count>
__device__ __forceinline__ void load_matrices_transposed(unsigned (&r)[count], const void* row) {
    static_assert(count == 1 || count == 2 || count == 4);
    const unsigned address = shared_address(row);
    if constexpr (count == 1)
        asm volatile("ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {%0}, [%1];"
                     : "=r"(r[0])
                     : "r"(address)
                     : "memory");
    else if constexpr (count == 2)
        asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
                     : "=r"(r[0]), "=r"(r[1])
                     : "r"(address)
                     : "memory");
    else
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                     : "r"(address)
                     : "memory");
}

#define FC_MMA(name, shape_and_types)                                                                        \
    __device__ __forceinline__ void name(float (&sums)[4], const unsigned (&a)[4], const unsigned (&b)[2]) { \
        asm volatile("mma.sync.aligned." shape_and_types                                                     \
                     " {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"                      \
                     : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])                            \
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));                    \
    }
FC_MMA(mma_bfloat16, "m16n8k16.row.col.f32.bf16.bf16.f32")
FC_MMA(mma_half, "m16n8k16.row.col.f32.f16.f16.f32")
FC_MMA(mma_tf32, "m16n8k8.row.col.f32.tf32.tf32.f32")
#undef FC_MMA

__device__ __forceinline__ unsigned to_tf32(float value) {
    unsigned bits;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(value));
    return bits;
}

}  // namespace fastconv::cuda
