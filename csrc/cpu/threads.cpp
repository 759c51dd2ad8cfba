#include "cpu/threads.h"

#include <pthread.h>
#ifdef __linux__
#    include <sched.h>
#endif

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <thread>

#include "cpu/denormals.h"
#include "cpu/pool.h"
#include "fastconv/error.h"

namespace fastconv {
namespace {

constexpr int64_t kMaxThreads = 1024;
// Threads for each processor that can still help where a neighbour holds one up; a few on any machine.
constexpr int kThreadsPerProcessor = 4;
constexpr int kTeamAlwaysAllowed = 8;
// A range is handed out in as many units for each thread, several at a time at first.
constexpr int64_t kUnitsPerThread = 16;
// As many grains, of some 2 us each, are worth waking a thread for.
constexpr int64_t kLongEnough = 32;

int processors() {
#ifdef __linux__
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
#endif
    return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

int initial_threads() {
    // The variable that everyone sets; of a list for nested levels its first number counts.
    if (const char* text = std::getenv("OMP_NUM_THREADS")) {
        const long n = std::strtol(text, nullptr, 10);
        if (n >= 1) return static_cast<int>(std::min<int64_t>(n, kMaxThreads));
    }
    return static_cast<int>(std::min<int64_t>(processors(), kMaxThreads));
}

std::atomic<int>& thread_count() {
    static std::atomic<int> count{initial_threads()};
    return count;
}

int largest_team() {
    static const int most = std::max(kTeamAlwaysAllowed, kThreadsPerProcessor * processors());
    return most;
}

std::atomic<ThreadPool*> current{nullptr};

// A forked child has none of the workers, and perhaps a region of a thread that it does not have either: it
// leaves the old pool behind and makes its own when it first needs one.
ThreadPool& pool() {
    static const int registered =
        pthread_atfork(nullptr, nullptr, [] { current.store(nullptr, std::memory_order_relaxed); });
    (void)registered;
    ThreadPool* found = current.load(std::memory_order_acquire);
    if (!found) {
        auto* made = new ThreadPool;
        if (current.compare_exchange_strong(found, made, std::memory_order_acq_rel))
            found = made;
        else
            delete made;
    }
    return *found;
}

struct Range {
    void (*fn)(void*, int64_t, int64_t, int);
    void* context;
    int64_t n, units;

    int64_t at(int64_t unit) const {
        // n * unit could pass 64 bits: whole parts and what is left over apart.
        return n / units * unit + n % units * unit / units;
    }
};

void run_units(void* context, int64_t begin, int64_t end, int worker) {
    const Range& r = *static_cast<const Range*>(context);
    r.fn(r.context, r.at(begin), r.at(end), worker);
}

uint64_t key_of(void (*fn)(void*, int64_t, int64_t, int), int64_t n, int64_t grain) {
    uint64_t key = reinterpret_cast<uintptr_t>(fn);
    for (int64_t value : {n, grain})
        key = (key ^ static_cast<uint64_t>(value)) * 0x9e3779b97f4a7c15u, key ^= key >> 32;
    return key;
}

}  // namespace

int get_num_threads() { return thread_count().load(std::memory_order_relaxed); }

int num_threads() { return std::min(get_num_threads(), largest_team()); }

void set_num_threads(int64_t n) {
    if (n < 1 || n > kMaxThreads)
        throw ShapeError(message("set_num_threads: the count must be 1 to ", kMaxThreads, ", got ", n));
    thread_count().store(static_cast<int>(n), std::memory_order_relaxed);
}

void parallel_run(int64_t n, int64_t grain, void (*fn)(void*, int64_t, int64_t, int), void* context,
                  int threads) {
    if (n <= 0) return;
    const int team = std::min(threads, largest_team());
    const int64_t grains = std::max<int64_t>(1, n / std::max<int64_t>(1, grain));
    const int64_t units = std::min<int64_t>(grains, team * kUnitsPerThread);
    const FlushDenormals flush;
    if (units > 1 && team > 1) {
        Range range{fn, context, n, units};
        const int used = static_cast<int>(std::min<int64_t>(team, units));
        if (pool().run(units, &run_units, &range, used, grains >= kLongEnough, key_of(fn, n, grain))) return;
    }
    fn(context, 0, n, 0);
}

}  // namespace fastconv
