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

// state_, from the low end: active workers 16 bits, the team 32 bits further up, and the open bit.
constexpr uint64_t kActive = 1, kTeam = uint64_t{1} << 32;
constexpr uint64_t kActiveField = 0xffff, kTeamField = 0xffff, kOpen = uint64_t{1} << 63;
constexpr uint64_t kHalf = 0xffffffff;  // of a share

// An idle worker looks for a region this often, then gives its processor away in between, and then sleeps; an
// owner does the first two for the last worker to leave. A pause takes 10 to 60 ns: 30 us, the gap between
// two kernels. 0.3 ms is that between two steps of a program, or between two pieces of one thread. To sleep
// costs the next region 50 us and more on a virtual machine.
constexpr int kSpins = 1000;
using Clock = std::chrono::steady_clock;
constexpr auto kStayAwake = std::chrono::microseconds(300);
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

ThreadPool::Units ThreadPool::take_first(int share, bool one) {
    std::atomic<uint64_t>& left = shares_[static_cast<size_t>(share)].left;
    for (uint64_t now = left.load(std::memory_order_relaxed);;) {
        const uint64_t begin = now & kHalf, end = now >> 32;
        const uint64_t count = one && begin < end ? 1 : (end - begin + 3) / 4;
        if (left.compare_exchange_weak(now, now + count, std::memory_order_relaxed))
            return {static_cast<int64_t>(begin), static_cast<int64_t>(begin + count)};
    }
}

ThreadPool::Units ThreadPool::take_last(int share) {
    std::atomic<uint64_t>& left = shares_[static_cast<size_t>(share)].left;
    for (uint64_t now = left.load(std::memory_order_relaxed);;) {
        const uint64_t begin = now & kHalf, end = now >> 32;
        if (begin == end) return {0, 0};
        const uint64_t count = (end - begin + 3) / 4;
        if (left.compare_exchange_weak(now, now - (count << 32), std::memory_order_relaxed))
            return {static_cast<int64_t>(end - count), static_cast<int64_t>(end)};
    }
}

bool ThreadPool::run(int64_t units, Piece fn, void* context, int team, bool long_enough, uint64_t key) {
    if (owned_.exchange(true, std::memory_order_acquire)) return false;
    if (started_ < team - 1 && --patience_ < 0) start_workers(team - 1);
    fn_ = fn;
    context_ = context;
    team_ = team;
    for (int i = 0; i < team; ++i) {
        const auto begin = static_cast<uint64_t>(units * i / team),
                   end = static_cast<uint64_t>(units * (i + 1) / team);
        shares_[static_cast<size_t>(i)].left.store(begin | end << 32, std::memory_order_relaxed);
    }
    state_.store(kOpen | kTeam * static_cast<uint64_t>(team), std::memory_order_release);
    // Sequentially consistent against `asleep`: either this thread sees the sleeper or it sees the region.
    opened_.fetch_add(1, std::memory_order_seq_cst);
    bool asleep = false;  // one of the team; whether others are makes no difference
    for (int i = 1; i < team && !asleep; ++i)
        asleep = shares_[static_cast<size_t>(i)].asleep.load(std::memory_order_seq_cst);
    uint64_t& long_one = long_ones_[key % long_ones_.size()];
    const bool remembered = asleep && !long_enough && long_one == key;
    Clock::time_point woken;
    if (asleep) {
        if (!long_enough && !remembered) {
            const Clock::time_point start = Clock::now();
            const Units first = take_first(0, true);
            if (first.any()) fn(context, first.begin, first.end, 0);
            long_enough = (Clock::now() - start) * (units - 1) > kWorthWaking;
            if (long_enough) long_one = key;
        }
        if (long_enough || remembered) wake_workers(team);
        if (remembered) woken = Clock::now();
    }
    take_pieces(0);
    // The first time is often longer than all others: pages and code that are new.
    if (remembered && Clock::now() - woken < kWorthWaking) long_one = 0;
    state_.fetch_and(~kOpen, std::memory_order_acq_rel);
    for (int spins = 0; (state_.load(std::memory_order_acquire) & kActiveField) != 0; ++spins) {
        if (spins < kSpins)
            pause();
        else
            sched_yield();
    }
    owned_.store(false, std::memory_order_release);
    return true;
}

// Those beyond the team are woken with the others, find no place, and sleep again 0.3 ms later.
void ThreadPool::wake_workers(int team) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (team == 2 && started_ == 1)
        wake_.notify_one();
    else
        wake_.notify_all();
}

void ThreadPool::take_pieces(int worker) {
    const Piece fn = fn_;
    void* const context = context_;
    const int team = team_;
    Units units;
    while ((units = take_first(worker)).any()) fn(context, units.begin, units.end, worker);
    for (int other = 1; other < team; ++other)
        while ((units = take_last((worker + other) % team)).any())
            fn(context, units.begin, units.end, worker);
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
    auto* const self = static_cast<ThreadPool*>(pool);
    self->work(self->numbers_.fetch_add(1, std::memory_order_relaxed) + 1);
    return nullptr;
}

void ThreadPool::work(int worker) {
    const FlushDenormals flush;
    for (uint64_t seen = 0;;) {
        for (int spins = 0; spins < kSpins && opened_.load(std::memory_order_acquire) == seen; ++spins)
            pause();
        // By the clock: where threads outnumber processors, a turn of each other is milliseconds.
        const Clock::time_point tired = Clock::now() + kStayAwake;
        while (opened_.load(std::memory_order_acquire) == seen && Clock::now() < tired) sched_yield();
        if (opened_.load(std::memory_order_acquire) == seen) {
            std::unique_lock<std::mutex> lock(mutex_);
            std::atomic<bool>& asleep = shares_[static_cast<size_t>(worker)].asleep;
            asleep.store(true, std::memory_order_seq_cst);
            while (opened_.load(std::memory_order_seq_cst) == seen) wake_.wait(lock);
            asleep.store(false, std::memory_order_relaxed);
        }
        seen = opened_.load(std::memory_order_acquire);
        join(worker);
    }
}

void ThreadPool::join(int worker) {
    uint64_t state = state_.load(std::memory_order_acquire);
    while ((state & kOpen) != 0 && static_cast<uint64_t>(worker) < (state / kTeam & kTeamField)) {
        if (state_.compare_exchange_weak(state, state + kActive, std::memory_order_acquire)) {
            take_pieces(worker);
            state_.fetch_sub(kActive, std::memory_order_release);
            return;
        }
    }
}

}  // namespace fastconv
