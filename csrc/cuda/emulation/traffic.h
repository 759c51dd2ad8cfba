#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <unordered_map>

namespace fastconv::cuda::emulation {

// What a launch did, all blocks together. A sector is 32 bytes of global memory.
struct Counters {
    uint64_t load_sectors = 0, load_sectors_ideal = 0;
    uint64_t store_sectors = 0, store_sectors_ideal = 0;
    // Passes over the banks of shared memory, and how many of them more than without conflicts.
    uint64_t shared_passes = 0, bank_conflicts = 0;
    uint64_t atomics = 0;
    uint64_t barriers = 0;  // of blocks and named ones, each counted once
    uint64_t mma = 0;       // of warps
    void add(const Counters& other);
};

// Lanes run one after the other here; on hardware a warp's lanes issue an access together. The n-th time that
// each lane comes to one instruction is taken as one access of the warp.
class WarpTraffic {
  public:
    enum class Kind : uint8_t { load, store, shared };
    // `site` tells instructions apart.
    void note(Kind kind, int lane, uintptr_t site, uintptr_t address, unsigned bytes, Counters& counters);
    void flush(Counters& counters);

  private:
    struct Instruction {
        Kind kind{};
        uint32_t lanes = 0;
        unsigned bytes = 0;
        uintptr_t address[32];
    };
    struct Site {
        uint64_t times[32] = {};
        uint64_t first = 0;  // of `open`
        std::deque<Instruction> open;
    };

    static void count(const Instruction& instruction, Counters& counters);

    std::unordered_map<uintptr_t, Site> sites_;
};

// Passes over the 32 banks that this many accesses take: 32 lanes at 4 bytes, 16 at 8 and 8 at 16 go
// together.
void count_banks(const uintptr_t* addresses, uint32_t lanes, unsigned bytes, Counters& counters);

}  // namespace fastconv::cuda::emulation
