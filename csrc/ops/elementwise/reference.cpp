#include "ops/elementwise/kernels.h"

namespace fastconv {

template <class T>
void binary_reference(Binary kind, const BinaryLoops& loops, const T* a, const T* b, T* out) {
    int64_t index[kMaxDims] = {};
    for (int64_t i = 0; i < loops.total; ++i) {
        int64_t at_a = 0, at_b = 0;
        for (int d = 0; d < loops.ndim; ++d) {
            at_a += index[d] * loops.a[d];
            at_b += index[d] * loops.b[d];
        }
        out[i] = kind == Binary::add ? a[at_a] + b[at_b] : a[at_a] * b[at_b];
        for (int d = loops.ndim - 1; d >= 0 && ++index[d] == loops.size[d]; --d) index[d] = 0;
    }
}

template void binary_reference(Binary, const BinaryLoops&, const float*, const float*, float*);
template void binary_reference(Binary, const BinaryLoops&, const double*, const double*, double*);

}  // namespace fastconv
