// What is made of weights that never change (folded, packed), kept for all plans of a program: another batch
// size then costs no pass over the weights.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "core/memory.h"

namespace fastconv::program {

class WeightCache {
  public:
    using Entry = std::shared_ptr<const Workspace>;
    // The entry called `key`, made by fill(memory of so many bytes) the first time.
    template <class Fill>
    Entry get(const std::string& key, size_t bytes, const Fill& fill) {
        const std::lock_guard<std::mutex> lock(mutex_);
        Entry& entry = entries_[key];
        if (!entry) {
            auto made = std::make_shared<const Workspace>(bytes);
            fill(made->as<void>());
            entry = std::move(made);
        }
        return entry;
    }

  private:
    std::mutex mutex_;
    std::map<std::string, Entry> entries_;
};

}  // namespace fastconv::program
