// Softmax and cross-entropy in plain loops.
#include <cmath>
#include <limits>

#include "ops/softmax_loss/kernels.h"

namespace fastconv {
namespace {

// One row of an (outer, classes, inner) array.
template <class T>
struct Row {
    T* data;
    int64_t stride;
    T& operator[](int64_t c) const { return data[c * stride]; }
};

template <class T>
Row<T> row_of(const ClassAxis& axis, T* data, int64_t i) {
    return {data + i / axis.inner * axis.classes * axis.inner + i % axis.inner, axis.inner};
}

template <class T>
T row_max(const Row<const T>& x, int64_t classes) {
    T m = -std::numeric_limits<T>::infinity();
    for (int64_t c = 0; c < classes; ++c) m = m < x[c] ? x[c] : m;
    return m;
}

}  // namespace

template <class T>
void softmax_reference(const ClassAxis& axis, bool log, const T* x, T* y) {
    for (int64_t i = 0; i < axis.rows(); ++i) {
        const auto in = row_of(axis, x, i);
        const auto out = row_of(axis, y, i);
        const T m = row_max(in, axis.classes);
        double total = 0;
        for (int64_t c = 0; c < axis.classes; ++c) total += std::exp(static_cast<double>(in[c] - m));
        const double log_total = std::log(total);
        for (int64_t c = 0; c < axis.classes; ++c) {
            const double shifted = static_cast<double>(in[c] - m);
            out[c] = static_cast<T>(log ? shifted - log_total : std::exp(shifted) / total);
        }
    }
}

template <class T>
void softmax_backward_reference(const ClassAxis& axis, bool log, const T* y, const T* dy, T* dx) {
    for (int64_t i = 0; i < axis.rows(); ++i) {
        const auto result = row_of(axis, y, i);
        const auto g = row_of(axis, dy, i);
        const auto out = row_of(axis, dx, i);
        double total = 0;
        for (int64_t c = 0; c < axis.classes; ++c)
            total += log ? double(g[c]) : double(g[c]) * double(result[c]);
        for (int64_t c = 0; c < axis.classes; ++c)
            out[c] =
                static_cast<T>(log ? g[c] - std::exp(double(result[c])) * total : result[c] * (g[c] - total));
    }
}

template <class T>
void cross_entropy_reference(const CrossEntropyTerms& terms, const T* x, const T* weight, T* maximum,
                             T* total, double* loss) {
    const ClassAxis& axis = terms.axis;
    for (int64_t i = 0; i < axis.rows(); ++i) {
        maximum[i] = 0;
        total[i] = 1;
        loss[i] = 0;
        const int64_t label = terms.labels[i];
        if (label == terms.ignore_index) continue;
        const auto in = row_of(axis, x, i);
        const T m = row_max(in, axis.classes);
        double sum = 0, smooth = 0;
        for (int64_t c = 0; c < axis.classes; ++c) {
            const double shifted = double(in[c] - m);
            sum += std::exp(shifted);
            if (terms.smoothing > 0) smooth += (weight ? double(weight[c]) : 1.0) * shifted;
        }
        maximum[i] = m;
        total[i] = static_cast<T>(sum);
        const double log_sum = std::log(sum);
        loss[i] = (1 - terms.smoothing) * (weight ? double(weight[label]) : 1.0) *
                  (log_sum - double(in[label] - m));
        if (terms.smoothing > 0)
            loss[i] += terms.smoothing / double(axis.classes) * (terms.weight_sum * log_sum - smooth);
    }
}

template <class T>
void cross_entropy_backward_reference(const CrossEntropyTerms& terms, const T* x, const T* weight,
                                      const T* maximum, const T* total, const LossGradient<T>& g, T* dx) {
    const ClassAxis& axis = terms.axis;
    const double share = terms.smoothing / double(axis.classes);
    for (int64_t i = 0; i < axis.rows(); ++i) {
        const auto in = row_of(axis, x, i);
        const auto out = row_of(axis, dx, i);
        const int64_t label = terms.labels[i];
        if (label == terms.ignore_index) {
            for (int64_t c = 0; c < axis.classes; ++c) out[c] = 0;
            continue;
        }
        const double scale = double(g.data[g.each ? i : 0]) * g.scale;
        const double picked = (1 - terms.smoothing) * (weight ? double(weight[label]) : 1.0);
        const double spread = picked + share * terms.weight_sum;
        for (int64_t c = 0; c < axis.classes; ++c) {
            const double p = std::exp(double(in[c] - maximum[i])) / double(total[i]);
            const double target = share * (weight ? double(weight[c]) : 1.0) + (c == label ? picked : 0.0);
            out[c] = static_cast<T>(scale * (spread * p - target));
        }
    }
}

#define FC_INSTANTIATE(T)                                                                                  \
    template void softmax_reference(const ClassAxis&, bool, const T*, T*);                                 \
    template void softmax_backward_reference(const ClassAxis&, bool, const T*, const T*, T*);              \
    template void cross_entropy_reference(const CrossEntropyTerms&, const T*, const T*, T*, T*, double*);  \
    template void cross_entropy_backward_reference(const CrossEntropyTerms&, const T*, const T*, const T*, \
                                                   const T*, const LossGradient<T>&, T*);
FC_INSTANTIATE(float)
FC_INSTANTIATE(double)
#undef FC_INSTANTIATE

}  // namespace fastconv
