#pragma once

#include <cstdint>
#include <memory>
#include <vector>

namespace fastconv::cuda::emulation {

constexpr int max_threads = 1024;

// A moment of a thread between two of its barriers: its number and its count of barriers; 0 is none.
struct Moment {
    uint32_t code = 0;
    Moment() = default;
    Moment(int thread, uint32_t clock) : code(clock << 10 | static_cast<uint32_t>(thread)) {}
    explicit operator bool() const { return code != 0; }
    int thread() const { return static_cast<int>(code & (max_threads - 1)); }
    uint32_t clock() const { return code >> 10; }
};

// What a thread knows to lie before it: of each other thread of the block the last moment that a barrier
// ordered before its own (a vector clock, as in FastTrack, Flanagan and Freund 2009). Threads that left a
// barrier together share one.
struct Knowledge {
    std::shared_ptr<const std::vector<uint32_t>> of_others;
    uint32_t clock = 1;

    bool knows(int self, Moment moment) const {
        return !moment || moment.thread() == self || (*of_others)[moment.thread()] >= moment.clock();
    }
};

struct Arrival {
    int thread;
    Knowledge knowledge;
};

// What those know who leave a barrier at which these arrived.
inline std::shared_ptr<const std::vector<uint32_t>> joined(const std::vector<Arrival>& arrivals) {
    auto sum = std::make_shared<std::vector<uint32_t>>(*arrivals.front().knowledge.of_others);
    const std::vector<uint32_t>* last = arrivals.front().knowledge.of_others.get();
    for (const Arrival& arrival : arrivals) {
        const std::vector<uint32_t>* others = arrival.knowledge.of_others.get();
        if (others != last) {
            for (size_t i = 0; i < sum->size(); ++i)
                if ((*others)[i] > (*sum)[i]) (*sum)[i] = (*others)[i];
            last = others;
        }
        uint32_t& own = (*sum)[arrival.thread];
        if (arrival.knowledge.clock > own) own = arrival.knowledge.clock;
    }
    return sum;
}

}  // namespace fastconv::cuda::emulation
