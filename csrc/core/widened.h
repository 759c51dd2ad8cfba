// bfloat16 arrays through code that has no bfloat16 form of its own: float32 copies of the operands, and a
// float32 result that is rounded at the end. Arrays of other types pass through as they are.
#pragma once

#include "core/memory.h"
#include "fastconv/types.h"

namespace fastconv {

// An operand; a view without data stays one.
class WidenedIn {
  public:
    WidenedIn(const char* op, const TensorView& source);
    const TensorView& view() const { return view_; }

  private:
    Workspace copy_;
    TensorView view_;
};

// A result, or with `update` an array that is read and written. round() writes the bfloat16 array.
class WidenedOut {
  public:
    WidenedOut(const char* op, const TensorView& target, bool update = false);
    const TensorView& view() const { return view_; }
    void round() const;

  private:
    Workspace copy_;
    TensorView view_, target_;
    int64_t count_ = 0;
};

}  // namespace fastconv
