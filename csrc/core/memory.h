// A caching pool of 64-byte aligned memory. Large blocks that go back to the system are mapped anew at the
// next allocation, and their page faults cost more than most ops; so results and workspaces are kept here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>

namespace fastconv {

inline constexpr size_t kAlignment = 64;

// Memory for `bytes` bytes (0 is fine), contents undefined; throws std::bad_alloc.
void* pool_alloc(size_t bytes);
void pool_free(void* p) noexcept;
// Gives every cached block back to the system.
void pool_empty() noexcept;

struct PoolStats {
    size_t in_use = 0;  // bytes handed out
    size_t cached = 0;  // bytes kept for reuse
    // Blocks asked of the system so far; unchanged by a call whose memory all came from the cache.
    uint64_t system_allocations = 0;
};
PoolStats pool_stats() noexcept;

// Scratch memory that lives as long as the object.
class Workspace {
  public:
    Workspace() = default;
    explicit Workspace(size_t bytes) : data_(bytes ? pool_alloc(bytes) : nullptr) {}
    ~Workspace() {
        if (data_) pool_free(data_);
    }
    Workspace(Workspace&& o) noexcept : data_(o.data_) { o.data_ = nullptr; }
    Workspace& operator=(Workspace&& o) noexcept {
        void* mine = data_;
        data_ = o.data_;
        o.data_ = mine;
        return *this;
    }
    Workspace(const Workspace&) = delete;
    Workspace& operator=(const Workspace&) = delete;

    template <class T>
    T* as() const {
        return static_cast<T*>(data_);
    }

  private:
    void* data_ = nullptr;
};

// Rounds `bytes` up to whole cache lines, for carving one workspace into parts.
inline constexpr size_t round_to_line(size_t bytes) {
    return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

}  // namespace fastconv
