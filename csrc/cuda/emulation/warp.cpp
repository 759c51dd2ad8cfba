#include "warp.h"

#include "access.h"

namespace fastconv::cuda::emulation {

namespace {

Exchange& at(void* const* operands, int lane) { return *static_cast<Exchange*>(operands[lane]); }

uint64_t exchange(const char* name, unsigned mask, Exchange& mine, Together run, Place place) {
    current_block().collective(name, mask, &mine, run, place);
    return mine.result;
}

// The lane to read, as the PTX ISA's shfl.sync has it: a segment ends at `last`, and lanes beyond give their
// own.
int source(Shuffle kind, int lane, int argument, int width) {
    const int first = lane & ~(width - 1), last = first + width - 1;
    switch (kind) {
        case Shuffle::index:
            return first | (argument & (width - 1));
        case Shuffle::up:
            return lane - argument >= first ? lane - argument : lane;
        case Shuffle::down:
            return lane + argument <= last ? lane + argument : lane;
        default:
            return (lane ^ argument) <= last ? lane ^ argument : lane;
    }
}

template <Shuffle kind>
void run_shuffle(Block&, int, unsigned mask, void* const* operands) {
    for (int lane = 0; lane < 32; ++lane) {
        if (!(mask >> lane & 1)) continue;
        Exchange& mine = at(operands, lane);
        const int from = source(kind, lane, mine.argument & 31, mine.width);
        mine.flag = !(mask >> from & 1);
        mine.result = mine.flag ? static_cast<uint64_t>(from) : at(operands, from).value;
    }
}

void run_ballot(Block&, int, unsigned mask, void* const* operands) {
    uint64_t votes = 0;
    for (int lane = 0; lane < 32; ++lane)
        if (mask >> lane & 1 && at(operands, lane).value) votes |= uint64_t{1} << lane;
    for (int lane = 0; lane < 32; ++lane)
        if (mask >> lane & 1) at(operands, lane).result = votes;
}

void run_match(Block&, int, unsigned mask, void* const* operands) {
    for (int lane = 0; lane < 32; ++lane) {
        if (!(mask >> lane & 1)) continue;
        Exchange& mine = at(operands, lane);
        for (int other = 0; other < 32; ++other)
            if (mask >> other & 1 && at(operands, other).value == mine.value)
                mine.result |= uint64_t{1} << other;
    }
}

unsigned combine(Reduction kind, unsigned a, unsigned b) {
    const int i = static_cast<int>(a), j = static_cast<int>(b);
    switch (kind) {
        case Reduction::add:
            return a + b;
        case Reduction::min_signed:
            return i < j ? a : b;
        case Reduction::max_signed:
            return i > j ? a : b;
        case Reduction::min_unsigned:
            return a < b ? a : b;
        case Reduction::max_unsigned:
            return a > b ? a : b;
        case Reduction::bit_and:
            return a & b;
        case Reduction::bit_or:
            return a | b;
        default:
            return a ^ b;
    }
}

template <Reduction kind>
void run_reduce(Block&, int, unsigned mask, void* const* operands) {
    bool any = false;
    unsigned sum = 0;
    for (int lane = 0; lane < 32; ++lane) {
        if (!(mask >> lane & 1)) continue;
        const auto value = static_cast<unsigned>(at(operands, lane).value);
        sum = any ? combine(kind, sum, value) : value;
        any = true;
    }
    for (int lane = 0; lane < 32; ++lane)
        if (mask >> lane & 1) at(operands, lane).result = sum;
}

void run_synchronise(Block& block, int warp, unsigned mask, void* const*) {
    std::vector<int> lanes;
    std::vector<Arrival> arrivals;
    for (int lane = 0; lane < 32; ++lane) {
        if (!(mask >> lane & 1)) continue;
        lanes.push_back(warp * 32 + lane);
        arrivals.push_back({lanes.back(), block.at(lanes.back()).knowledge});
    }
    block.join(lanes, arrivals);
}

}  // namespace

uint64_t shuffle(Shuffle kind, unsigned mask, uint64_t value, int argument, int width, Place place) {
    static constexpr const char* names[] = {"__shfl_sync", "__shfl_up_sync", "__shfl_down_sync",
                                            "__shfl_xor_sync"};
    static constexpr Together runs[] = {run_shuffle<Shuffle::index>, run_shuffle<Shuffle::up>,
                                        run_shuffle<Shuffle::down>, run_shuffle<Shuffle::exclusive_or>};
    const char* name = names[static_cast<int>(kind)];
    Block& block = current_block();
    if (width < 1 || width > 32 || width & (width - 1))
        block.fault(
            std::string(name) + ": width " + std::to_string(width) + ", expects a power of two up to 32",
            place);
    Exchange mine;
    mine.value = value;
    mine.argument = argument;
    mine.width = width;
    exchange(name, mask, mine, runs[static_cast<int>(kind)], place);
    if (mine.flag)
        block.fault(
            std::string(name) + ": reads lane " + std::to_string(mine.result) + ", which is not in the mask",
            place);
    return mine.result;
}

unsigned ballot(const char* name, unsigned mask, int predicate, Place place) {
    Exchange mine;
    mine.value = predicate != 0;
    return static_cast<unsigned>(exchange(name, mask, mine, run_ballot, place));
}

unsigned match_any(unsigned mask, uint64_t value, Place place) {
    Exchange mine;
    mine.value = value;
    return static_cast<unsigned>(exchange("__match_any_sync", mask, mine, run_match, place));
}

unsigned match_all(unsigned mask, uint64_t value, int* all, Place place) {
    Exchange mine;
    mine.value = value;
    const auto equal = static_cast<unsigned>(exchange("__match_all_sync", mask, mine, run_match, place));
    *all = equal == mask;
    return *all ? mask : 0;
}

unsigned reduce(Reduction kind, unsigned mask, unsigned value, Place place) {
    static constexpr Together runs[] = {
        run_reduce<Reduction::add>,          run_reduce<Reduction::min_signed>,
        run_reduce<Reduction::max_signed>,   run_reduce<Reduction::min_unsigned>,
        run_reduce<Reduction::max_unsigned>, run_reduce<Reduction::bit_and>,
        run_reduce<Reduction::bit_or>,       run_reduce<Reduction::bit_xor>};
    static constexpr const char* names[] = {"__reduce_add_sync", "__reduce_min_sync", "__reduce_max_sync",
                                            "__reduce_min_sync", "__reduce_max_sync", "__reduce_and_sync",
                                            "__reduce_or_sync",  "__reduce_xor_sync"};
    Exchange mine;
    mine.value = value;
    return static_cast<unsigned>(
        exchange(names[static_cast<int>(kind)], mask, mine, runs[static_cast<int>(kind)], place));
}

void synchronise_warp(unsigned mask, Place place) {
    Exchange mine;
    exchange("__syncwarp", mask, mine, run_synchronise, place);
}

__attribute__((noinline)) void touch(const void* address, unsigned bytes, unsigned alignment, Access access,
                                     Place place) {
    current_block().access(address, bytes, alignment, access,
                           reinterpret_cast<uintptr_t>(__builtin_return_address(0)), place);
}

__attribute__((noinline)) void begin_copy(void* shared, const void* global, unsigned bytes, unsigned valid,
                                          Place place) {
    current_block().copy_async(shared, global, bytes, valid,
                               reinterpret_cast<uintptr_t>(__builtin_return_address(0)), place);
}

void* shared_data(size_t bytes) {
    Block& block = current_block();
    if (bytes > block.shared.bytes())
        block.fault("the layout of shared memory takes " + std::to_string(bytes) +
                    " bytes, but the launch gave " + std::to_string(block.shared.bytes()));
    return block.shared.data();
}

void check_index(long long index, long long extent) {
    if (index < 0 || index >= extent)
        current_block().fault("out of bounds: index " + std::to_string(index) +
                              " of an array in shared memory of " + std::to_string(extent));
}

}  // namespace fastconv::cuda::emulation
