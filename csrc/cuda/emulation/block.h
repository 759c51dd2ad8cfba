#pragma once

#include <deque>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "fault.h"
#include "fiber.h"
#include "order.h"
#include "shared_memory.h"
#include "traffic.h"
#include "types.h"

namespace fastconv::cuda::emulation {

struct Geometry {
    const char* kernel;
    dim3 grid, block;
    size_t shared_bytes;
    uint64_t seed;
};

// What lanes of a warp do together: `operands[lane]` is what the lane passed, null for lanes outside the
// mask.
class Block;
using Together = void (*)(Block& block, int warp, unsigned mask, void* const* operands);

struct Copy {
    size_t offset;
    const void* source;
    unsigned valid, bytes;
};

struct Thread {
    enum class State { ready, at_barrier, at_collective, ended };

    Fiber fiber;
    Block* block = nullptr;
    int number = 0;
    uint3 index{};
    State state = State::ended;
    // What it waits for, and where that stands.
    std::string waits_for;
    Place place;
    int predicate = 0;
    int answer = 0, participants = 0;  // of the last barrier: predicates that were not 0, threads
    unsigned mask = 0;
    void* operand = nullptr;
    Knowledge knowledge;
    std::vector<Copy> open_copies;
    std::deque<std::vector<Copy>> groups;
    long long clock = 0;

    int lane() const { return number % 32; }
    int warp() const { return number / 32; }
};

// Runs blocks, one after the other, on the calling thread of the system.
class Block {
  public:
    explicit Block(const Geometry& geometry);

    // `call(arguments)` is the kernel. Throws a Fault.
    void run(uint3 index, void (*call)(const void*), const void* arguments);
    Counters counters;

    // Everything below is for the thread that runs.
    [[noreturn]] void fault(const std::string& what, Place place = {"", 0});
    [[noreturn]] void fault_of(int thread, const std::string& what, Place place);
    // Lets others run first.
    void give_way();
    // Of the whole block, with a name such as "__syncthreads"; the answer is the count of predicates that are
    // not 0.
    int synchronise(const char* name, int predicate, Place place);
    void named_barrier(int id, int threads, bool wait, Place place);
    void collective(const char* name, unsigned mask, void* operand, Together run, Place place);
    // A checked and counted access to global or shared memory.
    void access(const void* address, unsigned bytes, unsigned alignment, Access access, uintptr_t site,
                Place place);
    void read_shared(int thread, const void* address, unsigned bytes, Place place);
    void copy_async(void* shared, const void* global, unsigned bytes, unsigned valid, uintptr_t site,
                    Place place);
    void commit_copies();
    void wait_copies(unsigned pending);

    const Geometry& geometry;
    uint3 index{};
    Thread* thread = nullptr;
    SharedMemory shared;

    Thread& at(int number) { return *threads_[number]; }
    // Those threads leave a barrier at which they arrived.
    void join(const std::vector<int>& leaving, const std::vector<Arrival>& arrivals);

  private:
    struct Barrier {
        std::string name;
        Place place;
        unsigned expected = 0;
        std::vector<int> waiting;
        std::vector<Arrival> arrivals;
    };

    static void run_thread(void* thread);
    void wait(Thread::State state, std::string what, Place place);
    void release_if_complete();
    void release(Barrier& barrier);
    void make_ready(int number);
    int next();
    [[noreturn]] void deadlock();
    std::string names(const std::vector<int>& threads) const;
    Arrival arrival() const { return {thread->number, thread->knowledge}; }

    std::vector<std::unique_ptr<Thread>> threads_;
    std::vector<WarpTraffic> traffic_;
    std::vector<int> ready_;
    std::mt19937_64 random_;
    bool stack_order_ = false;
    unsigned live_ = 0;
    Barrier barriers_[16];
    void (*call_)(const void*) = nullptr;
    const void* arguments_ = nullptr;
    std::string fault_;
};

// Of the calling thread of the system, while it runs a kernel.
Block& current_block();
inline Thread& current_thread() { return *current_block().thread; }

}  // namespace fastconv::cuda::emulation
