#include "cpu/layout/convert.h"

#include "cpu/parallel.h"

namespace fastconv::FC_ISA_NS {
namespace {

constexpr int64_t kGrain = 32768;

template <class From, class To>
void convert(const From* from, To* to, int64_t n) {
    parallel_for(n, kGrain, [&](int64_t begin, int64_t end, int) {
        int64_t i = begin;
        for (; i + VL <= end; i += VL) store(to + i, load(from + i));
        if (i < end) store(to + i, load(from + i, tail(end - i)), tail(end - i));
    });
}

}  // namespace

void convert_bf16_to_f32(const bfloat16* from, float* to, int64_t n) { convert(from, to, n); }
void convert_f32_to_bf16(const float* from, bfloat16* to, int64_t n) { convert(from, to, n); }

}  // namespace fastconv::FC_ISA_NS
