#include "launch.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <numeric>
#include <thread>

#include "global_memory.h"
#include "limits.h"

namespace fastconv::cuda::emulation {

namespace {

thread_local Counters counters_of_last;

void check(const Geometry& geometry) {
    const auto refuse = [&](const std::string& what) {
        throw Fault("launch of kernel " + std::string(geometry.kernel) + ": " + what);
    };
    const dim3 &grid = geometry.grid, &block = geometry.block;
    const uint64_t threads = static_cast<uint64_t>(block.x) * block.y * block.z;
    if (threads < 1 || threads > max_threads || block.x > max_threads || block.y > max_threads ||
        block.z > 64)
        refuse("a block of " + std::to_string(threads) + " threads: expects 1 to 1024, z up to 64");
    if (!grid.x || !grid.y || !grid.z || grid.x > 0x7fffffff || grid.y > 65535 || grid.z > 65535)
        refuse("the grid must be 1 to 2147483647 by 65535 by 65535 blocks");
    if (geometry.shared_bytes > max_shared_bytes)
        refuse(std::to_string(geometry.shared_bytes) + " bytes of shared memory: expects up to " +
               std::to_string(max_shared_bytes));
}

}  // namespace

Settings& settings() {
    static thread_local Settings those;
    return those;
}

const Counters& last_counters() { return counters_of_last; }

std::string kernel_name(const char* pretty) {
    std::string name = pretty;
    const size_t begin = name.find("kernel = ");
    if (begin == std::string::npos) return name;
    name = name.substr(begin + 9, name.find_first_of(";]", begin) - begin - 9);
    if (name.front() == '&') name.erase(0, 1);
    if (name.front() == '(' && name.back() == ')') name = name.substr(1, name.size() - 2);
    return name;
}

void launch(const Geometry& geometry, void (*call)(const void*), const void* arguments) {
    check(geometry);
    const auto buffers = keep_buffers();
    const dim3 grid = geometry.grid;
    const uint64_t blocks = static_cast<uint64_t>(grid.x) * grid.y * grid.z;
    std::vector<uint64_t> order(blocks);
    std::iota(order.begin(), order.end(), 0);
    std::mt19937_64 random(geometry.seed);
    std::shuffle(order.begin(), order.end(), random);

    std::atomic<uint64_t> taken{0};
    std::mutex mutex;
    std::exception_ptr failure;
    Counters sum;
    const auto work = [&] {
        try {
            Block block(geometry);
            for (uint64_t i; (i = taken++) < blocks;) {
                const uint64_t at = order[i];
                block.run({static_cast<unsigned>(at % grid.x), static_cast<unsigned>(at / grid.x % grid.y),
                           static_cast<unsigned>(at / grid.x / grid.y)},
                          call, arguments);
            }
            std::lock_guard lock(mutex);
            sum.add(block.counters);
        } catch (...) {
            taken = blocks;
            std::lock_guard lock(mutex);
            if (!failure) failure = std::current_exception();
        }
    };
    std::vector<std::thread> others;
    for (int i = 1; i < settings().system_threads; ++i) others.emplace_back(work);
    work();
    for (std::thread& other : others) other.join();
    counters_of_last = sum;
    if (failure) std::rethrow_exception(failure);
}

}  // namespace fastconv::cuda::emulation
