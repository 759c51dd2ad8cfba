// Lanes along what lies behind the dimension; where nothing does, an element at a time. Every output is
// summed in the order of its taps.
#include "cpu/parallel.h"
#include "ops/resample/kernels.h"

namespace fastconv::FC_ISA_NS {
namespace {

constexpr int64_t kGrain = 16384;

// Outputs [o, until) of one row of elements.
template <class T>
void elements(const ResampleTable& table, const float* weight, const T* x, T* y, int64_t o, int64_t until) {
    for (; o < until; ++o) {
        float sum = 0;
        for (int64_t t = table.begin[o]; t < table.begin[o + 1]; ++t)
            sum += weight[t] * widen(x[table.index[t]]);
        y[o] = narrow<T>(sum);
    }
}

// One output of `inner` elements.
template <class T>
void line(const ResampleTable& table, const float* weight, int64_t inner, const T* x, T* y, int64_t o) {
    const int64_t first = table.begin[o], last = table.begin[o + 1];
    const auto sum = [&](int64_t i, auto get) {
        vf total = set1(0.0f);
        for (int64_t t = first; t < last; ++t)
            total = fma(set1(weight[t]), get(x + table.index[t] * inner + i), total);
        return total;
    };
    int64_t i = 0;
    for (; i + VL <= inner; i += VL) store(y + i, sum(i, [](const T* p) { return load(p); }));
    const Tail rest = tail(inner - i);
    if (i < inner) store(y + i, sum(i, [rest](const T* p) { return load(p, rest); }), rest);
}

template <class T>
void run(const ResampleTable& table, const float* weight, int64_t outer, int64_t inner, const T* x, T* y) {
    const int64_t mean_taps = table.taps() / table.outputs + 1;
    parallel_for(
        outer * table.outputs, kGrain / (inner * mean_taps) + 1, [&](int64_t begin, int64_t end, int) {
            while (begin < end) {
                const int64_t n = begin / table.outputs, o = begin % table.outputs;
                const int64_t left = table.outputs - o, until = o + (left < end - begin ? left : end - begin);
                const T* from = x + n * table.inputs * inner;
                T* to = y + n * table.outputs * inner;
                if (inner == 1)
                    elements(table, weight, from, to, o, until);
                else
                    for (int64_t k = o; k < until; ++k) line(table, weight, inner, from, to + k * inner, k);
                begin += until - o;
            }
        });
}

}  // namespace

void resample_f32(const ResampleTable& table, const float* weight, int64_t outer, int64_t inner,
                  const float* x, float* y) {
    run(table, weight, outer, inner, x, y);
}
void resample_bf16(const ResampleTable& table, const float* weight, int64_t outer, int64_t inner,
                   const bfloat16* x, bfloat16* y) {
    run(table, weight, outer, inner, x, y);
}

}  // namespace fastconv::FC_ISA_NS
