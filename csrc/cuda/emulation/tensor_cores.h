#pragma once

// ldmatrix and mma.sync, by all 32 lanes of a warp. Fragments lie in registers as the PTX ISA's tables for
// m16n8k16 and m16n8k8 have them.

#include "block.h"

namespace fastconv::cuda {

namespace emulation {
void load_matrices(int count, bool transposed, unsigned* registers, const void* row, Place place);
enum class Product { bfloat16, half, tf32 };
void multiply(Product kind, float* sums, const unsigned* a, const unsigned* b, Place place);
}  // namespace emulation

// Matrices of 8 rows of 16 bytes in shared memory: lane 8 i + r passes the address of row r of matrix i, and
// gets in registers[i] two neighbours of row lane / 4 (transposed: of column lane / 4).
template <int count>
void load_matrices(unsigned (&registers)[count], const void* row,
                   emulation::Place place = emulation::Place::here()) {
    static_assert(count == 1 || count == 2 || count == 4);
    emulation::load_matrices(count, false, registers, row, place);
}
template <int count>
void load_matrices_transposed(unsigned (&registers)[count], const void* row,
                              emulation::Place place = emulation::Place::here()) {
    static_assert(count == 1 || count == 2 || count == 4);
    emulation::load_matrices(count, true, registers, row, place);
}

// sums += a b: a of 16 x 16, b of 16 x 8. The hardware adds in an order of its own; here sums are rounded
// once.
inline void mma_bfloat16(float (&sums)[4], const unsigned (&a)[4], const unsigned (&b)[2],
                         emulation::Place place = emulation::Place::here()) {
    emulation::multiply(emulation::Product::bfloat16, sums, a, b, place);
}
inline void mma_half(float (&sums)[4], const unsigned (&a)[4], const unsigned (&b)[2],
                     emulation::Place place = emulation::Place::here()) {
    emulation::multiply(emulation::Product::half, sums, a, b, place);
}
// a of 16 x 8, b of 8 x 8: floats of which the last 13 bits are ignored.
inline void mma_tf32(float (&sums)[4], const unsigned (&a)[4], const unsigned (&b)[2],
                     emulation::Place place = emulation::Place::here()) {
    emulation::multiply(emulation::Product::tf32, sums, a, b, place);
}
// Bits of the nearest number of tf32, ties away from zero (cvt.rna.tf32.f32).
unsigned to_tf32(float value);

}  // namespace fastconv::cuda
