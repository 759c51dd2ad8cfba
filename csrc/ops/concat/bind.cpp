#include <limits>
#include <vector>

#include "bindings/bindings.h"
#include "ops/concat/concat.h"

namespace fastconv::bindings {
namespace {

constexpr const char* kOp = "concat";

int64_t product(const int64_t* begin, const int64_t* end) {
    int64_t n = 1;
    for (; begin != end; ++begin) n *= *begin;
    return n;
}

void require_dim(int64_t dim, const Shape& shape) {
    if (dim < 0 || dim >= shape.ndim)
        throw ShapeError(message(kOp, ": dim ", dim, " does not exist in shape ", to_string(shape)));
}

py::array join(py::sequence tensors, py::object dimension) {
    if (tensors.size() == 0) throw ShapeError("concat: needs at least one array");
    std::vector<ArrayIn> arrays;
    arrays.reserve(tensors.size());
    for (size_t i = 0; i < tensors.size(); ++i)
        arrays.emplace_back(kOp, message("tensors[", i, "]").c_str(), tensors[i]);
    const int64_t dim = to_int(kOp, "dim", dimension);
    Shape shape = arrays[0].shape();
    require_dim(dim, shape);
    shape[static_cast<int>(dim)] = 0;
    std::vector<ConcatPiece> pieces;
    for (size_t i = 0; i < arrays.size(); ++i) {
        const std::string what = message("tensors[", i, "]");
        require_dtype(kOp, what.c_str(), arrays[i].dtype(), arrays[0].dtype());
        Shape rest = arrays[i].shape();
        const int64_t size = dim < rest.ndim ? rest[static_cast<int>(dim)] : 0;
        if (dim < rest.ndim) rest[static_cast<int>(dim)] = shape[static_cast<int>(dim)];
        if (rest != shape)
            throw ShapeError(message(kOp, ": ", what, " has shape ", to_string(arrays[i].shape()),
                                     ", which differs from ", to_string(arrays[0].shape()),
                                     " in more than dimension ", dim));
        // Empty arrays may claim any size: the sum must still be one.
        if (size > std::numeric_limits<int64_t>::max() - shape[static_cast<int>(dim)])
            throw ShapeError(message(kOp, ": the joined size of dimension ", dim, " is too large"));
        shape[static_cast<int>(dim)] += size;
        const Shape& s = arrays[i].shape();
        pieces.push_back({const_cast<void*>(arrays[i].data()),
                          product(s.begin() + dim, s.end()) * size_of(arrays[0].dtype())});
    }
    ArrayOut out(kOp, arrays[0].dtype(), shape);
    {
        const Computing computing;
        concat(pieces.data(), static_cast<int64_t>(pieces.size()),
               product(shape.begin(), shape.begin() + dim), out.data());
    }
    return out.release();
}

// The gradients of the joined arrays whose sizes along `dim` are given, None for those not needed.
py::list cut(py::object grad_output, py::object dimension, py::sequence sizes, py::sequence needs) {
    const ArrayIn g(kOp, "grad_output", grad_output);
    const int64_t dim = to_int(kOp, "dim", dimension);
    require_dim(dim, g.shape());
    if (sizes.size() != needs.size()) throw ShapeError("concat: sizes and needs must have the same length");
    const int axis = static_cast<int>(dim);
    const int64_t inner = product(g.shape().begin() + axis + 1, g.shape().end()) * size_of(g.dtype());
    std::vector<ArrayOut> outputs;
    std::vector<ConcatPiece> pieces;
    int64_t total = 0;
    for (size_t i = 0; i < sizes.size(); ++i) {
        const int64_t size = to_int(kOp, "sizes", sizes[i]);
        if (size < 0 || size > g.shape()[axis] - total)
            throw ShapeError(message(kOp, ": sizes do not add up to ", g.shape()[axis]));
        total += size;
        pieces.push_back({nullptr, size * inner});
        if (!py::bool_(py::object(needs[i]))) continue;
        Shape shape = g.shape();
        shape[axis] = size;
        outputs.emplace_back(kOp, g.dtype(), shape);
        pieces.back().data = outputs.back().data();
    }
    if (total != g.shape()[axis])
        throw ShapeError(message(kOp, ": sizes do not add up to ", g.shape()[axis]));
    {
        const Computing computing;
        split(g.data(), product(g.shape().begin(), g.shape().begin() + axis), pieces.data(),
              static_cast<int64_t>(pieces.size()));
    }
    py::list result;
    size_t next = 0;
    for (const ConcatPiece& piece : pieces)
        result.append(piece.data ? py::object(outputs[next++].release()) : py::object(py::none()));
    return result;
}

}  // namespace

void bind_concat(py::module_& m) {
    m.def("concat", &join, py::arg("tensors"), py::arg("dim"));
    m.def("concat_backward", &cut, py::arg("grad_output"), py::arg("dim"), py::arg("sizes"),
          py::arg("needs"));
}

}  // namespace fastconv::bindings
