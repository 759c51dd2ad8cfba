// Sums in double over fixed chunks. A chunk is summed by one thread in one order, whatever the team.
#include "cpu/parallel.h"
#include "ops/reduce/kernels.h"

namespace fastconv::FC_ISA_NS {
namespace {

constexpr int64_t kGrain = 16384;
constexpr int kLanes = 16;           // independent sums of a row
constexpr int64_t kColumnTile = 64;  // columns whose sums stay in registers or the first-level cache

template <class T>
inline double to_double(T v) {
    return static_cast<double>(widen(v));
}

template <class T>
double sum_row(const T* x, int64_t n) {
    double parts[kLanes] = {};
    int64_t i = 0;
    for (; i + kLanes <= n; i += kLanes)
        for (int l = 0; l < kLanes; ++l) parts[l] += to_double(x[i + l]);
    for (int l = 0; i < n; ++i, ++l) parts[l] += to_double(x[i]);
    for (int half = kLanes / 2; half > 0; half /= 2)
        for (int l = 0; l < half; ++l) parts[l] += parts[l + half];
    return parts[0];
}

template <class T>
void sum_columns(const T* x, int64_t rows, int64_t stride, int64_t columns, double* out) {
    double parts[kColumnTile];
    for (int64_t c = 0; c < columns; ++c) parts[c] = 0;
    if (columns == kColumnTile) {
        for (int64_t r = 0; r < rows; ++r)
            for (int64_t c = 0; c < kColumnTile; ++c) parts[c] += to_double(x[r * stride + c]);
    } else {
        for (int64_t r = 0; r < rows; ++r)
            for (int64_t c = 0; c < columns; ++c) parts[c] += to_double(x[r * stride + c]);
    }
    for (int64_t c = 0; c < columns; ++c) out[c] = parts[c];
}

template <class T>
void run(const ReduceStep& step, const T* x, double* out) {
    const int64_t size = step.size, inner = step.inner, chunk = step.chunk;
    const int64_t chunks = (size + chunk - 1) / chunk, tiles = (inner + kColumnTile - 1) / kColumnTile;
    const int64_t width = inner < kColumnTile ? inner : kColumnTile;
    const int64_t work = (size < chunk ? size : chunk) * width;
    parallel_for(step.outer * chunks * tiles, work ? kGrain / work + 1 : kGrain,
                 [&](int64_t begin, int64_t end, int) {
                     for (int64_t i = begin; i < end; ++i) {
                         const int64_t tile = i % tiles, k = i / tiles % chunks, o = i / tiles / chunks;
                         const int64_t first = k * chunk, rows = size - first < chunk ? size - first : chunk;
                         const int64_t column = tile * kColumnTile;
                         const T* from = x + (o * size + first) * inner + column;
                         double* to = out + (o * chunks + k) * inner + column;
                         if (inner == 1)
                             *to = sum_row(from, rows);
                         else
                             sum_columns(from, rows, inner,
                                         inner - column < kColumnTile ? inner - column : kColumnTile, to);
                     }
                 });
}

}  // namespace

void reduce_step_f32(const ReduceStep& step, const float* x, double* out) { run(step, x, out); }
void reduce_step_bf16(const ReduceStep& step, const bfloat16* x, double* out) { run(step, x, out); }
void reduce_step_f64(const ReduceStep& step, const double* x, double* out) { run(step, x, out); }

}  // namespace fastconv::FC_ISA_NS
