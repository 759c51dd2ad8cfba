// What conv2d.cpp chooses among. A candidate says whether it takes a problem and what memory it wants; the
// caller brings that memory, and `run` neither allocates nor throws.
#pragma once

#include <cstddef>

#include "core/memory.h"
#include "ops/conv2d/conv2d.h"

namespace fastconv {

// Hands out parts of one block of memory, line by line. Made without a block it only counts, so that the same
// code answers how much it wants.
class Arena {
  public:
    Arena() = default;
    explicit Arena(void* base) : base_(static_cast<char*>(base)), counting_(false) {}
    template <class T>
    T* take(size_t count) {
        char* part = counting_ ? nullptr : base_ + used_;
        used_ += round_to_line(count * sizeof(T));
        return reinterpret_cast<T*>(part);
    }
    bool counting() const { return counting_; }
    size_t used() const { return used_; }

  private:
    char* base_ = nullptr;
    bool counting_ = true;
    size_t used_ = 0;
};

// Residual and activation as a pass over the output, which has no pitch: for candidates that do not apply
// them as they store.
void apply_epilogue(const Conv2dProblem& p, ConvDirection direction, const ConvEpilogue& e, void* out);

// fprop or dgrad: `in` is x or dy, `out` is y or dx.
struct ConvCandidate {
    const char* name;
    // Why it cannot take this problem, or null.
    const char* (*declines)(const Conv2dProblem&);
    // Whether `run` applies residual and activation as it stores; otherwise a pass over `out` follows. Every
    // candidate adds the bias.
    bool fuses;
    // Weights in the kernel's own order, or null where it reads them as they are. Packed weights do not
    // depend on the batch size.
    size_t (*packed_bytes)(const Conv2dProblem&);
    void (*pack)(const Conv2dProblem&, const void* weight, void* packed);
    // Takes its scratch memory, for `args.team` workers, from the arena; returns then if the arena is only
    // counting (the arrays in `args` are null in that case).
    void (*run)(const Conv2dProblem&, const ConvArgs& args, Arena& arena);
    // Why the choice should pass it over though it could take the problem, or null.
    const char* (*unwanted)(const Conv2dProblem&) = nullptr;
    // Whether `run` without packed weights beats packing for a single call.
    bool (*packs_itself)(const Conv2dProblem&, int team) = nullptr;
    // Whether `run` applies args.prologue to x as it reads it; otherwise it gets a copy of x that is
    // normalised.
    bool (*fuses_prologue)(const Conv2dProblem&) = nullptr;
    // Whether `run` takes args.statistics as it stores; otherwise a pass over `out` follows.
    bool fuses_statistics = false;
    // Whether the problem's pitches may be set; otherwise `run` gets copies without.
    bool pitched = false;
    // Whether it is chosen only where weights would be packed for one run: not where they are packed once for
    // many.
    bool single = false;
    // Whether `run` applies an activation that follows the bias alone, where it does not fuse more.
    bool (*fuses_activation)(const Conv2dProblem&, Activation) = nullptr;
    // dgrad: whether `run` takes args.sums as it stores; nothing else does.
    bool (*fuses_sums)(const Conv2dProblem&) = nullptr;
};

struct WgradCandidate {
    const char* name;
    const char* (*declines)(const Conv2dProblem&);
    void (*run)(const Conv2dProblem&, const WgradArgs& args, Arena& arena);
    const char* (*unwanted)(const Conv2dProblem&) = nullptr;
    bool pitched_x = false, pitched_dy = false;
    bool (*fuses_prologue)(const Conv2dProblem&) = nullptr;
};

}  // namespace fastconv
