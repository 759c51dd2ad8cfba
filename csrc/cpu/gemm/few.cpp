#include "cpu/gemm/few.h"

#include "cpu/simd/unrolled.h"

namespace fastconv::FC_ISA_NS {
namespace {

template <int D, int NV>
void few_rows(const FewRows& t) {
    const Tail last = tail(t.columns - (NV - 1) * VL);
    vf w[D][NV], bias[NV];
    unrolled<D, NV>([&](auto k, auto j) FC_INLINE { w[k][j] = load(t.b + (k * NV + j) * VL); });
    unrolled<NV>([&](auto j) FC_INLINE {
        bias[j] = !t.bias ? zero() : j == NV - 1 ? load(t.bias + j * VL, last) : load(t.bias + j * VL);
    });
    const float* a = t.a;
    float* c = t.c;
    for (int64_t i = 0; i < t.count; ++i, a += t.a_step, c += t.c_step) {
        // The order of the microkernel's sums, so that the bits are the same whichever of the two runs.
        vf acc[NV], odd = zero();
        unrolled<NV>([&](auto j) FC_INLINE { acc[j] = zero(); });
        unrolled<D>([&](auto k) FC_INLINE {
            const vf x = set1(a[k]);
            if constexpr (NV == 1 && k % 2 == 1 && k < D / kSteps * kSteps)
                odd = fma(x, w[k][0], odd);
            else
                unrolled<NV>([&](auto j) FC_INLINE { acc[j] = fma(x, w[k][j], acc[j]); });
        });
        if constexpr (NV == 1 && D >= kSteps) acc[0] = acc[0] + odd;
        unrolled<NV>([&](auto j) FC_INLINE { acc[j] = acc[j] + bias[j]; });
        unrolled<NV - 1>([&](auto j) FC_INLINE { store(c + j * VL, acc[j]); });
        store(c + (NV - 1) * VL, acc[NV - 1], last);
    }
}

template <int D, int... NV>
FewKernel pick(int nv, std::integer_sequence<int, NV...>) {
    static constexpr FewKernel kernels[] = {&few_rows<D, NV + 1>...};
    return kernels[nv - 1];
}
template <int D>
FewKernel pick(int nv) {
    return pick<D>(nv, std::make_integer_sequence<int, few_vectors(D)>{});
}
template <int... D>
FewKernel pick(int64_t depth, int nv, std::integer_sequence<int, D...>) {
    static constexpr FewKernel (*picks[])(int) = {&pick<D + 1>...};
    return picks[depth - 1](nv);
}

}  // namespace

FewKernel few_kernel(int64_t depth, int nv) {
    return pick(depth, nv, std::make_integer_sequence<int, kMostFew>{});
}

}  // namespace fastconv::FC_ISA_NS
