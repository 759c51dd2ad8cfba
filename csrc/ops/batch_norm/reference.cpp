#include "ops/batch_norm/kernels.h"

namespace fastconv {
namespace {

// Calls fn(index) for every value of channel c.
template <class Fn>
void for_channel(const ChannelView& view, int64_t c, const Fn& fn) {
    for (int64_t o = 0; o < view.outer; ++o)
        for (int64_t i = 0; i < view.inner; ++i) fn((o * view.channels + c) * view.inner + i);
}

// Where it is NaN it stays so.
bool passes(double y) { return !(y <= 0); }

}  // namespace

void batch_norm_statistics_reference(const ChannelView& view, const double* x, double* mean,
                                     double* deviations) {
    for (int64_t c = 0; c < view.channels; ++c) {
        double total = 0, squares = 0;
        for_channel(view, c, [&](int64_t i) { total += x[i]; });
        const double m = total / static_cast<double>(view.values());
        for_channel(view, c, [&](int64_t i) { squares += (x[i] - m) * (x[i] - m); });
        mean[c] = m;
        deviations[c] = squares;
    }
}

void batch_norm_normalize_reference(const ChannelView& view, const double* x, const double* mean,
                                    const double* invstd, const double* weight, const double* bias,
                                    const double* residual, bool relu, double* y) {
    for (int64_t c = 0; c < view.channels; ++c) {
        const double scale = (weight ? weight[c] : 1) * invstd[c], shift = bias ? bias[c] : 0;
        for_channel(view, c, [&](int64_t i) {
            double v = (x[i] - mean[c]) * scale + shift;
            if (residual) v += residual[i];
            y[i] = !relu || passes(v) ? v : 0;
        });
    }
}

void batch_norm_mask_reference(const ChannelView& view, const double* dy, const double* y, const double* x,
                               const double* mean, const double* invstd, const double* weight,
                               const double* bias, double* g) {
    for (int64_t c = 0; c < view.channels; ++c) {
        const double scale = (weight ? weight[c] : 1) * invstd[c], shift = bias ? bias[c] : 0;
        for_channel(view, c, [&](int64_t i) {
            g[i] = passes(y ? y[i] : (x[i] - mean[c]) * scale + shift) ? dy[i] : 0;
        });
    }
}

void batch_norm_backward_reference(const ChannelView& view, bool training, const double* dy, const double* x,
                                   const double* mean, const double* invstd, const double* weight, double* dx,
                                   double* dweight, double* dbias, const double* sum_with) {
    const double n = static_cast<double>(view.values());
    for (int64_t c = 0; c < view.channels; ++c) {
        double sum = 0, product = 0;
        const auto normal = [&](int64_t i) { return (x[i] - mean[c]) * invstd[c]; };
        for_channel(view, c, [&](int64_t i) {
            sum += dy[i];
            product += dy[i] * normal(i);
        });
        if (dweight) dweight[c] = product;
        if (dbias) dbias[c] = sum;
        if (!dx) continue;
        const double scale = (weight ? weight[c] : 1) * invstd[c];
        for_channel(view, c, [&](int64_t i) {
            dx[i] = scale * (training ? dy[i] - sum / n - normal(i) * (product / n) : dy[i]) +
                    (sum_with ? sum_with[i] : 0);
        });
    }
}

}  // namespace fastconv
