#include <algorithm>
#include <cmath>

#include "ops/local_response_norm/kernels.h"

namespace fastconv {
namespace {

// k + scale * the sum of squares around channel c; `x` is channel 0 of a pixel.
template <class T>
double base_of(const LrnParams& p, const T* x, int64_t c) {
    const int64_t begin = std::max<int64_t>(0, c - p.before), end = std::min(p.channels, c + p.after + 1);
    double squares = 0;
    for (int64_t j = begin; j < end; ++j) {
        const double v = static_cast<double>(x[j * p.inner]);
        squares += v * v;
    }
    return p.k + p.scale * squares;
}

// fn(offset of channel 0) for every pixel.
template <class Fn>
void for_pixels(const LrnParams& p, const Fn& fn) {
    for (int64_t o = 0; o < p.outer; ++o)
        for (int64_t i = 0; i < p.inner; ++i) fn(o * p.channels * p.inner + i);
}

}  // namespace

template <class T>
void lrn_reference(const LrnParams& p, const T* x, T* y) {
    for_pixels(p, [&](int64_t at) {
        for (int64_t c = 0; c < p.channels; ++c) {
            const int64_t i = at + c * p.inner;
            y[i] = static_cast<T>(static_cast<double>(x[i]) / std::pow(base_of(p, x + at, c), p.beta));
        }
    });
}

// dx[i] = dy[i] s[i]^-beta - 2 beta scale x[i] * sum of dy[c] x[c] s[c]^(-beta - 1) over the windows that
// hold i.
template <class T>
void lrn_backward_reference(const LrnParams& p, const T* dy, const T* x, T* dx) {
    for_pixels(p, [&](int64_t at) {
        for (int64_t i = 0; i < p.channels; ++i) {
            const int64_t begin = std::max<int64_t>(0, i - p.after),
                          end = std::min(p.channels, i + p.before + 1);
            double shared = 0;
            for (int64_t c = begin; c < end; ++c) {
                const int64_t k = at + c * p.inner;
                const double s = base_of(p, x + at, c);
                shared += static_cast<double>(dy[k]) * static_cast<double>(x[k]) / (std::pow(s, p.beta) * s);
            }
            const int64_t k = at + i * p.inner;
            const double own = static_cast<double>(dy[k]) / std::pow(base_of(p, x + at, i), p.beta);
            dx[k] = static_cast<T>(own - 2 * p.beta * p.scale * static_cast<double>(x[k]) * shared);
        }
    });
}

template void lrn_reference<float>(const LrnParams&, const float*, float*);
template void lrn_reference<double>(const LrnParams&, const double*, double*);
template void lrn_backward_reference<float>(const LrnParams&, const float*, const float*, float*);
template void lrn_backward_reference<double>(const LrnParams&, const double*, const double*, double*);

}  // namespace fastconv
