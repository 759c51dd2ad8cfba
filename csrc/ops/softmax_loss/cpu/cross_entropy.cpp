// Cross-entropy over the ISA's vectors. Forward keeps each row's maximum and sum of exponentials; backward is
// then one pass: dx = scale (spread p - target), p = e^(x - maximum) / sum.
#include "ops/softmax_loss/cpu/rows.h"
#include "ops/softmax_loss/kernels.h"

namespace fastconv::FC_ISA_NS {
namespace {

template <class T>
inline double weight_of(const T* weight, int64_t c) {
    return weight ? static_cast<double>(widen(weight[c])) : 1.0;
}

// sum_c w_c (x_c - m), for label smoothing.
template <class T>
inline double weighted_shift(const T* x, int64_t classes, int64_t stride, const T* weight, float m) {
    double total = 0;
    for (int64_t c = 0; c < classes; ++c)
        total += weight_of(weight, c) * static_cast<double>(widen(x[c * stride]) - m);
    return total;
}

template <class T>
inline double row_loss(const CrossEntropyTerms& terms, const T* x, int64_t stride, const T* weight,
                       int64_t label, float m, double total) {
    const double log_total = __builtin_log(total);
    double loss = (1 - terms.smoothing) * weight_of(weight, label) *
                  (log_total - static_cast<double>(widen(x[label * stride]) - m));
    if (terms.smoothing > 0)
        loss += terms.smoothing / static_cast<double>(terms.axis.classes) *
                (terms.weight_sum * log_total - weighted_shift(x, terms.axis.classes, stride, weight, m));
    return loss;
}

// The factors of one row's gradient: dx_c = p_factor e^(x_c - m) - share w_c, and `picked` less at the label.
struct RowFactors {
    float p_factor, share, picked;
};
template <class T>
inline RowFactors row_factors(const CrossEntropyTerms& terms, const T* weight, int64_t label, float total,
                              double scale) {
    const double picked = (1 - terms.smoothing) * weight_of(weight, label);
    const double share = terms.smoothing / static_cast<double>(terms.axis.classes);
    return {static_cast<float>(scale * (picked + share * terms.weight_sum) / static_cast<double>(total)),
            static_cast<float>(scale * share), static_cast<float>(scale * picked)};
}

template <class T>
inline double row_scale(const LossGradient<T>& g, int64_t row) {
    return static_cast<double>(widen(g.data[g.each ? row : 0])) * g.scale;
}

// Takes `picked` from the gradient at a label. What is stored as bfloat16 is rounded already: there the whole
// element, `unrounded()`, is computed again.
template <class Unrounded>
inline void take_picked(float* dx, float picked, const Unrounded&) {
    *dx -= picked;
}
template <class Unrounded>
inline void take_picked(bfloat16* dx, float picked, const Unrounded& unrounded) {
    *dx = to_bfloat16(unrounded() - picked);
}

inline float first_lane(vf v) {
    float lanes[VL];
    store(lanes, v);
    return lanes[0];
}

template <class T>
void backward_row(const CrossEntropyTerms& terms, const T* x, const T* weight, int64_t label, float m,
                  float total, double scale, T* dx) {
    const int64_t n = terms.axis.classes;
    if (label == terms.ignore_index) {
        for (int64_t c = 0; c < n; ++c) dx[c] = narrow<T>(0.0f);
        return;
    }
    const RowFactors f = row_factors(terms, weight, label, total, scale);
    const vf shift = set1(m), p_factor = set1(f.p_factor), share = set1(f.share);
    for_each_vector(n, [&](int64_t c, auto t) {
        vf v = p_factor * exp(load(x + c, t) - shift);
        if (terms.smoothing > 0) v = v - (weight ? share * load(weight + c, t) : share);
        store(dx + c, v, t);
    });
    take_picked(dx + label, f.picked, [&] {
        const float p = first_lane(p_factor * exp(set1(widen(x[label])) - shift));
        return terms.smoothing > 0 ? p - f.share * (weight ? widen(weight[label]) : 1.0f) : p;
    });
}

template <class T, class Lanes>
void backward_tile(const CrossEntropyTerms& terms, const T* x, const T* weight, const int64_t* labels,
                   const float* maximum, const float* total, const LossGradient<T>& g, int64_t row,
                   int64_t lanes, Lanes t, T* dx) {
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
        if (terms.smoothing > 0) v = v - (weight ? share * set1(widen(weight[c])) : share);
        store(dx + c * stride, select(keep, v, zero()), t);
    }
    for (int64_t l = 0; l < lanes; ++l)
        if (used[l] > 0) {
            const int64_t label = labels[l], at = label * stride + l;
            take_picked(dx + at, factors[l].picked, [&] {
                const float p = first_lane(set1(p_factors[l]) * exp(set1(widen(x[at]) - maximum[l])));
                return terms.smoothing > 0 ? p - shares[l] * (weight ? widen(weight[label]) : 1.0f) : p;
            });
        }
}

template <class T>
void forward(const CrossEntropyTerms& terms, const T* x, const T* weight, float* maximum, float* total,
             double* loss) {
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
                const T* row = x + i * classes;
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
        store(total + row, column_exp_sum(x + at, classes, inner, t, m, nullptr, 0), t);
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

template <class T>
void backward(const CrossEntropyTerms& terms, const T* x, const T* weight, const float* maximum,
              const float* total, const LossGradient<T>& g, T* dx) {
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

}  // namespace

void cross_entropy_f32(const CrossEntropyTerms& terms, const float* x, const float* weight, float* maximum,
                       float* total, double* loss) {
    forward(terms, x, weight, maximum, total, loss);
}
void cross_entropy_bf16(const CrossEntropyTerms& terms, const bfloat16* x, const bfloat16* weight,
                        float* maximum, float* total, double* loss) {
    forward(terms, x, weight, maximum, total, loss);
}
void cross_entropy_backward_f32(const CrossEntropyTerms& terms, const float* x, const float* weight,
                                const float* maximum, const float* total, const LossGradient<float>& g,
                                float* dx) {
    backward(terms, x, weight, maximum, total, g, dx);
}
void cross_entropy_backward_bf16(const CrossEntropyTerms& terms, const bfloat16* x, const bfloat16* weight,
                                 const float* maximum, const float* total, const LossGradient<bfloat16>& g,
                                 bfloat16* dx) {
    backward(terms, x, weight, maximum, total, g, dx);
}

}  // namespace fastconv::FC_ISA_NS
