#include "ops/dropout/dropout.h"

#include "core/checks.h"
#include "ops/dropout/kernels.h"

namespace fastconv {

void dropout(const TensorView& x, double p, uint64_t key, const TensorView& y) {
    const int64_t n = element_count("dropout", x.shape);
    DropoutParams params;
    params.key = key;
    params.threshold = static_cast<uint64_t>(p * 4294967296.0);
    params.scale = p < 1 ? 1 / (1 - p) : 0;
    if (x.dtype == DType::f32) return FC_ISA_PICK(dropout_f32)(params, x.as<float>(), y.as<float>(), n);
    if (x.dtype == DType::bf16)
        return FC_ISA_PICK(dropout_bf16)(params, x.as<bfloat16>(), y.as<bfloat16>(), n);
    dropout_reference(params, x.as<double>(), y.as<double>(), n);
}

}  // namespace fastconv
