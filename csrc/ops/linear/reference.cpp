#include "ops/linear/kernels.h"

namespace fastconv {

template <class T>
void linear_forward_reference(const LinearProblem& p, const T* x, const T* w, const T* bias, T* y) {
    for (int64_t n = 0; n < p.rows; ++n)
        for (int64_t o = 0; o < p.out; ++o) {
            T sum = bias ? bias[o] : T(0);
            for (int64_t i = 0; i < p.in; ++i) sum += x[n * p.in + i] * w[o * p.in + i];
            y[n * p.out + o] = sum;
        }
}

template <class T>
void linear_input_grad_reference(const LinearProblem& p, const T* w, const T* dy, T* dx) {
    for (int64_t n = 0; n < p.rows; ++n) {
        for (int64_t i = 0; i < p.in; ++i) dx[n * p.in + i] = T(0);
        for (int64_t o = 0; o < p.out; ++o)
            for (int64_t i = 0; i < p.in; ++i) dx[n * p.in + i] += dy[n * p.out + o] * w[o * p.in + i];
    }
}

template <class T>
void linear_weight_grad_reference(const LinearProblem& p, const T* x, const T* dy, T* dw) {
    for (int64_t i = 0; i < p.out * p.in; ++i) dw[i] = T(0);
    for (int64_t n = 0; n < p.rows; ++n)
        for (int64_t o = 0; o < p.out; ++o)
            for (int64_t i = 0; i < p.in; ++i) dw[o * p.in + i] += dy[n * p.out + o] * x[n * p.in + i];
}

template <class T>
void linear_bias_grad_reference(const LinearProblem& p, const T* dy, T* db) {
    for (int64_t o = 0; o < p.out; ++o) {
        T sum = 0;
        for (int64_t n = 0; n < p.rows; ++n) sum += dy[n * p.out + o];
        db[o] = sum;
    }
}

template void linear_forward_reference<double>(const LinearProblem&, const double*, const double*,
                                               const double*, double*);
template void linear_input_grad_reference<double>(const LinearProblem&, const double*, const double*,
                                                  double*);
template void linear_weight_grad_reference<double>(const LinearProblem&, const double*, const double*,
                                                   double*);
template void linear_bias_grad_reference<double>(const LinearProblem&, const double*, double*);

}  // namespace fastconv
