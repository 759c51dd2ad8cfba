#include "ops/softmax_loss/cross_entropy.h"

#include "core/bfloat16.h"
#include "core/checks.h"
#include "core/memory.h"
#include "ops/softmax_loss/kernels.h"

namespace fastconv {
namespace {

template <class T>
CrossEntropyTerms terms_of(const CrossEntropyParams& p, const int64_t* labels, const T* weight) {
    CrossEntropyTerms terms{p.axis, labels, p.ignore_index, p.smoothing, static_cast<double>(p.axis.classes)};
    if (weight) {
        terms.weight_sum = 0;
        for (int64_t c = 0; c < p.axis.classes; ++c)
            terms.weight_sum += static_cast<double>(widen(weight[c]));
    }
    return terms;
}

template <class T>
double forward(const CrossEntropyParams& p, const T* x, const int64_t* labels, const T* weight,
               Wide<T>* saved, T* loss) {
    const int64_t rows = p.axis.rows();
    const CrossEntropyTerms terms = terms_of(p, labels, weight);
    const Workspace scratch(static_cast<size_t>(rows) * sizeof(double));
    double* each = scratch.as<double>();
    if constexpr (std::is_same_v<T, float>)
        FC_ISA_PICK(cross_entropy_f32)(terms, x, weight, saved, saved + rows, each);
    else if constexpr (std::is_same_v<T, bfloat16>)
        FC_ISA_PICK(cross_entropy_bf16)(terms, x, weight, saved, saved + rows, each);
    else
        cross_entropy_reference(terms, x, weight, saved, saved + rows, each);

    if (p.reduction == Reduction::none) {
        for (int64_t i = 0; i < rows; ++i) loss[i] = narrow<T>(each[i]);
        return 1;
    }
    double total = 0, divisor = 0;
    for (int64_t i = 0; i < rows; ++i) {
        total += each[i];
        if (labels[i] != p.ignore_index)
            divisor += weight ? static_cast<double>(widen(weight[labels[i]])) : 1.0;
    }
    if (p.reduction == Reduction::sum) divisor = 1;
    *loss = narrow<T>(total / divisor);
    return divisor;
}

template <class T>
void backward(const CrossEntropyParams& p, const T* x, const int64_t* labels, const T* weight,
              const Wide<T>* saved, double divisor, const T* dloss, T* dx) {
    const int64_t rows = p.axis.rows();
    const CrossEntropyTerms terms = terms_of(p, labels, weight);
    const LossGradient<T> g{dloss, p.reduction == Reduction::none, 1 / divisor};
    if constexpr (std::is_same_v<T, float>)
        FC_ISA_PICK(cross_entropy_backward_f32)(terms, x, weight, saved, saved + rows, g, dx);
    else if constexpr (std::is_same_v<T, bfloat16>)
        FC_ISA_PICK(cross_entropy_backward_bf16)(terms, x, weight, saved, saved + rows, g, dx);
    else
        cross_entropy_backward_reference(terms, x, weight, saved, saved + rows, g, dx);
}

}  // namespace

Reduction reduction_from_name(const char* op, const std::string& name) {
    if (name == "none") return Reduction::none;
    if (name == "mean") return Reduction::mean;
    if (name == "sum") return Reduction::sum;
    throw ShapeError(message(op, ": reduction must be 'none', 'mean' or 'sum', got '", name, "'"));
}

void check_labels(const char* op, const CrossEntropyParams& p, const int64_t* labels) {
    const int64_t rows = p.axis.rows();
    for (int64_t i = 0; i < rows; ++i) {
        const int64_t label = labels[i];
        if (label != p.ignore_index && (label < 0 || label >= p.axis.classes))
            throw ShapeError(message(op, ": label ", label, " (number ", i, ") is not in [0, ",
                                     p.axis.classes, ") and is not ignore_index ", p.ignore_index));
    }
}

double cross_entropy_forward(const CrossEntropyParams& p, const TensorView& x, const int64_t* labels,
                             const TensorView* weight, const TensorView& saved, const TensorView& loss) {
    double divisor = 1;
    visit_float("cross_entropy", x.dtype, [&](auto t) {
        using T = decltype(t);
        divisor = forward<T>(p, x.as<T>(), labels, weight ? weight->as<T>() : nullptr, saved.as<Wide<T>>(),
                             loss.as<T>());
    });
    return divisor;
}

void cross_entropy_backward(const CrossEntropyParams& p, const TensorView& x, const int64_t* labels,
                            const TensorView* weight, const TensorView& saved, double divisor,
                            const TensorView& dloss, const TensorView& dx) {
    visit_float("cross_entropy", x.dtype, [&](auto t) {
        using T = decltype(t);
        backward<T>(p, x.as<T>(), labels, weight ? weight->as<T>() : nullptr, saved.as<Wide<T>>(), divisor,
                    dloss.as<T>(), dx.as<T>());
    });
}

}  // namespace fastconv
