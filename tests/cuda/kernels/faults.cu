// Kernels of 64 threads, each with one fault that the emulation must find when it is planted, and none
// otherwise. Only for the emulation.
#include "harness.h"

using namespace fastconv::cuda;

namespace {

struct Shared {
    alignas(16) SharedArray<unsigned, 64> values;
    alignas(16) SharedArray<unsigned short, 64> halves;
};

#define FC_FAULT(name) __global__ void name(const unsigned* in, unsigned* out, bool planted)
#define FC_UNUSED (void)in, (void)out, (void)planted

FC_FAULT(store_out_of_bounds) {
    const int t = static_cast<int>(threadIdx.x);
    store(out + t + (planted && t == 37 ? 27 : 0), load(in + t));
}

FC_FAULT(load_before_buffer) {
    const int t = static_cast<int>(threadIdx.x);
    store(out + t, load(in + t - (planted && t == 0)));
}

FC_FAULT(store_to_input) {
    const unsigned t = threadIdx.x;
    store((planted ? const_cast<unsigned*>(in) : out) + t, t);
}

FC_FAULT(atomic_out_of_bounds) {
    FC_UNUSED;
    atomicAdd(out + (planted ? 64 : 0), 1u);
}

FC_FAULT(misaligned_vector) {
    const int t = static_cast<int>(threadIdx.x % 8);
    const auto value = load_vector<4>(in + 4 * t + planted);
    store(out + threadIdx.x, value[0]);
}

FC_FAULT(shared_index) {
    FC_UNUSED;
    auto& shared = shared_memory<Shared>();
    shared.values[static_cast<int>(threadIdx.x) + (planted && threadIdx.x == 63)] = 1;
}

FC_FAULT(shared_out_of_bounds) {
    FC_UNUSED;
    auto& shared = shared_memory<Shared>();
    unsigned* end = &shared.values[0] + sizeof(Shared) / 4;
    if (threadIdx.x == 0) store(end - 1 + planted, 1u);
}

// A pointer that no accessor checks: AddressSanitizer's red zone stops it, and so the whole program.
FC_FAULT(shared_red_zone) {
    FC_UNUSED;
    auto& shared = shared_memory<Shared>();
    volatile unsigned* end = &shared.values[0] + sizeof(Shared) / 4;
    if (threadIdx.x == 0) end[planted ? 0 : -1] = 1;
}

FC_FAULT(layout_too_large) {
    FC_UNUSED;
    struct Large {
        SharedArray<unsigned, 4096> values;
    };
    if (planted)
        shared_memory<Large>().values[0] = 1;
    else
        shared_memory<Shared>().values[static_cast<int>(threadIdx.x)] = 1;
}

FC_FAULT(missing_barrier) {
    auto& shared = shared_memory<Shared>();
    const int t = static_cast<int>(threadIdx.x);
    shared.values[t] = 0;
    __syncthreads();
    shared.values[t] = load(in + t);
    if (!planted) __syncthreads();
    const unsigned value = shared.values[63 - t];
    store(out + t, value);
}

FC_FAULT(warp_barrier_for_block) {
    auto& shared = shared_memory<Shared>();
    const int t = static_cast<int>(threadIdx.x);
    shared.values[t] = load(in + t);
    __syncwarp();
    const unsigned value = shared.values[planted ? 63 - t : t ^ 1];
    store(out + t, value);
}

FC_FAULT(write_after_read) {
    auto& shared = shared_memory<Shared>();
    const int t = static_cast<int>(threadIdx.x);
    shared.values[t] = load(in + t);
    __syncthreads();
    const unsigned value = shared.values[63 - t];
    if (!planted) __syncthreads();
    shared.values[t] = value;
    store(out + t, value);
}

FC_FAULT(write_write) {
    FC_UNUSED;
    auto& shared = shared_memory<Shared>();
    const int t = static_cast<int>(threadIdx.x);
    shared.values[planted ? t / 2 : t] = static_cast<unsigned>(t);
}

// Neighbours in one word are no race.
FC_FAULT(write_halves) {
    FC_UNUSED;
    auto& shared = shared_memory<Shared>();
    const int t = static_cast<int>(threadIdx.x);
    shared.halves[planted && t == 33 ? 32 : t] = static_cast<unsigned short>(t);
}

FC_FAULT(atomic_and_store) {
    FC_UNUSED;
    auto& shared = shared_memory<Shared>();
    const int t = static_cast<int>(threadIdx.x);
    if (t == 0) shared.values[0] = 0;
    if (!planted) __syncthreads();
    atomicAdd(&shared.values[0], 1u);
    __syncthreads();
    const unsigned count = shared.values[0];
    store(out + t, count);
}

FC_FAULT(uninitialised_read) {
    FC_UNUSED;
    auto& shared = shared_memory<Shared>();
    const int t = static_cast<int>(threadIdx.x);
    if (!planted || t != 12) shared.values[t] = 1;
    __syncthreads();
    const unsigned value = shared.values[t];
    store(out + t, value);
}

FC_FAULT(copy_not_waited_for) {
    auto& shared = shared_memory<Shared>();
    const int t = static_cast<int>(threadIdx.x);
    copy_async<4>(&shared.values[t], in + t);
    copy_async_commit();
    if (planted)
        copy_async_wait<1>();
    else
        copy_async_wait<0>();
    const unsigned value = shared.values[t];
    store(out + t, value);
}

FC_FAULT(copy_without_barrier) {
    auto& shared = shared_memory<Shared>();
    const int t = static_cast<int>(threadIdx.x);
    copy_async<4>(&shared.values[t], in + t);
    copy_async_commit();
    copy_async_wait<0>();
    if (!planted) __syncthreads();
    const unsigned value = shared.values[t ^ 1];
    store(out + t, value);
}

FC_FAULT(copy_over_readers) {
    auto& shared = shared_memory<Shared>();
    const int t = static_cast<int>(threadIdx.x);
    shared.values[t] = load(in + t);
    __syncthreads();
    const unsigned value = shared.values[t ^ 1];
    if (!planted) __syncthreads();
    copy_async<4>(&shared.values[t], in + t);
    copy_async_commit();
    copy_async_wait<0>();
    store(out + t, value);
}

FC_FAULT(copy_out_of_bounds) {
    auto& shared = shared_memory<Shared>();
    const int t = static_cast<int>(threadIdx.x);
    copy_async<4>(&shared.values[t], in + t + planted);
    copy_async_commit();
    copy_async_wait<0>();
    store(out + t, shared.values[t] + 0u);
}

FC_FAULT(copy_misaligned) {
    FC_UNUSED;
    auto& shared = shared_memory<Shared>();
    if (threadIdx.x == 0) copy_async<16>(&shared.values[planted ? 2 : 4], in);
}

FC_FAULT(lanes_missing) {
    const unsigned t = threadIdx.x;
    if (planted && t % 32 == 5) return;
    store(out + t, __shfl_xor_sync(0xffffffffu, load(in + t), 1));
}

FC_FAULT(divergent_shuffle) {
    const unsigned t = threadIdx.x;
    unsigned value = load(in + t);
    if (planted && t % 2)
        value = __shfl_down_sync(0xffffffffu, value, 1);
    else
        value = __shfl_xor_sync(0xffffffffu, value, 1);
    store(out + t, value);
}

FC_FAULT(shuffle_from_outside_mask) {
    const unsigned t = threadIdx.x, mask = planted ? 0x0000ffffu : 0xffffffffu;
    if (!planted || t % 32 < 16) store(out + t, __shfl_xor_sync(mask, load(in + t), 16));
}

FC_FAULT(not_in_own_mask) {
    FC_UNUSED;
    __syncwarp(planted ? 0x7fffffffu : 0xffffffffu);
}

FC_FAULT(different_barriers) {
    FC_UNUSED;
    if (planted && threadIdx.x < 32)
        __syncthreads();
    else if (planted)
        __syncthreads();
    else
        __syncthreads();
}

FC_FAULT(deadlock) {
    FC_UNUSED;
    if (threadIdx.x < 32)
        barrier_sync(1, planted ? 64 : 32);
    else if (planted)
        barrier_sync(2, 64);
}

FC_FAULT(barrier_counts) {
    FC_UNUSED;
    barrier_sync(1, planted && threadIdx.x < 32 ? 32 : 64);
}

FC_FAULT(matrix_rows_misaligned) {
    FC_UNUSED;
    auto& shared = shared_memory<Shared>();
    const int t = static_cast<int>(threadIdx.x);
    shared.halves[t] = static_cast<unsigned short>(t);
    __syncthreads();
    unsigned registers[1];
    load_matrices(registers, &shared.halves[(t % 8) * 8] + (planted && t == 3 ? 4 : 0));
    store(out + t, registers[0]);
}

FC_FAULT(matrix_without_barrier) {
    FC_UNUSED;
    auto& shared = shared_memory<Shared>();
    const int t = static_cast<int>(threadIdx.x);
    if (t < 32) {
        for (int i = 0; i < 2; ++i) shared.halves[62 - t * 2 + i] = static_cast<unsigned short>(t);
        if (!planted) __syncwarp();
        unsigned registers[1];
        load_matrices(registers, &shared.halves[(t % 8) * 8]);
        store(out + t, registers[0]);
    }
}

template <auto kernel>
Words run(const Words&, const std::vector<int>& p) {
    Words numbers(64);
    for (unsigned i = 0; i < 64; ++i) numbers[i] = i;
    Buffer in("in", numbers, false), out("out", Words(64));
    launch<kernel>(1, 64, sizeof(Shared), nullptr, in.as<const unsigned>(), out.as<unsigned>(), p[0] != 0);
    return out.words();
}

#define FC_REGISTER(name) const Register run_##name(#name, run<name>);
FC_REGISTER(store_out_of_bounds)
FC_REGISTER(load_before_buffer)
FC_REGISTER(store_to_input)
FC_REGISTER(atomic_out_of_bounds)
FC_REGISTER(misaligned_vector)
FC_REGISTER(shared_index)
FC_REGISTER(shared_out_of_bounds)
FC_REGISTER(shared_red_zone)
FC_REGISTER(layout_too_large)
FC_REGISTER(missing_barrier)
FC_REGISTER(warp_barrier_for_block)
FC_REGISTER(write_after_read)
FC_REGISTER(write_write)
FC_REGISTER(write_halves)
FC_REGISTER(atomic_and_store)
FC_REGISTER(uninitialised_read)
FC_REGISTER(copy_not_waited_for)
FC_REGISTER(copy_without_barrier)
FC_REGISTER(copy_over_readers)
FC_REGISTER(copy_out_of_bounds)
FC_REGISTER(copy_misaligned)
FC_REGISTER(lanes_missing)
FC_REGISTER(divergent_shuffle)
FC_REGISTER(shuffle_from_outside_mask)
FC_REGISTER(not_in_own_mask)
FC_REGISTER(different_barriers)
FC_REGISTER(deadlock)
FC_REGISTER(barrier_counts)
FC_REGISTER(matrix_rows_misaligned)
FC_REGISTER(matrix_without_barrier)

const Register run_too_many("too_many_threads", [](const Words&, const std::vector<int>& p) {
    Buffer in("in", Words(64), false), out("out", Words(64));
    launch<deadlock>(1, p[0] ? 1056 : 64, 0, nullptr, in.as<const unsigned>(), out.as<unsigned>(), false);
    return out.words();
});

}  // namespace
