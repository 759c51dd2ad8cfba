#include "core/memory.h"

#include <pthread.h>
#include <sys/mman.h>

#include <cstdlib>
#include <mutex>
#include <unordered_map>
#include <vector>

namespace fastconv {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;
constexpr size_t kMaxCached = size_t{2} << 30;

// Every block starts with one cache line that records its capacity; the caller's memory follows.
struct Header {
    size_t capacity;
};
static_assert(sizeof(Header) <= kAlignment);

// Capacities come in steps of an eighth of the power of two below, so at most an eighth is wasted.
size_t capacity_for(size_t bytes) {
    if (bytes <= 256) return 256;
    size_t power = 256;
    while (power * 2 <= bytes) {
        if (power > (SIZE_MAX >> 2)) throw std::bad_alloc();
        power *= 2;
    }
    const size_t step = power / 8;
    return (bytes + step - 1) / step * step;
}

class Pool {
  public:
    void* alloc(size_t bytes) {
        if (bytes > SIZE_MAX / 4) throw std::bad_alloc();
        const size_t capacity = capacity_for(bytes);
        {
            std::lock_guard<std::mutex> lock(mutex_);
            auto found = free_.find(capacity);
            if (found != free_.end() && !found->second.empty()) {
                void* p = found->second.back();
                found->second.pop_back();
                stats_.cached -= capacity;
                stats_.in_use += capacity;
                return p;
            }
        }
        void* p = map(capacity);
        if (!p) {
            empty();
            p = map(capacity);
            if (!p) throw std::bad_alloc();
        }
        std::lock_guard<std::mutex> lock(mutex_);
        stats_.in_use += capacity;
        ++stats_.system_allocations;
        return p;
    }

    void free(void* p) noexcept {
        const size_t capacity = header(p)->capacity;
        std::lock_guard<std::mutex> lock(mutex_);
        stats_.in_use -= capacity;
        if (stats_.cached + capacity <= kMaxCached) {
            try {
                free_[capacity].push_back(p);
                stats_.cached += capacity;
                return;
            } catch (const std::bad_alloc&) {
                // No memory to remember the block by: give it back instead.
            }
        }
        unmap(p);
    }

    void empty() noexcept {
        std::lock_guard<std::mutex> lock(mutex_);
        for (auto& [capacity, blocks] : free_) {
            for (void* p : blocks) unmap(p);
            blocks.clear();
        }
        stats_.cached = 0;
    }

    PoolStats stats() noexcept {
        std::lock_guard<std::mutex> lock(mutex_);
        return stats_;
    }

    std::mutex& mutex() { return mutex_; }

  private:
    static Header* header(void* p) { return reinterpret_cast<Header*>(static_cast<char*>(p) - kAlignment); }

    static void* map(size_t capacity) noexcept {
        void* base = nullptr;
        const bool huge = capacity >= 2 * kHugePage;
        if (posix_memalign(&base, huge ? kHugePage : kAlignment, capacity + kAlignment) != 0) return nullptr;
#ifdef MADV_HUGEPAGE
        if (huge) madvise(base, capacity, MADV_HUGEPAGE);
#endif
        void* p = static_cast<char*>(base) + kAlignment;
        header(p)->capacity = capacity;
        return p;
    }
    static void unmap(void* p) noexcept { std::free(header(p)); }

    std::mutex mutex_;
    std::unordered_map<size_t, std::vector<void*>> free_;
    PoolStats stats_;
};

// Leaked on purpose: arrays may outlive every static destructor. A fork takes the lock first, so that the
// child never inherits it held by a thread that it does not have.
Pool& pool() {
    static Pool* instance = [] {
        auto* p = new Pool;
        pthread_atfork([] { pool().mutex().lock(); }, [] { pool().mutex().unlock(); },
                       [] { pool().mutex().unlock(); });
        return p;
    }();
    return *instance;
}

}  // namespace

void* pool_alloc(size_t bytes) { return pool().alloc(bytes); }
void pool_free(void* p) noexcept { pool().free(p); }
void pool_empty() noexcept { pool().empty(); }
PoolStats pool_stats() noexcept { return pool().stats(); }

}  // namespace fastconv
