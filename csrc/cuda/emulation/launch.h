#pragma once

#include <string>
#include <tuple>

#include "block.h"

namespace fastconv::cuda {

namespace emulation {

// How the next launches of this thread of the system run. Right kernels give the same for every seed.
struct Settings {
    uint64_t seed = 0;
    int system_threads = 1;  // over which blocks are spread
};
Settings& settings();
// Of this thread's last launch.
const Counters& last_counters();

void launch(const Geometry& geometry, void (*call)(const void*), const void* arguments);

// "kernel<float, 4>" of the name that the compiler gives the function below.
std::string kernel_name(const char* pretty);

template <auto kernel>
std::string name_of() {
    return kernel_name(__PRETTY_FUNCTION__);
}

}  // namespace emulation

// Runs kernel(args...) for every thread of the grid and returns when all have ended. Throws a Fault.
template <auto kernel, class... Args>
void launch(dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t, const Args&... args) {
    const std::string name = emulation::name_of<kernel>();
    const std::tuple<Args...> arguments(args...);
    emulation::launch(
        {name.c_str(), grid, block, shared_bytes, emulation::settings().seed},
        [](const void* packed) { std::apply(kernel, *static_cast<const std::tuple<Args...>*>(packed)); },
        &arguments);
}

}  // namespace fastconv::cuda
