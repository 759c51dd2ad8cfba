#include "block.h"

#include <algorithm>
#include <sstream>

#include "global_memory.h"

namespace fastconv::cuda::emulation {

namespace {

thread_local Block* running = nullptr;

template <class Index>
std::string text(const Index& index) {
    std::ostringstream out;
    out << "(" << index.x << ", " << index.y << ", " << index.z << ")";
    return out.str();
}

}  // namespace

std::string Place::text() const {
    if (!line) return "";
    const std::string path = file;
    return " at " + path.substr(path.rfind('/') + 1) + ":" + std::to_string(line);
}

Block& current_block() {
    if (!running) throw Fault("a function of the device was called outside a kernel");
    return *running;
}

Block::Block(const Geometry& geometry) : geometry(geometry) {
    const dim3& b = geometry.block;
    for (unsigned z = 0; z < b.z; ++z)
        for (unsigned y = 0; y < b.y; ++y)
            for (unsigned x = 0; x < b.x; ++x) {
                threads_.push_back(std::make_unique<Thread>());
                Thread& made = *threads_.back();
                made.block = this;
                made.number = static_cast<int>(threads_.size()) - 1;
                made.index = {x, y, z};
            }
    traffic_.resize((threads_.size() + 31) / 32);
}

void Block::run(uint3 block_index, void (*call)(const void*), const void* arguments) {
    index = block_index;
    call_ = call;
    arguments_ = arguments;
    fault_.clear();
    shared.begin(geometry.shared_bytes);
    for (Barrier& barrier : barriers_) barrier = Barrier();
    random_.seed(geometry.seed * 0x9e3779b97f4a7c15u + index.x + 0x10001u * index.y + 0x100000007u * index.z);
    stack_order_ = random_() & 1;
    const auto nothing = std::make_shared<const std::vector<uint32_t>>(threads_.size(), 0);
    ready_.clear();
    for (const auto& each : threads_) {
        each->state = Thread::State::ready;
        each->knowledge = Knowledge{nothing, 1};
        each->open_copies.clear();
        each->groups.clear();
        each->clock = 0;
        each->fiber.start(&Block::run_thread, each.get());
        ready_.push_back(each->number);
    }
    std::shuffle(ready_.begin(), ready_.end(), random_);
    live_ = static_cast<unsigned>(threads_.size());

    running = this;
    try {
        while (live_) {
            if (ready_.empty()) deadlock();
            thread = threads_[next()].get();
            thread->fiber.resume();
            if (!fault_.empty()) throw Fault(fault_);
            if (thread->state == Thread::State::ended) --live_;
            release_if_complete();
        }
    } catch (...) {
        running = nullptr;
        throw;
    }
    running = nullptr;
    for (WarpTraffic& traffic : traffic_) traffic.flush(counters);
}

void Block::run_thread(void* argument) {
    auto* self = static_cast<Thread*>(argument);
    Block& block = *self->block;
    try {
        block.call_(block.arguments_);
    } catch (const std::exception& error) {
        block.fault_ = error.what();
    } catch (...) {
        block.fault_ = "a kernel threw something that is no exception";
    }
    self->state = Thread::State::ended;
}

int Block::next() {
    const size_t at = stack_order_ ? ready_.size() - 1 : random_() % ready_.size();
    const int number = ready_[at];
    ready_[at] = ready_.back();
    ready_.pop_back();
    return number;
}

void Block::make_ready(int number) {
    threads_[number]->state = Thread::State::ready;
    ready_.push_back(number);
    std::swap(ready_.back(), ready_[random_() % ready_.size()]);
}

void Block::fault(const std::string& what, Place place) { fault_of(thread->number, what, place); }

void Block::fault_of(int number, const std::string& what, Place place) {
    throw Fault("kernel " + std::string(geometry.kernel) + ", block " + text(index) + ", thread " +
                text(threads_[number]->index) + place.text() + ": " + what);
}

void Block::give_way() {
    make_ready(thread->number);
    thread->fiber.suspend();
}

void Block::wait(Thread::State state, std::string what, Place place) {
    thread->state = state;
    thread->waits_for = std::move(what);
    thread->place = place;
    thread->fiber.suspend();
}

void Block::join(const std::vector<int>& leaving, const std::vector<Arrival>& arrivals) {
    const auto sum = joined(arrivals);
    for (int number : leaving) {
        Knowledge& knowledge = threads_[number]->knowledge;
        knowledge.of_others = sum;
        ++knowledge.clock;
    }
}

void Block::release(Barrier& barrier) {
    int count = 0;
    for (int number : barrier.waiting) count += threads_[number]->predicate != 0;
    const int participants = static_cast<int>(barrier.waiting.size());
    join(barrier.waiting, barrier.arrivals);
    std::shuffle(barrier.waiting.begin(), barrier.waiting.end(), random_);
    for (int number : barrier.waiting) {
        threads_[number]->answer = count;
        threads_[number]->participants = participants;
        if (threads_[number]->state != Thread::State::ready) make_ready(number);
    }
    barrier = Barrier();
    ++counters.barriers;
}

void Block::release_if_complete() {
    if (live_ && barriers_[0].waiting.size() == live_) release(barriers_[0]);
}

int Block::synchronise(const char* name, int predicate, Place place) {
    Barrier& barrier = barriers_[0];
    if (barrier.waiting.empty()) {
        barrier.name = name;
        barrier.place = place;
    } else if (barrier.name != name || barrier.place.line != place.line ||
               std::string(barrier.place.file) != place.file) {
        fault("threads of the block are at different barriers: this one at " + std::string(name) +
                  place.text() + ", " + names(barrier.waiting) + " at " + barrier.name + barrier.place.text(),
              place);
    }
    thread->predicate = predicate;
    barrier.waiting.push_back(thread->number);
    barrier.arrivals.push_back(arrival());
    wait(Thread::State::at_barrier, name, place);
    return thread->answer;
}

void Block::named_barrier(int id, int count, bool waits, Place place) {
    if (id < 1 || id > 15) fault("barrier " + std::to_string(id) + ": named barriers are 1 to 15", place);
    if (count < 32 || count % 32 || static_cast<size_t>(count) > (threads_.size() + 31) / 32 * 32)
        fault("barrier " + std::to_string(id) + " of " + std::to_string(count) +
                  " threads: expects whole warps, not more than the block has",
              place);
    Barrier& barrier = barriers_[id];
    if (barrier.arrivals.empty()) {
        barrier.expected = static_cast<unsigned>(count);
        barrier.place = place;
    } else if (barrier.expected != static_cast<unsigned>(count)) {
        fault("barrier " + std::to_string(id) + " of " + std::to_string(count) +
                  " threads, but others came to it" + barrier.place.text() + " as one of " +
                  std::to_string(barrier.expected),
              place);
    }
    barrier.arrivals.push_back(arrival());
    if (waits)
        barrier.waiting.push_back(thread->number);
    else
        ++thread->knowledge.clock;
    const bool complete = barrier.arrivals.size() == barrier.expected;
    thread->predicate = 0;
    if (!waits) {
        if (complete) release(barrier);
        return;
    }
    if (complete) {
        release(barrier);
        return;
    }
    wait(Thread::State::at_barrier,
         "barrier " + std::to_string(id) + " of " + std::to_string(count) + " threads", place);
}

void Block::collective(const char* name, unsigned mask, void* operand, Together run, Place place) {
    const int warp = thread->warp(), first = warp * 32;
    const auto hex = [](unsigned bits) {
        std::ostringstream out;
        out << "0x" << std::hex << bits;
        return out.str();
    };
    const int lanes = std::min<int>(32, static_cast<int>(threads_.size()) - first);
    if (!(mask >> thread->lane() & 1))
        fault(std::string(name) + ": the lane is not in its own mask " + hex(mask), place);
    if (lanes < 32 && mask >> lanes)
        fault(std::string(name) + ": mask " + hex(mask) + " has lanes that the warp, of " +
                  std::to_string(lanes) + " threads, does not have",
              place);
    thread->mask = mask;
    thread->operand = operand;
    bool complete = true;
    void* operands[32] = {};
    for (int lane = 0; lane < lanes; ++lane) {
        if (!(mask >> lane & 1)) continue;
        const Thread& other = *threads_[first + lane];
        if (&other != thread) {
            if (other.state == Thread::State::ended)
                fault(std::string(name) + ": lane " + std::to_string(lane) + " of the mask " + hex(mask) +
                          " has ended",
                      place);
            if (other.state != Thread::State::at_collective) {
                complete = false;
                continue;
            }
            if (other.mask != mask || other.waits_for != name)
                fault(std::string("divergent ") + name + " with mask " + hex(mask) + ": lane " +
                          std::to_string(lane) + " is at " + other.waits_for + other.place.text() +
                          " with mask " + hex(other.mask),
                      place);
        }
        operands[lane] = other.operand;
    }
    if (!complete) return wait(Thread::State::at_collective, name, place);
    run(*this, warp, mask, operands);
    for (int lane = 0; lane < lanes; ++lane)
        if (operands[lane] && first + lane != thread->number) make_ready(first + lane);
    if (random_() & 1) give_way();
}

std::string Block::names(const std::vector<int>& numbers) const {
    std::vector<int> sorted = numbers;
    std::sort(sorted.begin(), sorted.end());
    std::string out = sorted.size() == 1 ? "thread number " : "threads number ";
    for (size_t i = 0; i < sorted.size();) {
        size_t end = i + 1;
        while (end < sorted.size() && sorted[end] == sorted[end - 1] + 1) ++end;
        out += (i ? ", " : "") + std::to_string(sorted[i]);
        if (end - i > 1) out += " to " + std::to_string(sorted[end - 1]);
        i = end;
    }
    return out;
}

void Block::deadlock() {
    std::vector<std::pair<std::string, std::vector<int>>> groups;
    for (const auto& each : threads_) {
        std::ostringstream where;
        if (each->state == Thread::State::ended) {
            where << "ended";
        } else {
            where << (each->state == Thread::State::at_barrier ? "at barrier " : "at ") << each->waits_for;
            if (each->state == Thread::State::at_collective)
                where << " with mask 0x" << std::hex << each->mask;
            where << each->place.text();
        }
        auto group =
            std::find_if(groups.begin(), groups.end(), [&](auto& g) { return g.first == where.str(); });
        if (group == groups.end()) group = groups.insert(groups.end(), {where.str(), {}});
        group->second.push_back(each->number);
    }
    std::string what = "kernel " + std::string(geometry.kernel) + ", block " + text(index) + ": deadlock: ";
    for (size_t i = 0; i < groups.size(); ++i)
        what += (i ? "; " : "") + names(groups[i].second) + " " + groups[i].first;
    throw Fault(what);
}

void Block::access(const void* address, unsigned bytes, unsigned alignment, Access access, uintptr_t site,
                   Place place) {
    const auto at = reinterpret_cast<uintptr_t>(address);
    const bool in_shared = shared.holds(address);
    std::ostringstream of;
    const auto describe = [&](const std::string& what) {
        of << (access == Access::load    ? "load"
               : access == Access::store ? "store"
                                         : "atomic")
           << " of " << bytes << " bytes at " << address << ": " << what;
        fault(of.str(), place);
    };
    if (at % alignment) describe("misaligned, expects a multiple of " + std::to_string(alignment) + " bytes");
    if (in_shared) {
        const size_t offset = shared.offset(address);
        if (address < shared.data() || offset + bytes > shared.bytes())
            describe("out of bounds of the block's " + std::to_string(shared.bytes()) +
                     " bytes of shared memory");
        const std::string wrong = shared.access(offset, bytes, access, thread->number, thread->knowledge);
        if (!wrong.empty()) describe(wrong);
    } else {
        const std::string wrong = wrong_with(address, bytes, access != Access::load);
        if (!wrong.empty()) describe(wrong);
    }
    if (access == Access::atomic) {
        ++counters.atomics;
    } else {
        const auto kind = in_shared                ? WarpTraffic::Kind::shared
                          : access == Access::load ? WarpTraffic::Kind::load
                                                   : WarpTraffic::Kind::store;
        traffic_[thread->warp()].note(kind, thread->lane(), site, in_shared ? shared.offset(address) : at,
                                      bytes, counters);
    }
    ++thread->clock;
    if (random_() % 16 == 0) give_way();
}

void Block::read_shared(int number, const void* address, unsigned bytes, Place place) {
    const size_t offset = shared.offset(address);
    if (!shared.holds(address) || address < shared.data() || offset + bytes > shared.bytes())
        fault_of(number, "ldmatrix: the row lies out of bounds of shared memory", place);
    const std::string wrong = shared.access(offset, bytes, Access::load, number, threads_[number]->knowledge);
    if (!wrong.empty()) fault_of(number, "ldmatrix: " + wrong, place);
}

void Block::copy_async(void* to, const void* from, unsigned bytes, unsigned valid, uintptr_t site,
                       Place place) {
    const size_t offset = shared.offset(to);
    const std::string name = "asynchronous copy of " + std::to_string(bytes) + " bytes: ";
    if (!shared.holds(to) || to < shared.data() || offset + bytes > shared.bytes())
        fault(name + "the destination lies out of bounds of shared memory", place);
    if (offset % bytes || (valid && reinterpret_cast<uintptr_t>(from) % bytes))
        fault(name + "misaligned, expects multiples of " + std::to_string(bytes) + " bytes", place);
    if (valid > bytes) fault(name + "of them " + std::to_string(valid) + " from the source", place);
    if (valid) {
        const std::string wrong = wrong_with(from, valid, false);
        if (!wrong.empty()) fault(name + wrong, place);
        traffic_[thread->warp()].note(WarpTraffic::Kind::load, thread->lane(), site,
                                      reinterpret_cast<uintptr_t>(from), valid, counters);
    }
    traffic_[thread->warp()].note(WarpTraffic::Kind::shared, thread->lane(), site, offset, bytes, counters);
    const std::string wrong = shared.begin_copy(offset, bytes, thread->number, thread->knowledge);
    if (!wrong.empty()) fault(name + wrong, place);
    thread->open_copies.push_back({offset, from, valid, bytes});
}

void Block::commit_copies() {
    thread->groups.push_back(std::move(thread->open_copies));
    thread->open_copies.clear();
}

void Block::wait_copies(unsigned pending) {
    while (thread->groups.size() > pending) {
        for (const Copy& copy : thread->groups.front())
            shared.land(copy.offset, copy.source, copy.valid, copy.bytes, thread->number, thread->knowledge);
        thread->groups.pop_front();
    }
}

}  // namespace fastconv::cuda::emulation
