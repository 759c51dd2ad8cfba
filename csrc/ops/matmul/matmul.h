// Products of matrices, many at once: the last two dimensions are the matrix, those in front broadcast.
#pragma once

#include <string>
#include <vector>

#include "fastconv/types.h"

namespace fastconv {

// a b, a b^T or a^T b, where T exchanges the last two dimensions: a product and its two gradients.
enum class MatmulKind : uint8_t { plain, transposed_b, transposed_a };

// ShapeError for an unknown name.
MatmulKind matmul_kind_from_name(const std::string& name);

// `count` products of (rows, depth) and (depth, columns) matrices; a and b say which matrix of their operand
// each of them takes.
struct MatmulProblem {
    DType dtype = DType::f32;
    MatmulKind kind = MatmulKind::plain;
    int64_t count = 1, rows = 0, depth = 0, columns = 0;
    std::vector<int64_t> a, b;
    Shape output;
};

// ShapeError naming `op` where the shapes do not fit.
MatmulProblem matmul_problem(const char* op, DType dtype, MatmulKind kind, const Shape& a, const Shape& b);

void matmul(const MatmulProblem& p, const void* a, const void* b, void* y);

}  // namespace fastconv
