// Each primitive by itself.
#include "harness.h"

using namespace fastconv::cuda;

namespace {

__global__ void indices(unsigned* out) {
    const unsigned block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
    const unsigned thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
    store(out + block * (blockDim.x * blockDim.y * blockDim.z) + thread,
          threadIdx.x | threadIdx.y << 5 | threadIdx.z << 10 | blockIdx.x << 15 | blockIdx.y << 20 |
              blockIdx.z << 25);
}

const Register run_indices("indices", [](const Words&, const std::vector<int>& p) {
    const dim3 grid(p[0], p[1], p[2]), block(p[3], p[4], p[5]);
    Buffer out("out", Words(p[0] * p[1] * p[2] * p[3] * p[4] * p[5]));
    launch<indices>(grid, block, 0, nullptr, out.as<unsigned>());
    return out.words();
});

__global__ void exchange(const unsigned* in, unsigned* out, int operation, int argument, int width,
                         unsigned mask) {
    const int lane = static_cast<int>(threadIdx.x);
    if (!(mask >> lane & 1)) return;
    const unsigned value = load(in + lane);
    const int number = static_cast<int>(value);
    unsigned result = 0;
    int all = 0;
    switch (operation) {
        case 0:
            result = __shfl_sync(mask, value, argument, width);
            break;
        case 1:
            result = __shfl_up_sync(mask, value, argument, width);
            break;
        case 2:
            result = __shfl_down_sync(mask, value, argument, width);
            break;
        case 3:
            result = __shfl_xor_sync(mask, value, argument, width);
            break;
        case 4:
            result = __ballot_sync(mask, value & 1);
            break;
        case 5:
            result = __any_sync(mask, value & 1);
            break;
        case 6:
            result = __all_sync(mask, value & 1);
            break;
        case 7:
            result = __match_any_sync(mask, value);
            break;
        case 8:
            result = __match_all_sync(mask, value, &all) + static_cast<unsigned>(all);
            break;
        case 9:
            result = __reduce_add_sync(mask, value);
            break;
        case 10:
            result = static_cast<unsigned>(__reduce_min_sync(mask, number));
            break;
        case 11:
            result = static_cast<unsigned>(__reduce_max_sync(mask, number));
            break;
        case 12:
            result = __reduce_min_sync(mask, value);
            break;
        case 13:
            result = __reduce_max_sync(mask, value);
            break;
        case 14:
            result = __reduce_and_sync(mask, value);
            break;
        case 15:
            result = __reduce_or_sync(mask, value);
            break;
        case 16:
            result = __reduce_xor_sync(mask, value);
            break;
    }
    store(out + lane, result);
}

const Register run_exchange("exchange", [](const Words& input, const std::vector<int>& p) {
    Buffer in("in", input, false), out("out", Words(32));
    launch<exchange>(1, 32, 0, nullptr, in.as<const unsigned>(), out.as<unsigned>(), p[0], p[1], p[2],
                     static_cast<unsigned>(p[3]));
    return out.words();
});

__global__ void votes(const unsigned* in, unsigned* out) {
    const unsigned t = threadIdx.x, count = blockDim.x;
    const int mine = static_cast<int>(load(in + t));
    store(out + t, static_cast<unsigned>(__syncthreads_count(mine)));
    store(out + count + t, static_cast<unsigned>(__syncthreads_and(mine)));
    store(out + 2 * count + t, static_cast<unsigned>(__syncthreads_or(mine)));
}

const Register run_votes("votes", [](const Words& input, const std::vector<int>&) {
    const auto threads = static_cast<unsigned>(input.size());
    Buffer in("in", input, false), out("out", Words(3 * threads));
    launch<votes>(1, threads, 0, nullptr, in.as<const unsigned>(), out.as<unsigned>());
    return out.words();
});

// Of all threads: sums, extremes, bits, a lock-free product modulo 65521, and how many saw 0 in an exchange.
__global__ void atomics(unsigned* out) {
    const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    const int number = static_cast<int>(i * 37 % 101) - 50;
    atomicAdd(out, i);
    atomicAdd(reinterpret_cast<int*>(out) + 1, number);
    atomicAdd(reinterpret_cast<float*>(out) + 2, static_cast<float>(i));
    atomicMax(reinterpret_cast<int*>(out) + 3, number);
    atomicMin(reinterpret_cast<int*>(out) + 4, number);
    atomicOr(out + 5, 1u << i % 32);
    atomicAdd(reinterpret_cast<unsigned long long*>(out + 6), (1ull << 32) + i);
    unsigned seen = 1, before;
    do {
        before = seen;
        seen = atomicCAS(out + 8, before, (before + 1) * 3 % 65521);
    } while (seen != before);
    if (atomicExch(out + 9, 1u) == 0) atomicAdd(out + 10, 1u);
    atomicMax(out + 11, i);
}

const Register run_atomics("atomics", [](const Words&, const std::vector<int>& p) {
    Words start(12);
    start[8] = 1;
    Buffer out("out", start);
    launch<atomics>(p[0], p[1], 0, nullptr, out.as<unsigned>());
    return out.words();
});

__global__ void conversions(const float* in, unsigned* out, int count) {
    for (int i = static_cast<int>(threadIdx.x); i < count; i += static_cast<int>(blockDim.x)) {
        const __half half = __float2half_rn(load(in + i));
        const __nv_bfloat16 brain = __float2bfloat16_rn(load(in + i));
        store(out + 4 * i, static_cast<unsigned>(__half_as_ushort(half)));
        store(out + 4 * i + 1, static_cast<unsigned>(__bfloat16_as_ushort(brain)));
        store(out + 4 * i + 2, __float_as_uint(__half2float(half)));
        store(out + 4 * i + 3, __float_as_uint(__bfloat162float(brain)));
    }
}

const Register run_conversions("conversions", [](const Words& input, const std::vector<int>&) {
    Buffer in("in", input, false), out("out", Words(4 * input.size()));
    launch<conversions>(1, 64, 0, nullptr, in.as<const float>(), out.as<unsigned>(),
                        static_cast<int>(input.size()));
    return out.words();
});

__global__ void copy_strided(const float* in, float* out, int stride) {
    const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
    store(out + i, __ldg(in + i * stride));
}

__global__ void copy_vectors(const float* in, float* out, int) {
    const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
    store_vector(out + 4 * i, load_vector<4>(in + 4 * i));
}

const Register run_copy("copy", [](const Words& input, const std::vector<int>& p) {
    const int stride = p[0];
    const auto count = static_cast<unsigned>(stride ? input.size() / stride : input.size());
    Buffer in("in", input, false), out("out", Words(count));
    if (stride)
        launch<copy_strided>(count / 64, 64, 0, nullptr, in.as<const float>(), out.as<float>(), stride);
    else
        launch<copy_vectors>(count / 256, 64, 0, nullptr, in.as<const float>(), out.as<float>(), 0);
    return out.words();
});

template <int pitch>
struct Tile {
    SharedArray<float, 32, pitch> values;
};

// Transposes 32 x 32; a pitch of 32 has conflicts, 33 has none.
template <int pitch>
__global__ void transpose(const float* in, float* out) {
    auto& tile = shared_memory<Tile<pitch>>();
    const int x = static_cast<int>(threadIdx.x), y = static_cast<int>(threadIdx.y);
    for (int row = y; row < 32; row += 8) tile.values[row][x] = load(in + row * 32 + x);
    __syncthreads();
    for (int row = y; row < 32; row += 8) {
        const float value = tile.values[x][row];
        store(out + row * 32 + x, value);
    }
}

const Register run_transpose("transpose", [](const Words& input, const std::vector<int>& p) {
    Buffer in("in", input, false), out("out", Words(1024));
    if (p[0])
        launch<transpose<33>>(1, dim3(32, 8), sizeof(Tile<33>), nullptr, in.as<const float>(),
                              out.as<float>());
    else
        launch<transpose<32>>(1, dim3(32, 8), sizeof(Tile<32>), nullptr, in.as<const float>(),
                              out.as<float>());
    return out.words();
});

struct WarpSums {
    SharedArray<float, 32> sums;
    SharedArray<float, 1> total;
};

// Each block subtracts its mean.
__global__ void centre(const float* in, float* out) {
    auto& shared = shared_memory<WarpSums>();
    const int t = static_cast<int>(threadIdx.x), warps = static_cast<int>(blockDim.x) / 32;
    const int i = static_cast<int>(blockIdx.x * blockDim.x) + t;
    const float value = load(in + i);
    float sum = value;
    for (int bits = 16; bits; bits >>= 1) sum += __shfl_xor_sync(0xffffffffu, sum, bits);
    if (t % 32 == 0) shared.sums[t / 32] = sum;
    __syncthreads();
    if (t < 32) {
        sum = t < warps ? static_cast<float>(shared.sums[t]) : 0.0f;
        for (int bits = 16; bits; bits >>= 1) sum += __shfl_xor_sync(0xffffffffu, sum, bits);
        if (t == 0) shared.total[0] = sum;
    }
    __syncthreads();
    store(out + i, value - shared.total[0] / static_cast<float>(blockDim.x));
}

const Register run_centre("centre", [](const Words& input, const std::vector<int>& p) {
    Buffer in("in", input, false), out("out", Words(input.size()));
    launch<centre>(static_cast<unsigned>(input.size()) / p[0], p[0], sizeof(WarpSums), nullptr,
                   in.as<const float>(), out.as<float>());
    return out.words();
});

template <int words>
struct Stages {
    alignas(16) SharedArray<unsigned, 2, 32 * words> stages;
};

// Reads `count` words by asynchronous copies in two stages, zeros behind their end, and stores them in
// reverse order within each stage.
template <int words>
__global__ void reverse_stages(const unsigned* in, unsigned* out, int count, int steps) {
    auto& shared = shared_memory<Stages<words>>();
    const int lane = static_cast<int>(threadIdx.x);
    constexpr int stage_words = 32 * words;
    const auto fetch = [&](int step) {
        const int at = step * stage_words + lane * words;
        const int left = count - at;
        const int valid = left < 0 ? 0 : left < words ? left : words;
        if (step < steps)
            copy_async<4 * words>(&shared.stages[step % 2][lane * words], in + (valid ? at : 0), 4 * valid);
        copy_async_commit();
    };
    fetch(0);
    for (int step = 0; step < steps; ++step) {
        fetch(step + 1);
        copy_async_wait<1>();
        __syncthreads();
        for (int i = lane; i < stage_words; i += 32) {
            const unsigned value = shared.stages[step % 2][stage_words - 1 - i];
            store(out + step * stage_words + i, value);
        }
        __syncthreads();
    }
}

template <int words>
Words reverse_by(const Words& input, int steps) {
    Buffer in("in", input, false), out("out", Words(steps * 32 * words));
    launch<reverse_stages<words>>(1, 32, sizeof(Stages<words>), nullptr, in.as<const unsigned>(),
                                  out.as<unsigned>(), static_cast<int>(input.size()), steps);
    return out.words();
}

const Register run_reverse("reverse_stages", [](const Words& input, const std::vector<int>& p) {
    return p[0] == 1   ? reverse_by<1>(input, p[1])
           : p[0] == 2 ? reverse_by<2>(input, p[1])
                       : reverse_by<4>(input, p[1]);
});

struct Pair {
    SharedArray<unsigned, 2, 32> slots;
};

// The first warp makes, the second takes: barriers 1 and 2 say that a slot is full, 3 and 4 that it is empty.
__global__ void produce(unsigned* out, int steps) {
    auto& shared = shared_memory<Pair>();
    const int lane = static_cast<int>(threadIdx.x % 32);
    if (threadIdx.x < 32) {
        for (int step = 0; step < steps; ++step) {
            if (step >= 2) barrier_sync(3 + step % 2, 64);
            shared.slots[step % 2][lane] = static_cast<unsigned>(step * 100 + lane);
            barrier_arrive(1 + step % 2, 64);
        }
    } else {
        for (int step = 0; step < steps; ++step) {
            barrier_sync(1 + step % 2, 64);
            const unsigned value = shared.slots[step % 2][31 - lane];
            store(out + step * 32 + lane, value);
            if (step + 2 < steps) barrier_arrive(3 + step % 2, 64);
        }
    }
}

const Register run_produce("produce", [](const Words&, const std::vector<int>& p) {
    Buffer out("out", Words(p[0] * 32));
    launch<produce>(1, 64, sizeof(Pair), nullptr, out.as<unsigned>(), p[0]);
    return out.words();
});

// What __activemask, clock64, fences and a flag between threads of a block must at least do.
__global__ void flag(unsigned* out) {
    const long long begin = clock64();
    if (threadIdx.x == 0) {
        store(out + 1, 7u);
        __threadfence();
        atomicExch(out, 1u);
    } else {
        while (atomicAdd(out, 0u) == 0) __nanosleep(20);
    }
    __syncthreads();
    const bool mine = __activemask() >> (threadIdx.x % 32) & 1;
    store(out + 2 + threadIdx.x, load(out + 1) + (mine ? 1u : 0u) + (clock64() > begin ? 1u : 0u));
}

const Register run_flag("flag", [](const Words&, const std::vector<int>& p) {
    Buffer out("out", Words(2 + p[0]));
    launch<flag>(1, p[0], 0, nullptr, out.as<unsigned>());
    return out.words();
});

}  // namespace
