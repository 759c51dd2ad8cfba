// ldmatrix and mma.sync by themselves, and a product of matrices as convolutions will have it.
#include "harness.h"

using namespace fastconv::cuda;

namespace {

template <int count>
struct Matrices {
    alignas(16) SharedArray<unsigned short, count, 8, 8> values;
};

template <int count, bool transposed>
__global__ void fragments(const unsigned short* in, unsigned* out) {
    auto& shared = shared_memory<Matrices<count>>();
    const int lane = static_cast<int>(threadIdx.x);
    for (int i = lane; i < count * 64; i += 32) shared.values[i / 64][i / 8 % 8][i % 8] = load(in + i);
    __syncwarp();
    unsigned registers[count];
    const void* row = &shared.values[lane / 8 % count][lane % 8][0];
    if constexpr (transposed)
        load_matrices_transposed(registers, row);
    else
        load_matrices(registers, row);
    for (int i = 0; i < count; ++i) store(out + lane * count + i, registers[i]);
}

template <int count, bool transposed>
Words run_fragments_of(const Words& input) {
    Buffer in("in", input, false), out("out", Words(32 * count));
    launch<fragments<count, transposed>>(1, 32, sizeof(Matrices<count>), nullptr,
                                         in.as<const unsigned short>(), out.as<unsigned>());
    return out.words();
}

const Register run_fragments("fragments", [](const Words& input, const std::vector<int>& p) {
    switch (p[0] * 2 + p[1]) {
        case 2:
            return run_fragments_of<1, false>(input);
        case 3:
            return run_fragments_of<1, true>(input);
        case 4:
            return run_fragments_of<2, false>(input);
        case 5:
            return run_fragments_of<2, true>(input);
        case 8:
            return run_fragments_of<4, false>(input);
        default:
            return run_fragments_of<4, true>(input);
    }
});

// Each lane's ten registers: four of a, two of b, four of the sums.
__global__ void multiply(const unsigned* in, unsigned* out, int kind) {
    const int lane = static_cast<int>(threadIdx.x);
    unsigned a[4], b[2];
    float sums[4];
    for (int i = 0; i < 4; ++i) a[i] = load(in + lane * 10 + i);
    for (int i = 0; i < 2; ++i) b[i] = load(in + lane * 10 + 4 + i);
    for (int i = 0; i < 4; ++i) sums[i] = __uint_as_float(load(in + lane * 10 + 6 + i));
    if (kind == 0)
        mma_bfloat16(sums, a, b);
    else if (kind == 1)
        mma_half(sums, a, b);
    else
        mma_tf32(sums, a, b);
    for (int i = 0; i < 4; ++i) store(out + lane * 4 + i, __float_as_uint(sums[i]));
}

const Register run_multiply("multiply", [](const Words& input, const std::vector<int>& p) {
    Buffer in("in", input, false), out("out", Words(128));
    launch<multiply>(1, 32, 0, nullptr, in.as<const unsigned>(), out.as<unsigned>(), p[0]);
    return out.words();
});

__global__ void round_tf32(const float* in, unsigned* out, int count) {
    for (int i = static_cast<int>(threadIdx.x); i < count; i += 32) store(out + i, to_tf32(load(in + i)));
}

const Register run_round("round_tf32", [](const Words& input, const std::vector<int>&) {
    Buffer in("in", input, false), out("out", Words(input.size()));
    launch<round_tf32>(1, 32, 0, nullptr, in.as<const float>(), out.as<unsigned>(),
                       static_cast<int>(input.size()));
    return out.words();
});

constexpr int tile_m = 64, tile_n = 64, tile_k = 32;

// Rows of 64 bytes of a and 128 of b. A row's pieces of 16 bytes are permuted, so that eight rows of a column
// of pieces lie in different banks.
struct Tiles {
    alignas(128) SharedArray<unsigned short, 2, tile_m, tile_k> a;
    alignas(128) SharedArray<unsigned short, 2, tile_k, tile_n> b;
};

// out[m, n] = a[m, k] b[k, n] of bfloat16, k and n multiples of 8: four warps of 32 x 32, two stages of
// copies. `fault` reads a fragment of b from a wrong column (1) or leaves out the barrier before a stage is
// written anew (2).
template <int fault>
__global__ void __launch_bounds__(128)
    product(const unsigned short* a, const unsigned short* b, float* out, int m, int n, int k) {
    auto& tiles = shared_memory<Tiles>();
    const int t = static_cast<int>(threadIdx.x), lane = t % 32, warp = t / 32;
    const int first_m = static_cast<int>(blockIdx.y) * tile_m,
              first_n = static_cast<int>(blockIdx.x) * tile_n;
    const int warp_m = warp / 2 * 32, warp_n = warp % 2 * 32;
    const auto fetch = [&](int step) {
        const int stage = step % 2, first_k = step * tile_k;
        if (first_k < k)
            for (int i = t; i < 256; i += 128) {
                const int row = i / 4, piece = i % 4;
                const bool in_a = first_m + row < m && first_k + piece * 8 < k;
                copy_async<16>(&tiles.a[stage][row][(piece ^ (row / 2 % 4)) * 8],
                               in_a ? a + static_cast<long long>(first_m + row) * k + first_k + piece * 8 : a,
                               in_a ? 16 : 0);
                const int row_b = i / 8, piece_b = i % 8;
                const bool in_b = first_k + row_b < k && first_n + piece_b * 8 < n;
                copy_async<16>(
                    &tiles.b[stage][row_b][(piece_b ^ (row_b % 8)) * 8],
                    in_b ? b + static_cast<long long>(first_k + row_b) * n + first_n + piece_b * 8 : b,
                    in_b ? 16 : 0);
            }
        copy_async_commit();
    };
    float sums[2][4][4] = {};
    const int steps = (k + tile_k - 1) / tile_k;
    fetch(0);
    for (int step = 0; step < steps; ++step) {
        fetch(step + 1);
        copy_async_wait<1>();
        __syncthreads();
        const int stage = step % 2;
#pragma unroll
        for (int inner = 0; inner < tile_k; inner += 16) {
            unsigned of_a[2][4], of_b[4][2];
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                const int row = warp_m + i * 16 + lane % 16, piece = inner / 8 + lane / 16;
                load_matrices(of_a[i], &tiles.a[stage][row][(piece ^ (row / 2 % 4)) * 8]);
            }
#pragma unroll
            for (int j = 0; j < 4; ++j) {
                const int row = inner + lane % 16, piece = warp_n / 8 + (fault == 1 ? j ^ 1 : j);
                load_matrices_transposed(of_b[j], &tiles.b[stage][row][(piece ^ (row % 8)) * 8]);
            }
#pragma unroll
            for (int i = 0; i < 2; ++i)
#pragma unroll
                for (int j = 0; j < 4; ++j) mma_bfloat16(sums[i][j], of_a[i], of_b[j]);
        }
        if (fault != 2) __syncthreads();
    }
#pragma unroll
    for (int i = 0; i < 2; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j)
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                const int row = first_m + warp_m + i * 16 + half * 8 + lane / 4;
                const int column = first_n + warp_n + j * 8 + lane % 4 * 2;
                if (row < m && column < n)
                    store_vector(out + static_cast<long long>(row) * n + column,
                                 Vector<float, 2>{{sums[i][j][2 * half], sums[i][j][2 * half + 1]}});
            }
}

const Register run_product("product", [](const Words& input, const std::vector<int>& p) {
    const int m = p[0], n = p[1], k = p[2];
    Buffer a("a", Words(input.begin(), input.begin() + m * k / 2), false);
    Buffer b("b", Words(input.begin() + m * k / 2, input.end()), false);
    Buffer out("out", Words(m * n));
    const dim3 grid((n + tile_n - 1) / tile_n, (m + tile_m - 1) / tile_m);
    const auto run = [&](auto go) {
        go(grid, dim3(128), sizeof(Tiles), nullptr, a.as<const unsigned short>(),
           b.as<const unsigned short>(), out.as<float>(), m, n, k);
    };
    if (p[3] == 0) run([](auto... args) { launch<product<0>>(args...); });
    if (p[3] == 1) run([](auto... args) { launch<product<1>>(args...); });
    if (p[3] == 2) run([](auto... args) { launch<product<2>>(args...); });
    return out.words();
});

}  // namespace
