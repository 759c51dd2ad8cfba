#include "ops/softmax_loss/nll_loss.h"

#include <cstring>

#include "core/bfloat16.h"
#include "core/checks.h"

namespace fastconv {
namespace {

// Calls use(row, offset of its label's element, the label's weight) for every row that is not ignored.
template <class T, class Use>
void for_each_label(const CrossEntropyParams& p, const int64_t* labels, const T* weight, const Use& use) {
    const ClassAxis& axis = p.axis;
    for (int64_t i = 0; i < axis.rows(); ++i) {
        const int64_t label = labels[i];
        if (label == p.ignore_index) continue;
        const int64_t at = (i / axis.inner * axis.classes + label) * axis.inner + i % axis.inner;
        use(i, at, weight ? static_cast<double>(widen(weight[label])) : 1.0);
    }
}

template <class T>
double forward(const CrossEntropyParams& p, const T* x, const int64_t* labels, const T* weight, T* loss) {
    const bool each = p.reduction == Reduction::none;
    if (each) std::memset(static_cast<void*>(loss), 0, static_cast<size_t>(p.axis.rows()) * sizeof(T));
    double total = 0, weights = 0;
    for_each_label(p, labels, weight, [&](int64_t row, int64_t at, double w) {
        const double value = -w * static_cast<double>(widen(x[at]));
        if (each) loss[row] = narrow<T>(value);
        total += value;
        weights += w;
    });
    const double divisor = p.reduction == Reduction::mean ? weights : 1;
    if (!each) *loss = narrow<T>(total / divisor);
    return divisor;
}

template <class T>
void backward(const CrossEntropyParams& p, const int64_t* labels, const T* weight, double divisor,
              const T* dloss, T* dx) {
    const bool each = p.reduction == Reduction::none;
    const auto bytes = static_cast<size_t>(p.axis.rows() * p.axis.classes) * sizeof(T);
    if (bytes) std::memset(static_cast<void*>(dx), 0, bytes);
    for_each_label(p, labels, weight, [&](int64_t row, int64_t at, double w) {
        const double g = static_cast<double>(widen(dloss[each ? row : 0]));
        dx[at] = narrow<T>(-g * w / divisor);
    });
}

}  // namespace

double nll_loss_forward(const CrossEntropyParams& p, const TensorView& x, const int64_t* labels,
                        const TensorView* weight, const TensorView& loss) {
    double divisor = 1;
    visit_float("nll_loss", x.dtype, [&](auto t) {
        using T = decltype(t);
        divisor = forward<T>(p, x.as<T>(), labels, weight ? weight->as<T>() : nullptr, loss.as<T>());
    });
    return divisor;
}

void nll_loss_backward(const CrossEntropyParams& p, const int64_t* labels, const TensorView* weight,
                       double divisor, const TensorView& dloss, const TensorView& dx) {
    visit_float("nll_loss", dx.dtype, [&](auto t) {
        using T = decltype(t);
        backward<T>(p, labels, weight ? weight->as<T>() : nullptr, divisor, dloss.as<T>(), dx.as<T>());
    });
}

}  // namespace fastconv
