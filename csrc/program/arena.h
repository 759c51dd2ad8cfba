// Places in one arena for what is needed at different times.
#pragma once

#include <cstddef>
#include <vector>

namespace fastconv::program {

// A piece of memory that is needed from one step to another, both included.
struct Interval {
    size_t bytes = 0;
    int first = 0, last = 0;
    bool scratch = false;
    size_t offset = 0;  // found by `place`
};

// Gives intervals that meet in time places that do not meet in memory, 64-byte aligned; largest first, each
// at the lowest place that is free. With several threads and an arena that their caches may hold, among the
// free places the one where halves of earlier and later tenants lie on the same side: threads take their
// shares of a value from its beginning and its end, and memory that changes hands has to come from the
// other's cache. That may take half as much again up to 8 MiB, or an eighth. Returns the size of the whole.
size_t place(std::vector<Interval>& intervals, int team);

}  // namespace fastconv::program
