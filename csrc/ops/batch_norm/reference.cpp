#include "ops/batch_norm/kernels.h"

namespace fastconv {
namespace {

// Calls fn(index) for every value of channel c.
template <class Fn>
void for_channel(const ChannelView& view, int64_t c, const Fn& fn) {
    for (int64_t o = 0; o < view.outer; ++o)
        for (int64_t i = 0; i < view.inner; ++i) fn((o * view.channels + c) * view.inner + i);
}

}  // namespace

template <class T>
void batch_norm_statistics_reference(const ChannelView& view, const T* x, double* mean, double* deviations) {
    for (int64_t c = 0; c < view.channels; ++c) {
        double total = 0, squares = 0;
        for_channel(view, c, [&](int64_t i) { total += static_cast<double>(x[i]); });
        const double m = total / static_cast<double>(view.values());
        for_channel(view, c, [&](int64_t i) {
            const double d = static_cast<double>(x[i]) - m;
            squares += d * d;
        });
        mean[c] = m;
        deviations[c] = squares;
    }
}

template <class T>
void batch_norm_normalize_reference(const ChannelView& view, const T* x, const double* mean,
                                    const double* invstd, const T* weight, const T* bias, T* y) {
    for (int64_t c = 0; c < view.channels; ++c) {
        const double scale = (weight ? static_cast<double>(weight[c]) : 1) * invstd[c];
        const double shift = bias ? static_cast<double>(bias[c]) : 0;
        for_channel(view, c, [&](int64_t i) {
            y[i] = static_cast<T>((static_cast<double>(x[i]) - mean[c]) * scale + shift);
        });
    }
}

template <class T>
void batch_norm_backward_reference(const ChannelView& view, bool training, const T* dy, const T* x,
                                   const double* mean, const double* invstd, const T* weight, T* dx,
                                   T* dweight, T* dbias) {
    const double n = static_cast<double>(view.values());
    for (int64_t c = 0; c < view.channels; ++c) {
        double sum = 0, product = 0;
        const auto normal = [&](int64_t i) { return (static_cast<double>(x[i]) - mean[c]) * invstd[c]; };
        for_channel(view, c, [&](int64_t i) {
            sum += static_cast<double>(dy[i]);
            product += static_cast<double>(dy[i]) * normal(i);
        });
        if (dweight) dweight[c] = static_cast<T>(product);
        if (dbias) dbias[c] = static_cast<T>(sum);
        if (!dx) continue;
        const double scale = (weight ? static_cast<double>(weight[c]) : 1) * invstd[c];
        for_channel(view, c, [&](int64_t i) {
            const double g = static_cast<double>(dy[i]);
            dx[i] = static_cast<T>(scale * (training ? g - sum / n - normal(i) * (product / n) : g));
        });
    }
}

template void batch_norm_statistics_reference<float>(const ChannelView&, const float*, double*, double*);
template void batch_norm_statistics_reference<double>(const ChannelView&, const double*, double*, double*);
template void batch_norm_normalize_reference<float>(const ChannelView&, const float*, const double*,
                                                    const double*, const float*, const float*, float*);
template void batch_norm_normalize_reference<double>(const ChannelView&, const double*, const double*,
                                                     const double*, const double*, const double*, double*);
template void batch_norm_backward_reference<float>(const ChannelView&, bool, const float*, const float*,
                                                   const double*, const double*, const float*, float*, float*,
                                                   float*);
template void batch_norm_backward_reference<double>(const ChannelView&, bool, const double*, const double*,
                                                    const double*, const double*, const double*, double*,
                                                    double*, double*);

}  // namespace fastconv
