#include "ops/pool2d/joined_positions.h"

#include "core/checks.h"
#include "cpu/threads.h"

namespace fastconv {

JoinedPositions::JoinedPositions(const char* op, const ArrayType& inside, const ArrayType& along,
                                 int64_t plane, int64_t dim)
    : plane_(plane) {
    require_dtype(op, "inside", inside.dtype, DType::i64);
    require_dtype(op, "along", along.dtype, DType::i64);
    const int ndim = inside.shape.ndim;
    if (dim < 0 || dim + 1 >= ndim)
        throw ShapeError(
            message(op, ": dim ", dim, " and the next do not exist in ", to_string(inside.shape)));
    const int at = static_cast<int>(dim);
    Shape like = along.shape;
    require_ndim(op, "along", like, ndim);
    like[at] = inside.shape[at];
    require_shape(op, "along", like, inside.shape);
    for (int d = 0; d < at; ++d) outer_ *= like[d];
    area_ = like[at + 1];
    maxima_ = inside.shape[at] * area_;
    results_ = along.shape[at] * area_;
    for (int d = at + 2; d < ndim; ++d) inner_ *= like[d];
}

void JoinedPositions::run(const int64_t* inside, const int64_t* along, int64_t* out) const {
    struct Work {
        const JoinedPositions& p;
        const int64_t *inside, *along;
        int64_t* out;
    } work{*this, inside, along, out};
    parallel_run(
        outer_ * results_, 4096 / (inner_ + 1) + 1,
        [](void* context, int64_t begin, int64_t end, int) {
            const Work& w = *static_cast<const Work*>(context);
            const JoinedPositions& p = w.p;
            for (int64_t row = begin; row < end; ++row)
                for (int64_t i = 0; i < p.inner_; ++i) {
                    const int64_t to = row * p.inner_ + i, at = w.along[to];
                    const bool there = at >= 0 && at < p.maxima_;
                    const int64_t from = (row / p.results_ * p.maxima_ + at) * p.inner_ + i;
                    w.out[to] = there ? at / p.area_ * p.plane_ + w.inside[from] : -1;
                }
        },
        &work, num_threads());
}

}  // namespace fastconv
