// What a node says besides its operands: a few named values.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "fastconv/error.h"

namespace fastconv::program {

using Attribute = std::variant<bool, int64_t, double, std::string, std::vector<int64_t>>;

class Attributes {
  public:
    void set(const std::string& name, Attribute value) {
        for (auto& [key, old] : entries_)
            if (key == name) {
                old = std::move(value);
                return;
            }
        entries_.emplace_back(name, std::move(value));
    }
    bool has(const char* name) const { return find(name) != nullptr; }

    // The value called `name`; ShapeError where there is none of that type.
    template <class T>
    const T& get(const char* name) const {
        const Attribute* found = find(name);
        const T* value = found ? std::get_if<T>(found) : nullptr;
        if (!value) throw ShapeError(message("program: a node lacks the attribute '", name, "'"));
        return *value;
    }
    template <class T>
    T get_or(const char* name, T otherwise) const {
        return has(name) ? get<T>(name) : otherwise;
    }
    bool flag(const char* name) const { return get_or<bool>(name, false); }
    // A number written either way.
    double number(const char* name) const {
        const Attribute* found = find(name);
        if (const int64_t* whole = found ? std::get_if<int64_t>(found) : nullptr)
            return static_cast<double>(*whole);
        return get<double>(name);
    }
    const std::vector<std::pair<std::string, Attribute>>& entries() const { return entries_; }

  private:
    const Attribute* find(const std::string& name) const {
        for (const auto& [key, value] : entries_)
            if (key == name) return &value;
        return nullptr;
    }
    std::vector<std::pair<std::string, Attribute>> entries_;
};

}  // namespace fastconv::program
