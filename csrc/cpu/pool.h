// Worker threads that share the pieces of one region at a time.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>

namespace fastconv {

// A region is opened, worked on and closed by one thread at a time, its owner. Workers join an open region
// and leave it when no piece is left; the owner takes pieces as well, closes the region, and waits only for
// workers that have joined. So on a machine that is busy with other things a region takes no longer than the
// owner alone would need, where a barrier for all would wait for the slowest to be scheduled.
class ThreadPool {
  public:
    using Piece = void (*)(void* context, int64_t piece, int worker);

    // Runs fn for every piece in [0, pieces) on at most `team` workers, of which the caller is number 0.
    // False, with nothing done, where another region is open. Sleeping workers are woken at once if the work
    // is `long_enough`, and otherwise when the first piece shows that it is.
    bool run(int64_t pieces, Piece fn, void* context, int team, bool long_enough);

    // Never destroyed: workers may outlive every static object.
    ThreadPool() = default;
    ThreadPool(const ThreadPool&) = delete;
    ThreadPool& operator=(const ThreadPool&) = delete;

  private:
    static void* worker_main(void* pool);
    void work();
    void join();
    void take_pieces(int worker);
    void wake_workers(int team);
    void start_workers(int wanted);

    // The owner's: which thread may open a region.
    std::atomic<bool> owned_{false};
    int started_ = 0;
    int patience_ = 0;  // regions to open before the system is asked for threads again

    // The open region; written before state_ opens it.
    Piece fn_ = nullptr;
    void* context_ = nullptr;
    int64_t pieces_ = 0;
    alignas(64) std::atomic<int64_t> next_{0};

    // One word, so that who joins sees one region's values: open, limit (workers that may join), joined,
    // active.
    alignas(64) std::atomic<uint64_t> state_{0};

    // Regions opened so far: what idle workers watch.
    alignas(64) std::atomic<uint64_t> opened_{0};
    std::atomic<int> asleep_{0};
    std::mutex mutex_;
    std::condition_variable wake_;
};

}  // namespace fastconv
