// program CASE SEED SYSTEM_THREADS [PARAMETER...] < words > words. Counters go to the error stream; a fault
// is written there, and the program ends with 3.
#include <cstdio>
#include <cstdlib>
#include <iostream>

#include "harness.h"

std::map<std::string, Case>& cases() {
    static std::map<std::string, Case> all;
    return all;
}

int main(int count, char** arguments) {
    if (count < 4 || !cases().count(arguments[1])) {
        for (const auto& each : cases()) std::cerr << each.first << "\n";
        return 2;
    }
    Words input;
    for (uint32_t word; std::fread(&word, 4, 1, stdin) == 1;) input.push_back(word);
    std::vector<int> parameters;
    for (int i = 4; i < count; ++i) parameters.push_back(std::atoi(arguments[i]));
#ifndef __CUDACC__
    fastconv::cuda::emulation::settings() = {std::strtoull(arguments[2], nullptr, 10),
                                             std::atoi(arguments[3])};
#endif
    try {
        const Words output = cases()[arguments[1]](input, parameters);
        std::fwrite(output.data(), 4, output.size(), stdout);
    } catch (const std::exception& error) {
        std::cerr << error.what() << "\n";
        return 3;
    }
#ifndef __CUDACC__
    const auto& counters = fastconv::cuda::emulation::last_counters();
    std::cerr << "load_sectors " << counters.load_sectors << "\nload_sectors_ideal "
              << counters.load_sectors_ideal << "\nstore_sectors " << counters.store_sectors
              << "\nstore_sectors_ideal " << counters.store_sectors_ideal << "\nshared_passes "
              << counters.shared_passes << "\nbank_conflicts " << counters.bank_conflicts << "\natomics "
              << counters.atomics << "\nbarriers " << counters.barriers << "\nmma " << counters.mma << "\n";
#endif
    return 0;
}
