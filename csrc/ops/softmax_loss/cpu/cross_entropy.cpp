// Cross-entropy over the ISA's vectors. Forward keeps each row's maximum and sum of exponentials; backward is
// then one pass: dx = scale (spread p - target), p = e^(x - maximum) / sum.
#include "ops/softmax_loss/cpu/rows.h"
#include "ops/softmax_loss/kernels.h"

namespace fastconv::FC_ISA_NS {
namespace {

inline double weight_of(const float* weight, int64_t c) {
    return weight ? static_cast<double>(weight[c]) : 1.0;
}

// sum_c w_c (x_c - m), for label smoothing.
inline double weighted_shift(const float* x, int64_t classes, int64_t stride, const float* weight, float m) {
    double total = 0;
    for (int64_t c = 0; c < classes; ++c)
        total += weight_of(weight, c) * static_cast<double>(x[c * stride] - m);
    return total;
}

inline double row_loss(const CrossEntropyTerms& terms, const float* x, int64_t stride, const float* weight,
                       int64_t label, float m, double total) {
    const double log_total = __builtin_log(total);
    double loss = (1 - terms.smoothing) * weight_of(weight, label) *
                  (log_total - static_cast<double>(x[label * stride] - m));
    if (terms.smoothing > 0)
        loss += terms.smoothing / static_cast<double>(terms.axis.classes) *
                (terms.weight_sum * log_total - weighted_shift(x, terms.axis.classes, stride, weight, m));
    return loss;
}

// The factors of one row's gradient: dx_c = p_factor e^(x_c - m) - share w_c, and `picked` less at the label.
struct RowFactors {
    float p_factor, share, picked;
};
inline RowFactors row_factors(const CrossEntropyTerms& terms, const float* weight, int64_t label, float total,
                              double scale) {
    const double picked = (1 - terms.smoothing) * weight_of(weight, label);
    const double share = terms.smoothing / static_cast<double>(terms.axis.classes);
    return {static_cast<float>(scale * (picked + share * terms.weight_sum) / static_cast<double>(total)),
            static_cast<float>(scale * share), static_cast<float>(scale * picked)};
}

inline double row_scale(const LossGradient<float>& g, int64_t row) {
    return static_cast<double>(g.data[g.each ? row : 0]) * g.scale;
}

void backward_row(const CrossEntropyTerms& terms, const float* x, const float* weight, int64_t label, float m,
                  float total, double scale, float* dx) {
    const int64_t n = terms.axis.classes;
    if (label == terms.ignore_index) {
        for (int64_t c = 0; c < n; ++c) dx[c] = 0;
        return;
    }
    const RowFactors f = row_factors(terms, weight, label, total, scale);
    const vf shift = set1(m), p_factor = set1(f.p_factor), share = set1(f.share);
    for_each_vector(n, [&](int64_t c, auto t) {
        vf v = p_factor * exp(load(x + c, t) - shift);
        if (terms.smoothing > 0) v = v - (weight ? share * load(weight + c, t) : share);
        store(dx + c, v, t);
    });
    dx[label] -= f.picked;
}

template <class Lanes>
void backward_tile(const CrossEntropyTerms& terms, const float* x, const float* weight, const int64_t* labels,
                   const float* maximum, const float* total, const LossGradient<float>& g, int64_t row,
                   int64_t lanes, Lanes t, float* dx) {
    const int64_t stride = terms.axis.inner, classes = terms.axis.classes;
    RowFactors factors[VL];
    float p_factors[VL] = {}, shares[VL] = {}, used[VL] = {};
    for (int64_t l = 0; l < lanes; ++l) {
        factors[l] = RowFactors{0, 0, 0};
        if (labels[l] == terms.ignore_index) continue;
        factors[l] = row_factors(terms, weight, labels[l], total[l], row_scale(g, row + l));
        p_factors[l] = factors[l].p_factor;
        shares[l] = factors[l].share;
        used[l] = 1;
    }
    const vf m = load(maximum, t), p_factor = load(p_factors), share = load(shares);
    const vm keep = less(zero(), load(used));
    for (int64_t c = 0; c < classes; ++c) {
        vf v = p_factor * exp(load(x + c * stride, t) - m);
        if (terms.smoothing > 0) v = v - (weight ? share * set1(weight[c]) : share);
        store(dx + c * stride, select(keep, v, zero()), t);
    }
    for (int64_t l = 0; l < lanes; ++l)
        if (used[l] > 0) dx[labels[l] * stride + l] -= factors[l].picked;
}

}  // namespace

void cross_entropy_f32(const CrossEntropyTerms& terms, const float* x, const float* weight, float* maximum,
                       float* total, double* loss) {
    const int64_t classes = terms.axis.classes, inner = terms.axis.inner;
    const auto skip = [&](int64_t row) {
        maximum[row] = 0;
        total[row] = 1;
        loss[row] = 0;
    };
    if (inner == 1)
        return parallel_for(terms.axis.outer, row_grain(classes), [&](int64_t begin, int64_t end, int) {
            for (int64_t i = begin; i < end; ++i) {
                const int64_t label = terms.labels[i];
                if (label == terms.ignore_index) {
                    skip(i);
                    continue;
                }
                const float* row = x + i * classes;
                const float m = row_max(row, classes);
                const double s = row_exp_sum(row, classes, m, nullptr);
                maximum[i] = m;
                total[i] = static_cast<float>(s);
                loss[i] = row_loss(terms, row, 1, weight, label, m, s);
            }
        });
    for_each_tile(terms.axis.outer, classes, inner, [&](int64_t at, int64_t row, int64_t lanes, auto t) {
        const vf m = column_max(x + at, classes, inner, t);
        store(maximum + row, m, t);
        store(total + row, column_exp_sum(x + at, classes, inner, t, m, nullptr), t);
        for (int64_t l = 0; l < lanes; ++l) {
            const int64_t i = row + l, label = terms.labels[i];
            if (label == terms.ignore_index)
                skip(i);
            else
                loss[i] = row_loss(terms, x + at + l, inner, weight, label, maximum[i],
                                   static_cast<double>(total[i]));
        }
    });
}

void cross_entropy_backward_f32(const CrossEntropyTerms& terms, const float* x, const float* weight,
                                const float* maximum, const float* total, const LossGradient<float>& g,
                                float* dx) {
    const int64_t classes = terms.axis.classes, inner = terms.axis.inner;
    if (inner == 1)
        return parallel_for(terms.axis.outer, row_grain(classes), [&](int64_t begin, int64_t end, int) {
            for (int64_t i = begin; i < end; ++i)
                backward_row(terms, x + i * classes, weight, terms.labels[i], maximum[i], total[i],
                             row_scale(g, i), dx + i * classes);
        });
    for_each_tile(terms.axis.outer, classes, inner, [&](int64_t at, int64_t row, int64_t lanes, auto t) {
        backward_tile(terms, x + at, weight, terms.labels + row, maximum + row, total + row, g, row, lanes, t,
                      dx + at);
    });
}

}  // namespace fastconv::FC_ISA_NS
