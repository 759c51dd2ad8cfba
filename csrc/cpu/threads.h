// The thread pool behind every kernel: one function that runs a range in parallel.
#pragma once

#include <cstdint>

namespace fastconv {

int num_threads();
// n >= 1; throws ShapeError otherwise.
void set_num_threads(int64_t n);

// Calls fn(context, begin, end, worker) over [0, n) in pieces of at least `grain` items; `worker` is below
// num_threads() and unique among calls that run at once. Which piece runs where is not fixed, so a piece's
// result must not depend on how the range was cut. Serial when there is one piece, when called from inside
// a parallel region, and in a forked child (libgomp's pool does not survive a fork). fn must not throw.
// `team` bounds the workers: whoever sizes scratch by num_threads() passes the count that it used, since
// another thread may change the setting in between.
void parallel_run(int64_t n, int64_t grain, void (*fn)(void* context, int64_t begin, int64_t end, int worker),
                  void* context, int team);

}  // namespace fastconv
