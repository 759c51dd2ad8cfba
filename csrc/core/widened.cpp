#include "core/widened.h"

#include "core/checks.h"
#include "cpu/layout/convert.h"

namespace fastconv {
namespace {

bool narrow_view(const TensorView& v) { return v.data && v.dtype == DType::bf16; }

// `view` becomes float32 in memory of its own.
Workspace widen_into(const char* op, const TensorView& source, bool read, TensorView& view) {
    const int64_t count = element_count(op, source.shape);
    Workspace copy(static_cast<size_t>(count) * sizeof(float));
    if (read) FC_ISA_PICK(convert_bf16_to_f32)(source.as<bfloat16>(), copy.as<float>(), count);
    view.dtype = DType::f32;
    view.data = copy.as<void>();
    return copy;
}

}  // namespace

WidenedIn::WidenedIn(const char* op, const TensorView& source) : view_(source) {
    if (narrow_view(source)) copy_ = widen_into(op, source, true, view_);
}

WidenedOut::WidenedOut(const char* op, const TensorView& target, bool update)
    : view_(target), target_(target) {
    if (!narrow_view(target)) return;
    count_ = element_count(op, target.shape);
    copy_ = widen_into(op, target, update, view_);
}

void WidenedOut::round() const {
    if (narrow_view(target_))
        FC_ISA_PICK(convert_f32_to_bf16)(view_.as<float>(), target_.as<bfloat16>(), count_);
}

}  // namespace fastconv
