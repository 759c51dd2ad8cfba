#include "tensor_cores.h"

#include <cmath>
#include <cstring>

namespace fastconv::cuda {

namespace emulation {

namespace {

struct MatrixLoad {
    unsigned* registers;
    const void* row;
    Place place;
};

template <int count, bool transposed>
void run_load(Block& block, int warp, unsigned, void* const* operands) {
    const auto at = [&](int lane) -> MatrixLoad& { return *static_cast<MatrixLoad*>(operands[lane]); };
    for (int matrix = 0; matrix < count; ++matrix) {
        uintptr_t rows[32] = {};
        for (int row = 0; row < 8; ++row) {
            const MatrixLoad& load = at(8 * matrix + row);
            rows[row] = reinterpret_cast<uintptr_t>(load.row);
            if (rows[row] % 16)
                block.fault_of(warp * 32 + 8 * matrix + row,
                               "ldmatrix: a row is misaligned, expects a multiple of 16 bytes", load.place);
        }
        // Who receives the bytes is who reads them.
        for (int lane = 0; lane < 32; ++lane) {
            uint16_t pair[2];
            for (int i = 0; i < 2; ++i) {
                const int row = transposed ? lane % 4 * 2 + i : lane / 4;
                const int column = transposed ? lane / 4 : lane % 4 * 2 + i;
                const auto* element = static_cast<const uint16_t*>(at(8 * matrix + row).row) + column;
                block.read_shared(warp * 32 + lane, element, 2, at(lane).place);
                pair[i] = *element;
            }
            at(lane).registers[matrix] = pair[0] | static_cast<unsigned>(pair[1]) << 16;
        }
        count_banks(rows, 0xffu, 16, block.counters);
    }
}

struct Multiply {
    float* sums;
    const unsigned *a, *b;
};

float element(Product kind, const unsigned* registers, int i) {
    if (kind == Product::tf32) return __uint_as_float(registers[i] & 0xffffe000u);
    const auto bits = static_cast<uint16_t>(registers[i / 2] >> (i % 2 * 16));
    return kind == Product::half ? from_half_bits(bits) : from_bfloat16_bits(bits);
}

// PTX ISA, "Matrix Fragments for mma.m16n8k16 with floating point type" and "... for mma.m16n8k8".
template <Product kind>
void run_multiply(Block& block, int, unsigned, void* const* operands) {
    constexpr int depth = kind == Product::tf32 ? 8 : 16;
    float a[16][depth], b[depth][8];
    for (int lane = 0; lane < 32; ++lane) {
        const Multiply& mine = *static_cast<Multiply*>(operands[lane]);
        const int group = lane / 4, in_group = lane % 4;
        if constexpr (kind == Product::tf32) {
            for (int i = 0; i < 4; ++i) a[group + i % 2 * 8][in_group + i / 2 * 4] = element(kind, mine.a, i);
            for (int i = 0; i < 2; ++i) b[in_group + i * 4][group] = element(kind, mine.b, i);
        } else {
            for (int i = 0; i < 8; ++i)
                a[group + (i / 2 % 2) * 8][in_group * 2 + i % 2 + i / 4 * 8] = element(kind, mine.a, i);
            for (int i = 0; i < 4; ++i) b[in_group * 2 + i % 2 + i / 2 * 8][group] = element(kind, mine.b, i);
        }
    }
    for (int lane = 0; lane < 32; ++lane) {
        const Multiply& mine = *static_cast<Multiply*>(operands[lane]);
        for (int i = 0; i < 4; ++i) {
            const int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
            double sum = mine.sums[i];
            for (int k = 0; k < depth; ++k) sum += static_cast<double>(a[row][k]) * b[k][column];
            mine.sums[i] = static_cast<float>(sum);
        }
    }
    ++block.counters.mma;
}

}  // namespace

void load_matrices(int count, bool transposed, unsigned* registers, const void* row, Place place) {
    static constexpr Together straight[] = {run_load<1, false>, run_load<2, false>, run_load<4, false>};
    static constexpr Together across[] = {run_load<1, true>, run_load<2, true>, run_load<4, true>};
    MatrixLoad mine{registers, row, place};
    static constexpr const char* names[2][3] = {
        {"ldmatrix.x1", "ldmatrix.x2", "ldmatrix.x4"},
        {"ldmatrix.x1.trans", "ldmatrix.x2.trans", "ldmatrix.x4.trans"}};
    current_block().collective(names[transposed][count / 2], ~0u, &mine,
                               (transposed ? across : straight)[count / 2], place);
}

void multiply(Product kind, float* sums, const unsigned* a, const unsigned* b, Place place) {
    static constexpr Together runs[] = {run_multiply<Product::bfloat16>, run_multiply<Product::half>,
                                        run_multiply<Product::tf32>};
    static constexpr const char* names[] = {"mma.bf16", "mma.f16", "mma.tf32"};
    Multiply mine{sums, a, b};
    current_block().collective(names[static_cast<int>(kind)], ~0u, &mine, runs[static_cast<int>(kind)],
                               place);
}

}  // namespace emulation

unsigned to_tf32(float value) {
    const unsigned bits = __float_as_uint(value);
    if ((bits & 0x7f800000u) == 0x7f800000u) return bits & 0x7fffffu ? 0x7fffffffu : bits;
    return (bits + 0x1000u) & 0xffffe000u;
}

}  // namespace fastconv::cuda
