#include "core/bfloat16.h"
#include "ops/resample/kernels.h"

namespace fastconv {

template <class T>
void resample_reference(const ResampleTable& table, int64_t outer, int64_t inner, const T* x, T* y) {
    for (int64_t n = 0; n < outer; ++n)
        for (int64_t o = 0; o < table.outputs; ++o)
            for (int64_t i = 0; i < inner; ++i) {
                Wide<T> sum = 0;
                for (int64_t t = table.begin[o]; t < table.begin[o + 1]; ++t) {
                    const Wide<T> v = widen(x[(n * table.inputs + table.index[t]) * inner + i]);
                    sum += table.weight ? static_cast<Wide<T>>(table.weight[t]) * v : v;
                }
                y[(n * table.outputs + o) * inner + i] = narrow<T>(sum);
            }
}

template void resample_reference(const ResampleTable&, int64_t, int64_t, const float*, float*);
template void resample_reference(const ResampleTable&, int64_t, int64_t, const double*, double*);

}  // namespace fastconv
