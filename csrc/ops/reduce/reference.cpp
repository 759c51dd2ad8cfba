#include <limits>

#include "core/bfloat16.h"
#include "ops/reduce/kernels.h"

namespace fastconv {

double neutral(ReduceKind kind) {
    const double infinity = std::numeric_limits<double>::infinity();
    return kind == ReduceKind::amax   ? -infinity
           : kind == ReduceKind::amin ? infinity
           : kind == ReduceKind::prod ? 1
                                      : 0;
}

template <class T>
void reduce_reference(ReduceKind kind, const Shape& shape, const ReduceDims& dims, const T* x, double* y) {
    int64_t stride[kMaxDims] = {}, index[kMaxDims] = {}, step = 1, total = 1;
    for (int i = shape.ndim - 1; i >= 0; --i) {
        total *= shape[i];
        if (dims.reduced[static_cast<size_t>(i)]) continue;
        stride[i] = step;
        step *= shape[i];
    }
    for (int64_t i = 0; i < total; ++i) {
        int64_t at = 0;
        for (int d = 0; d < shape.ndim; ++d) at += index[d] * stride[d];
        y[at] = reduced(kind, y[at], static_cast<double>(widen(x[i])));
        for (int d = shape.ndim - 1; d >= 0 && ++index[d] == shape[d]; --d) index[d] = 0;
    }
}

template void reduce_reference(ReduceKind, const Shape&, const ReduceDims&, const float*, double*);
template void reduce_reference(ReduceKind, const Shape&, const ReduceDims&, const double*, double*);
template void reduce_reference(ReduceKind, const Shape&, const ReduceDims&, const bfloat16*, double*);

}  // namespace fastconv
