#include "cpu/threads.h"

#include <omp.h>
#include <pthread.h>

#include <algorithm>
#include <atomic>

#include "fastconv/error.h"

namespace fastconv {
namespace {

constexpr int64_t kMaxThreads = 1024;
// More pieces than threads, so that a thread that loses its core does not hold up the rest.
constexpr int64_t kPiecesPerThread = 4;

std::atomic<bool> forked{false};

int initial_threads() {
    pthread_atfork(nullptr, nullptr, [] { forked.store(true, std::memory_order_relaxed); });
    return static_cast<int>(std::clamp<int64_t>(omp_get_max_threads(), 1, kMaxThreads));
}

std::atomic<int>& thread_count() {
    static std::atomic<int> count{initial_threads()};
    return count;
}

}  // namespace

int num_threads() { return thread_count().load(std::memory_order_relaxed); }

void set_num_threads(int64_t n) {
    if (n < 1 || n > kMaxThreads)
        throw ShapeError(message("set_num_threads: the count must be 1 to ", kMaxThreads, ", got ", n));
    thread_count().store(static_cast<int>(n), std::memory_order_relaxed);
}

void parallel_run(int64_t n, int64_t grain, void (*fn)(void*, int64_t, int64_t, int), void* context,
                  int threads) {
    if (n <= 0) return;
    const int64_t most = std::max<int64_t>(1, n / std::max<int64_t>(1, grain));
    const int64_t pieces = std::min<int64_t>(most, threads * kPiecesPerThread);
    if (pieces == 1 || threads == 1 || omp_in_parallel() || forked.load(std::memory_order_relaxed)) {
        fn(context, 0, n, 0);
        return;
    }
    const int used = static_cast<int>(std::min<int64_t>(threads, pieces));
#pragma omp parallel for schedule(dynamic, 1) num_threads(used)
    for (int64_t i = 0; i < pieces; ++i)
        fn(context, n * i / pieces, n * (i + 1) / pieces, omp_get_thread_num());
}

}  // namespace fastconv
