#include <cmath>

#include "ops/elementwise/kernels.h"

namespace fastconv {
namespace {

template <class T>
T value(Binary kind, T a, T b) {
    switch (kind) {
        case Binary::add:
            return a + b;
        case Binary::mul:
            return a * b;
        case Binary::sub:
            return a - b;
        case Binary::div:
            return a / b;
        case Binary::maximum:
            return a > b || std::isnan(a) ? a : b;
        case Binary::minimum:
            return a < b || std::isnan(a) ? a : b;
        case Binary::pow:
            return std::pow(a, b);
        case Binary::prelu:
            return a > T(0) ? a : a * b;
        case Binary::equal:
            return a == b ? T(1) : T(0);
        case Binary::div_by_b:
            return -(a / b) / b;
        case Binary::maximum_by_a:
            return a == b ? T(0.5) : a < b ? T(0) : T(1);
        case Binary::minimum_by_a:
            return a == b ? T(0.5) : a > b ? T(0) : T(1);
        case Binary::pow_by_a:
            return b == T(0) ? T(0) : b * std::pow(a, b - T(1));
        case Binary::pow_by_b:
            return a == T(0) && b >= T(0) ? T(0) : std::pow(a, b) * std::log(a);
        case Binary::prelu_by_a:
            return a > T(0) ? T(1) : b;
        case Binary::prelu_by_b:
            return a > T(0) ? T(0) : a;
    }
    return a;
}

}  // namespace

template <class T>
void binary_reference(Binary kind, const BinaryLoops& loops, const T* a, const T* b, T* out) {
    int64_t index[kMaxDims] = {};
    for (int64_t i = 0; i < loops.total; ++i) {
        int64_t at_a = 0, at_b = 0;
        for (int d = 0; d < loops.ndim; ++d) {
            at_a += index[d] * loops.a[d];
            at_b += index[d] * loops.b[d];
        }
        out[i] = value(kind, a[at_a], b[at_b]);
        for (int d = loops.ndim - 1; d >= 0 && ++index[d] == loops.size[d]; --d) index[d] = 0;
    }
}

template void binary_reference(Binary, const BinaryLoops&, const float*, const float*, float*);
template void binary_reference(Binary, const BinaryLoops&, const double*, const double*, double*);

}  // namespace fastconv
