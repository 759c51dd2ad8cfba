// Reductions in double over fixed chunks. A chunk is reduced by one thread in one order, whatever the team.
#include "cpu/parallel.h"
#include "ops/reduce/kernels.h"

namespace fastconv::FC_ISA_NS {
namespace {

constexpr int64_t kGrain = 16384;
constexpr int kLanes = 16;           // independent results of a row
constexpr int64_t kColumnTile = 64;  // columns whose results stay in registers or the first-level cache

// Eight elements as doubles, in the compiler's vectors: a loop over an array of sums was vectorised by
// halves.
typedef float f8 __attribute__((vector_size(32)));
typedef double d8 __attribute__((vector_size(64)));
typedef uint16_t h8 __attribute__((vector_size(16)));
typedef uint32_t w8 __attribute__((vector_size(32)));

inline d8 load8(const float* p) {
    f8 v;
    __builtin_memcpy(&v, p, sizeof v);
    return __builtin_convertvector(v, d8);
}
inline d8 load8(const double* p) {
    d8 v;
    __builtin_memcpy(&v, p, sizeof v);
    return v;
}
inline d8 load8(const bfloat16* p) {
    h8 v;
    __builtin_memcpy(&v, p, sizeof v);
    return __builtin_convertvector((f8)(__builtin_convertvector(v, w8) << 16), d8);
}

template <class T>
inline double to_double(T v) {
    return static_cast<double>(widen(v));
}

// What is reduced so far and one more term, of eight results or of one.
struct Sum {
    static constexpr double kNeutral = 0;
    template <class V>
    static V join(V a, V b) {
        return a + b;
    }
};
struct Product {
    static constexpr double kNeutral = 1;
    template <class V>
    static V join(V a, V b) {
        return a * b;
    }
};
struct Largest {
    static constexpr double kNeutral = -__builtin_inf();
    template <class V>
    static V join(V a, V b) {
        const V larger = a > b ? a : b;
        return a != a ? a : larger;
    }
};
struct Smallest {
    static constexpr double kNeutral = __builtin_inf();
    template <class V>
    static V join(V a, V b) {
        const V smaller = a < b ? a : b;
        return a != a ? a : smaller;
    }
};

template <class Op, class T>
double reduce_row(const T* x, int64_t n) {
    d8 low = d8{} + Op::kNeutral, high = low;
    int64_t i = 0;
    for (; i + kLanes <= n; i += kLanes) {
        low = Op::join(low, load8(x + i));
        high = Op::join(high, load8(x + i + 8));
    }
    double parts[kLanes];
    for (int l = 0; l < 8; ++l) {
        parts[l] = low[l];
        parts[8 + l] = high[l];
    }
    for (int l = 0; i < n; ++i, ++l) parts[l] = Op::join(parts[l], to_double(x[i]));
    for (int half = kLanes / 2; half > 0; half /= 2)
        for (int l = 0; l < half; ++l) parts[l] = Op::join(parts[l], parts[l + half]);
    return parts[0];
}

template <class Op, class T>
void reduce_columns(const T* x, int64_t rows, int64_t stride, int64_t columns, double* out) {
    if (columns == kColumnTile) {
        d8 parts[kColumnTile / 8];
        for (d8& p : parts) p = d8{} + Op::kNeutral;
        for (int64_t r = 0; r < rows; ++r)
            for (int64_t k = 0; k < kColumnTile / 8; ++k)
                parts[k] = Op::join(parts[k], load8(x + r * stride + 8 * k));
        for (int64_t c = 0; c < kColumnTile; ++c) out[c] = parts[c / 8][c % 8];
        return;
    }
    double parts[kColumnTile];
    for (int64_t c = 0; c < columns; ++c) parts[c] = Op::kNeutral;
    for (int64_t r = 0; r < rows; ++r)
        for (int64_t c = 0; c < columns; ++c) parts[c] = Op::join(parts[c], to_double(x[r * stride + c]));
    for (int64_t c = 0; c < columns; ++c) out[c] = parts[c];
}

template <class Op, class T>
void run_as(const ReduceStep& step, const T* x, double* out) {
    const int64_t size = step.size, inner = step.inner, chunk = step.chunk;
    const int64_t chunks = (size + chunk - 1) / chunk, tiles = (inner + kColumnTile - 1) / kColumnTile;
    const int64_t width = inner < kColumnTile ? inner : kColumnTile;
    const int64_t work = (size < chunk ? size : chunk) * width;
    parallel_for(
        step.outer * chunks * tiles, work ? kGrain / work + 1 : kGrain, [&](int64_t begin, int64_t end, int) {
            for (int64_t i = begin; i < end; ++i) {
                const int64_t tile = i % tiles, k = i / tiles % chunks, o = i / tiles / chunks;
                const int64_t first = k * chunk, rows = size - first < chunk ? size - first : chunk;
                const int64_t column = tile * kColumnTile;
                const T* from = x + (o * size + first) * inner + column;
                double* to = out + (o * chunks + k) * inner + column;
                if (inner == 1)
                    *to = reduce_row<Op>(from, rows);
                else
                    reduce_columns<Op>(from, rows, inner,
                                       inner - column < kColumnTile ? inner - column : kColumnTile, to);
            }
        });
}

template <class T>
void run(const ReduceStep& step, const T* x, double* out) {
    switch (step.kind) {
        case ReduceKind::amax:
            return run_as<Largest>(step, x, out);
        case ReduceKind::amin:
            return run_as<Smallest>(step, x, out);
        case ReduceKind::prod:
            return run_as<Product>(step, x, out);
        default:
            return run_as<Sum>(step, x, out);
    }
}

}  // namespace

void reduce_step_f32(const ReduceStep& step, const float* x, double* out) { run(step, x, out); }
void reduce_step_bf16(const ReduceStep& step, const bfloat16* x, double* out) { run(step, x, out); }
void reduce_step_f64(const ReduceStep& step, const double* x, double* out) { run(step, x, out); }

}  // namespace fastconv::FC_ISA_NS
