#include "traffic.h"

#include <algorithm>
#include <set>
#include <vector>

namespace fastconv::cuda::emulation {

void Counters::add(const Counters& other) {
    load_sectors += other.load_sectors;
    load_sectors_ideal += other.load_sectors_ideal;
    store_sectors += other.store_sectors;
    store_sectors_ideal += other.store_sectors_ideal;
    shared_passes += other.shared_passes;
    bank_conflicts += other.bank_conflicts;
    atomics += other.atomics;
    barriers += other.barriers;
    mma += other.mma;
}

void count_banks(const uintptr_t* addresses, uint32_t lanes, unsigned bytes, Counters& counters) {
    const int together = bytes <= 4 ? 32 : static_cast<int>(128 / bytes);
    for (int first = 0; first < 32; first += together) {
        std::vector<uintptr_t> words;
        for (int lane = first; lane < first + together; ++lane)
            if (lanes >> lane & 1)
                for (unsigned byte = 0; byte < bytes; byte += 4)
                    words.push_back((addresses[lane] + byte) / 4);
        if (words.empty()) continue;
        std::sort(words.begin(), words.end());
        words.erase(std::unique(words.begin(), words.end()), words.end());
        int in_bank[32] = {};
        for (uintptr_t word : words) ++in_bank[word % 32];
        const int passes = *std::max_element(in_bank, in_bank + 32);
        counters.shared_passes += passes;
        counters.bank_conflicts += passes - 1;
    }
}

void WarpTraffic::count(const Instruction& instruction, Counters& counters) {
    if (instruction.kind == Kind::shared)
        return count_banks(instruction.address, instruction.lanes, instruction.bytes, counters);
    std::set<uintptr_t> starts, sectors;
    for (int lane = 0; lane < 32; ++lane) {
        if (!(instruction.lanes >> lane & 1)) continue;
        const uintptr_t address = instruction.address[lane];
        starts.insert(address);
        for (uintptr_t at = address / 32; at <= (address + instruction.bytes - 1) / 32; ++at)
            sectors.insert(at);
    }
    const uint64_t ideal = (starts.size() * instruction.bytes + 31) / 32;
    const bool load = instruction.kind == Kind::load;
    (load ? counters.load_sectors : counters.store_sectors) += sectors.size();
    (load ? counters.load_sectors_ideal : counters.store_sectors_ideal) += ideal;
}

void WarpTraffic::note(Kind kind, int lane, uintptr_t address_of_site, uintptr_t address, unsigned bytes,
                       Counters& counters) {
    // One place of a template may access both kinds of memory.
    Site& site = sites_[address_of_site * 4 + static_cast<unsigned>(kind)];
    const uint64_t index = site.times[lane]++ - site.first;
    if (index >= site.open.size()) site.open.resize(index + 1);
    Instruction& instruction = site.open[index];
    instruction.kind = kind;
    instruction.bytes = std::max(instruction.bytes, bytes);
    instruction.lanes |= 1u << lane;
    instruction.address[lane] = address;
    while (!site.open.empty() && site.open.front().lanes == ~0u) {
        count(site.open.front(), counters);
        site.open.pop_front();
        ++site.first;
    }
}

void WarpTraffic::flush(Counters& counters) {
    for (auto& [address, site] : sites_)
        for (const Instruction& instruction : site.open)
            if (instruction.lanes) count(instruction, counters);
    sites_.clear();
}

}  // namespace fastconv::cuda::emulation
