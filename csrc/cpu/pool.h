// Worker threads that share the pieces of one region at a time.
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>

namespace fastconv {

// A region is opened, worked on and closed by one thread at a time, its owner. Workers join an open region
// and leave it when no piece is left; the owner takes pieces as well, closes the region, and waits only for
// workers that have joined. So on a machine that is busy with other things a region takes no longer than the
// owner alone would need, where a barrier for all would wait for the slowest to be scheduled.
//
// Each of the team has its own share of the range, the same one whenever the same work comes again, and takes
// a quarter of what is left of it at a time, so that the last pieces are small. Who is done helps the others,
// from the ends of their shares.
class ThreadPool {
  public:
    // Units [begin, end) of the range.
    using Piece = void (*)(void* context, int64_t begin, int64_t end, int worker);

    // Runs fn for all of [0, units) on at most `team` workers, of which the caller is number 0. False, with
    // nothing done, where another region is open. Sleeping workers are woken at once if the work is
    // `long_enough` or if that of the same `key` was when they last slept, and otherwise when the first unit
    // shows that it is. At most kMostTeam workers, and fewer than 2^31 units.
    bool run(int64_t units, Piece fn, void* context, int team, bool long_enough, uint64_t key);

    static constexpr int kMostTeam = 1024;

    // Never destroyed: workers may outlive every static object.
    ThreadPool() = default;
    ThreadPool(const ThreadPool&) = delete;
    ThreadPool& operator=(const ThreadPool&) = delete;

  private:
    // What is left of a share: the first unit in the lower half, the end in the upper.
    struct alignas(64) Share {
        std::atomic<uint64_t> left{0};
        std::atomic<bool> asleep{false};  // whose it is
    };
    struct Units {
        int64_t begin, end;
        bool any() const { return begin < end; }
    };
    Units take_first(int share, bool one = false);
    Units take_last(int share);

    static void* worker_main(void* pool);
    void work(int worker);
    void join(int worker);
    void take_pieces(int worker);
    void wake_workers(int team);
    void start_workers(int wanted);

    // The owner's: which thread may open a region.
    std::atomic<bool> owned_{false};
    int started_ = 0;
    int patience_ = 0;                       // regions to open before the system is asked for threads again
    std::array<uint64_t, 256> long_ones_{};  // keys of work that was worth waking for
    std::atomic<int> numbers_{0};

    // One word, so that who joins sees one region's values: open, the team's size, how many are active.
    alignas(64) std::atomic<uint64_t> state_{0};

    // Regions opened so far, what idle workers watch; on the same line what they then need to know of the
    // region, written before state_ opens it.
    alignas(64) std::atomic<uint64_t> opened_{0};
    Piece fn_ = nullptr;
    void* context_ = nullptr;
    int team_ = 0;

    alignas(64) std::mutex mutex_;
    std::condition_variable wake_;
    std::array<Share, kMostTeam> shares_;
};

}  // namespace fastconv
