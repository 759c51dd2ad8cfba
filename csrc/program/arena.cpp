#include "program/arena.h"

#include <algorithm>

#include "core/memory.h"

namespace fastconv::program {
namespace {

// Larger arenas lie in memory, not in caches; longer lists would take milliseconds.
constexpr size_t kLargestShared = size_t{64} << 20;
constexpr size_t kMostShared = 256;
// What may be added to the least that does.
size_t slack(size_t least) { return std::max(least / 8, std::min(least / 2, size_t{8} << 20)); }

bool meet(const Interval& a, const Interval& b) { return a.first <= b.last && b.first <= a.last; }

bool apart(const Interval& a, const Interval& b) { return a.scratch != b.scratch || meet(a, b); }

size_t end_of(const Interval& i) { return i.offset + round_to_line(i.bytes); }

std::vector<Interval*> largest_first(std::vector<Interval>& intervals) {
    std::vector<Interval*> order;
    for (Interval& i : intervals)
        if (i.bytes) order.push_back(&i);
    std::stable_sort(order.begin(), order.end(),
                     [](const Interval* a, const Interval* b) { return a->bytes > b->bytes; });
    return order;
}

void insert_by_offset(std::vector<const Interval*>& placed, const Interval* one) {
    placed.insert(
        std::upper_bound(placed.begin(), placed.end(), one,
                         [](const Interval* a, const Interval* b) { return a->offset < b->offset; }),
        one);
}

size_t place_lowest(const std::vector<Interval*>& order) {
    size_t total = 0;
    std::vector<const Interval*> placed;
    for (Interval* one : order) {
        const size_t bytes = round_to_line(one->bytes);
        size_t at = 0;
        for (const Interval* other : placed) {
            if (!meet(*one, *other)) continue;
            if (at + bytes <= other->offset) break;
            at = std::max(at, end_of(*other));
        }
        one->offset = at;
        total = std::max(total, at + bytes);
        insert_by_offset(placed, one);
    }
    return total;
}

// Bytes that lie in the lower half of one and in the upper half of the other, the less the more time there
// is between the two.
double changing_hands(const Interval& a, const Interval& b) {
    const size_t low = std::max(a.offset, b.offset), high = std::min(end_of(a), end_of(b));
    if (low >= high) return 0;
    const size_t middle_a = a.offset + a.bytes / 2, middle_b = b.offset + b.bytes / 2;
    const size_t from = std::max(low, std::min(middle_a, middle_b)),
                 to = std::min(high, std::max(middle_a, middle_b));
    if (from >= to) return 0;
    const int between = a.last < b.first ? b.first - a.last : a.first - b.last;
    return static_cast<double>(to - from) / between;
}

// Scratch apart from values: it is cut by workers, values by what they hold. False where `most` bytes do not
// do.
bool place_by_halves(const std::vector<Interval*>& order, size_t most) {
    std::vector<const Interval*> placed;
    std::vector<size_t> places;
    for (Interval* one : order) {
        const size_t bytes = round_to_line(one->bytes);
        places.assign(1, 0);
        for (const Interval* other : placed) {
            if (apart(*one, *other)) {
                places.push_back(end_of(*other));
                if (other->offset >= bytes) places.push_back(other->offset - bytes);
            } else {
                const size_t middle = other->offset + other->bytes / 2;
                if (middle >= one->bytes / 2)
                    places.push_back((middle - one->bytes / 2) / kAlignment * kAlignment);
            }
        }
        std::sort(places.begin(), places.end());
        places.erase(std::unique(places.begin(), places.end()), places.end());
        bool found = false;
        double least = 0;
        size_t best = 0;
        for (const size_t at : places) {
            if (at + bytes > most) break;
            one->offset = at;
            double cost = 0;
            bool free = true;
            for (const Interval* other : placed) {
                if (other->offset >= at + bytes) break;
                if (end_of(*other) <= at) continue;
                free = free && !apart(*one, *other);
                if (!free || (found && cost >= least)) break;
                cost += changing_hands(*one, *other);
            }
            if (!free || (found && cost >= least)) continue;
            found = true;
            least = cost;
            best = at;
        }
        if (!found) return false;
        one->offset = best;
        insert_by_offset(placed, one);
    }
    return true;
}

}  // namespace

size_t place(std::vector<Interval>& intervals, int team) {
    const std::vector<Interval*> order = largest_first(intervals);
    const size_t least = place_lowest(order);
    if (team < 2 || least > kLargestShared || order.size() > kMostShared) return least;
    const std::vector<Interval> lowest = intervals;
    if (!place_by_halves(order, least + slack(least))) {
        intervals = lowest;
        return least;
    }
    size_t total = 0;
    for (const Interval* one : order) total = std::max(total, end_of(*one));
    return total;
}

}  // namespace fastconv::program
