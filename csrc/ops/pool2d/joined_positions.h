// Where maxima of volumes lie, from the maxima of their planes and then of the depth.
#pragma once

#include "fastconv/types.h"

namespace fastconv {

struct ArrayType {
    DType dtype;
    Shape shape;
};

class JoinedPositions {
  public:
    // Two int64 arrays that differ in dimensions `dim`, the depth, alone: `inside` says where in its plane of
    // `plane` elements each maximum of a plane lies, (..., depth, maxima of a plane, ...), and `along`, of
    // the result's shape, which depth * maxima + maximum of those is a window's. DTypeError or ShapeError
    // where they do not fit.
    JoinedPositions(const char* op, const ArrayType& inside, const ArrayType& along, int64_t plane,
                    int64_t dim);

    // out = depth * plane + place in the plane. Entries of `along` that no pooling gives become -1.
    void run(const int64_t* inside, const int64_t* along, int64_t* out) const;

  private:
    // Maxima of a plane, those of all planes of a volume, results of a volume, and what lies behind.
    int64_t outer_ = 1, area_ = 1, maxima_ = 1, results_ = 1, inner_ = 1, plane_;
};

}  // namespace fastconv
