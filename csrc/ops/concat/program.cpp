// Nodes: concat(tensors ...), concat_backward(dy); attribute dim, and for the latter the pieces' sizes. With
// `in_place` the pieces lie in the joined array from the start.
#include "core/checks.h"
#include "ops/concat/concat.h"
#include "program/registry.h"

namespace fastconv::program {
namespace {

int axis_of(const Call& c) {
    const int64_t dim = c.attributes.get<int64_t>("dim");
    if (dim < 0 || dim >= c.in[0].shape.ndim)
        throw ShapeError(message(c.name, ": dim ", dim, " does not exist in ", to_string(c.in[0].shape)));
    return static_cast<int>(dim);
}

int64_t rows_before(const Shape& shape, int axis) {
    int64_t rows = 1;
    for (int i = 0; i < axis; ++i) rows *= shape[i];
    return rows;
}
int64_t row_bytes(const Type& type, int axis) {
    int64_t bytes = size_of(type.dtype);
    for (int i = axis; i < type.shape.ndim; ++i) bytes *= type.shape[i];
    return bytes;
}
// From a row to the next. Only arrays that are joined along their last dimension have a pitch.
int64_t row_step(const Type& type) { return type.pitch * size_of(type.dtype); }

// fn(pieces, count), the pieces having this run's memory.
template <class Fn>
void with_data(const std::vector<ConcatPiece>& sizes, void* const* data, const Fn& fn) {
    constexpr size_t kFew = 64;  // without an allocation
    ConcatPiece few[kFew];
    std::vector<ConcatPiece> many(sizes.size() > kFew ? sizes.size() : 0);
    ConcatPiece* pieces = many.empty() ? few : many.data();
    for (size_t i = 0; i < sizes.size(); ++i) pieces[i] = {data[i], sizes[i].bytes, sizes[i].step};
    fn(pieces, static_cast<int64_t>(sizes.size()));
}

std::vector<Type> infer(const Call& c) {
    c.operands(1, c.in.size());
    const int axis = axis_of(c);
    Type joined = c.in[0];
    joined.shape[axis] = 0, joined.pitch = 0;
    for (const Type& t : c.in) {
        require_dtype(c.name, "tensors", t.dtype, joined.dtype);
        Shape rest = t.shape;
        require_ndim(c.name, "tensors", rest, joined.shape.ndim);
        rest[axis] = joined.shape[axis];
        require_shape(c.name, "tensors", rest, joined.shape);
        joined.shape[axis] += t.shape[axis];
    }
    return {joined};
}

std::unique_ptr<Step> prepare(const Call& c) {
    const int axis = axis_of(c);
    std::vector<ConcatPiece> sizes;
    for (const Type& t : c.in) sizes.push_back({nullptr, row_bytes(t, axis), row_step(t)});
    return make_step(
        [sizes, outer = rows_before(c.out[0].shape, axis), step = row_step(c.out[0])](const Frame& f) {
            with_data(sizes, f.in, [&](const ConcatPiece* pieces, int64_t count) {
                concat(pieces, count, outer, f.out[0], step);
            });
        });
}

std::vector<Type> backward_infer(const Call& c) {
    c.operands(1, 1);
    const int axis = axis_of(c);
    std::vector<Type> result;
    int64_t total = 0;
    for (int64_t size : c.attributes.get<std::vector<int64_t>>("sizes")) {
        result.push_back({c.in[0].dtype, c.in[0].shape});
        result.back().shape[axis] = size;
        total += size;
    }
    if (total != c.in[0].shape[axis]) throw ShapeError(message(c.name, ": sizes do not add up"));
    return result;
}

std::unique_ptr<Step> backward_prepare(const Call& c) {
    const int axis = axis_of(c);
    std::vector<ConcatPiece> sizes;
    for (int64_t size : c.attributes.get<std::vector<int64_t>>("sizes")) {
        Type piece = c.in[0];
        piece.shape[axis] = size;
        sizes.push_back({nullptr, row_bytes(piece, axis)});
    }
    return make_step(
        [sizes, outer = rows_before(c.in[0].shape, axis), step = row_step(c.in[0])](const Frame& f) {
            with_data(sizes, f.out, [&](const ConcatPiece* pieces, int64_t count) {
                split(f.in[0], outer, pieces, count, step);
            });
        });
}

}  // namespace

void add_concat_kinds(KindList& list) {
    list.push_back({"concat", infer, prepare, 0, 0, 0, false, ~0u, 1u});
    list.push_back({"concat_backward", backward_infer, backward_prepare, 0, 0, ~0u, false, 1u, 0});
}

}  // namespace fastconv::program
