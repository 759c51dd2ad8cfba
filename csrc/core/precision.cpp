#include "core/precision.h"

#include <atomic>

#include "fastconv/error.h"

namespace fastconv {
namespace {

std::atomic<Precision> current{Precision::high};
constexpr Precision kAll[] = {Precision::highest, Precision::high, Precision::medium};

}  // namespace

Precision precision() noexcept { return current.load(std::memory_order_relaxed); }
void set_precision(Precision p) noexcept { current.store(p, std::memory_order_relaxed); }

const char* name(Precision p) {
    return p == Precision::highest ? "highest" : p == Precision::high ? "high" : "medium";
}

Precision precision_from_name(const std::string& text) {
    for (Precision p : kAll)
        if (text == name(p)) return p;
    throw ShapeError("set_precision: precision must be 'highest', 'high' or 'medium', got '" + text + "'");
}

}  // namespace fastconv
