// The thread pool behind every kernel: one function that runs a range in parallel.
#pragma once

#include <cstdint>

namespace fastconv {

// What set_num_threads was told, or else OMP_NUM_THREADS, or else the processors that this process may use.
int get_num_threads();
// 1 <= n <= 1024; throws ShapeError otherwise.
void set_num_threads(int64_t n);

// The workers that kernels share their work among, and size their scratch for: the setting, but not more than
// a small multiple of the processors, beyond which threads only wait for each other.
int num_threads();

// Calls fn(context, begin, end, worker) over [0, n) in pieces of at least `grain` items; `worker` is below
// `team` and unique among calls that run at once. Which piece runs where is not fixed, so a piece's result
// must not depend on how the range was cut. The caller works too, and never waits for a worker that has not
// begun. Serial when there is one piece, and when another region runs: one that this call is inside of, or
// another thread's. Where the system refuses to start threads, those that there are share the work. Denormals
// are flushed inside, on every worker; see denormals.h. fn must not throw.
// Whoever sizes scratch by num_threads() passes the count that it used as `team`, since another thread may
// change the setting in between.
//
// A region costs 0.4 us where the workers are awake, as they are for some 50 us after the last one. Sleeping
// ones are woken, for 5 us and more, once the first piece has shown that it pays. A piece should be worth 2
// us: a quarter of a million multiply-adds, or 32 KiB of memory traffic.
void parallel_run(int64_t n, int64_t grain, void (*fn)(void* context, int64_t begin, int64_t end, int worker),
                  void* context, int team);

}  // namespace fastconv
