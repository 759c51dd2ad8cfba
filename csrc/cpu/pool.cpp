#include "cpu/pool.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>

#include <chrono>

#include "cpu/denormals.h"

#if defined(__SSE2__)
#    include <immintrin.h>
#endif

namespace fastconv {
namespace {

// state_, from the low end: active and joined workers and the limit of those, 16 bits each, and the open bit.
constexpr uint64_t kActive = 1, kJoined = uint64_t{1} << 16, kLimit = uint64_t{1} << 32;
constexpr uint64_t kField = 0xffff, kOpen = uint64_t{1} << 63;

// How often an idle worker looks for a region before it sleeps, and an owner for the last worker to leave
// before it gives its processor away. A pause takes 10 to 60 ns, so this is 10 to 60 us: the gap between two
// kernels.
constexpr int kSpins = 1000;

using Clock = std::chrono::steady_clock;
// To wake a worker takes its waker 5 us, or 30 where the two share a processor at first.
constexpr auto kWorthWaking = std::chrono::microseconds(40);

inline void pause() {
#if defined(__SSE2__)
    _mm_pause();
#elif defined(__aarch64__)
    asm volatile("isb");
#endif
}

}  // namespace

bool ThreadPool::run(int64_t pieces, Piece fn, void* context, int team, bool long_enough) {
    if (owned_.exchange(true, std::memory_order_acquire)) return false;
    if (started_ < team - 1 && --patience_ < 0) start_workers(team - 1);
    fn_ = fn;
    context_ = context;
    pieces_ = pieces;
    next_.store(0, std::memory_order_relaxed);
    state_.store(kOpen | kLimit * static_cast<uint64_t>(team - 1), std::memory_order_release);
    // Sequentially consistent against `asleep_`: either this thread sees the sleeper or it sees the region.
    opened_.fetch_add(1, std::memory_order_seq_cst);
    if (started_ - asleep_.load(std::memory_order_seq_cst) < team - 1) {
        if (!long_enough) {
            const Clock::time_point start = Clock::now();
            const int64_t first = next_.fetch_add(1, std::memory_order_relaxed);
            if (first < pieces) fn(context, first, 0);
            long_enough = (Clock::now() - start) * (pieces - 1) > kWorthWaking;
        }
        if (long_enough) wake_workers(team);
    }
    take_pieces(0);
    state_.fetch_and(~kOpen, std::memory_order_acq_rel);
    for (int spins = 0; (state_.load(std::memory_order_acquire) & kField) != 0; ++spins) {
        if (spins < kSpins)
            pause();
        else
            sched_yield();
    }
    owned_.store(false, std::memory_order_release);
    return true;
}

void ThreadPool::wake_workers(int team) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (team == 2)
        wake_.notify_one();
    else
        wake_.notify_all();
}

void ThreadPool::take_pieces(int worker) {
    for (int64_t i; (i = next_.fetch_add(1, std::memory_order_relaxed)) < pieces_;) fn_(context_, i, worker);
}

void ThreadPool::start_workers(int wanted) {
    // Signals are for the threads that the program started.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_attr_t detached;
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    pthread_t thread;
    while (started_ < wanted && pthread_create(&thread, &detached, &worker_main, this) == 0) ++started_;
    // A refusal costs some 10 us; limits come and go.
    if (started_ < wanted) patience_ = 1000;
    pthread_attr_destroy(&detached);
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void* ThreadPool::worker_main(void* pool) {
    static_cast<ThreadPool*>(pool)->work();
    return nullptr;
}

void ThreadPool::work() {
    const FlushDenormals flush;
    for (uint64_t seen = 0;;) {
        for (int spins = 0; spins < kSpins && opened_.load(std::memory_order_acquire) == seen; ++spins)
            pause();
        if (opened_.load(std::memory_order_acquire) == seen) {
            std::unique_lock<std::mutex> lock(mutex_);
            asleep_.fetch_add(1, std::memory_order_seq_cst);
            while (opened_.load(std::memory_order_seq_cst) == seen) wake_.wait(lock);
            asleep_.fetch_sub(1, std::memory_order_seq_cst);
        }
        seen = opened_.load(std::memory_order_acquire);
        join();
    }
}

void ThreadPool::join() {
    uint64_t state = state_.load(std::memory_order_acquire);
    while ((state & kOpen) != 0 && state / kJoined % (kField + 1) < state / kLimit % (kField + 1)) {
        if (state_.compare_exchange_weak(state, state + kJoined + kActive, std::memory_order_acquire)) {
            take_pieces(static_cast<int>(state / kJoined % (kField + 1)) + 1);
            state_.fetch_sub(kActive, std::memory_order_release);
            return;
        }
    }
}

}  // namespace fastconv
