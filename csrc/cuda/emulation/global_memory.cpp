#include "global_memory.h"

#include <map>
#include <mutex>
#include <sstream>
#include <stdexcept>

namespace fastconv::cuda::emulation {

namespace {

struct Region {
    size_t bytes;
    std::string name;
    bool writable;
};

std::shared_mutex mutex;

std::map<uintptr_t, Region>& regions() {
    static auto* all = new std::map<uintptr_t, Region>;
    return *all;
}

}  // namespace

GlobalBuffer::GlobalBuffer(const void* begin, size_t bytes, std::string name, bool writable)
    : begin_(reinterpret_cast<uintptr_t>(begin)) {
    std::unique_lock lock(mutex);
    if (!regions().emplace(begin_, Region{bytes, std::move(name), writable}).second)
        throw std::invalid_argument("GlobalBuffer: this memory is registered already");
}

GlobalBuffer::~GlobalBuffer() {
    std::unique_lock lock(mutex);
    regions().erase(begin_);
}

std::shared_lock<std::shared_mutex> keep_buffers() { return std::shared_lock(mutex); }

std::string wrong_with(const void* address, size_t bytes, bool store) {
    const auto at = reinterpret_cast<uintptr_t>(address);
    auto after = regions().upper_bound(at);
    std::ostringstream text;
    if (after != regions().begin()) {
        const auto& [begin, region] = *std::prev(after);
        if (at - begin <= region.bytes && bytes <= region.bytes - (at - begin)) {
            if (!store || region.writable) return "";
            text << "buffer '" << region.name << "' is not to be written";
            return text.str();
        }
        if (after == regions().end() || at - (begin + region.bytes) <= after->first - at) {
            text << "out of bounds: " << at - begin << " bytes behind the start of buffer '" << region.name
                 << "', which has " << region.bytes;
            return text.str();
        }
    }
    if (after == regions().end()) return "no buffer is registered";
    text << "out of bounds: " << after->first - at << " bytes before the start of buffer '"
         << after->second.name << "'";
    return text.str();
}

}  // namespace fastconv::cuda::emulation
