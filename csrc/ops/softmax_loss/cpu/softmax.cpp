// softmax over rows (inner == 1: vectors along the classes) and columns (vectors across neighbouring rows).
// A row's arithmetic depends on its length alone, so threads do not change it.
#include "ops/softmax_loss/softmax.h"

#include "ops/softmax_loss/cpu/rows.h"

namespace fastconv::FC_ISA_NS {
namespace {

void softmax_row(bool log, const float* x, float* y, int64_t n) {
    const float m = row_max(x, n);
    const double total = row_exp_sum(x, n, m, log ? nullptr : y);
    if (log) {
        const vf shift = set1(m), log_total = set1(static_cast<float>(__builtin_log(total)));
        for_each_vector(n, [&](int64_t i, auto t) { store(y + i, load(x + i, t) - shift - log_total, t); });
    } else {
        const vf scale = set1(static_cast<float>(1.0 / total));
        for_each_vector(n, [&](int64_t i, auto t) { store(y + i, load(y + i, t) * scale, t); });
    }
}

void softmax_row_backward(bool log, const float* y, const float* dy, float* dx, int64_t n) {
    double total = 0;
    for (int64_t begin = 0; begin < n; begin += kSumBlock * VL) {
        const int64_t end = begin + kSumBlock * VL < n ? begin + kSumBlock * VL : n;
        vf s = zero();
        for_each_vector(end - begin, [&](int64_t i, auto t) {
            const vf g = load(dy + begin + i, t);
            s = log ? s + g : fma(g, load(y + begin + i, t), s);
        });
        total += static_cast<double>(sum(s));
    }
    const vf s = set1(static_cast<float>(total));
    if (log)
        for_each_vector(
            n, [&](int64_t i, auto t) { store(dx + i, load(dy + i, t) - exp(load(y + i, t)) * s, t); });
    else
        for_each_vector(n,
                        [&](int64_t i, auto t) { store(dx + i, load(y + i, t) * (load(dy + i, t) - s), t); });
}

template <class Lanes>
void softmax_tile(bool log, const float* x, float* y, int64_t classes, int64_t stride, Lanes t) {
    const vf m = column_max(x, classes, stride, t);
    const vf total = column_exp_sum(x, classes, stride, t, m, log ? nullptr : y);
    const vf last = log ? log_lanes(total) : set1(1.0f) / total;
    for (int64_t c = 0; c < classes; ++c) {
        if (log)
            store(y + c * stride, load(x + c * stride, t) - m - last, t);
        else
            store(y + c * stride, load(y + c * stride, t) * last, t);
    }
}

template <class Lanes>
void softmax_tile_backward(bool log, const float* y, const float* dy, float* dx, int64_t classes,
                           int64_t stride, Lanes t) {
    vf total = zero();
    for (int64_t begin = 0; begin < classes; begin += kSumBlock) {
        const int64_t end = begin + kSumBlock < classes ? begin + kSumBlock : classes;
        vf s = zero();
        for (int64_t c = begin; c < end; ++c) {
            const vf g = load(dy + c * stride, t);
            s = log ? s + g : fma(g, load(y + c * stride, t), s);
        }
        total = total + s;
    }
    for (int64_t c = 0; c < classes; ++c) {
        const vf g = load(dy + c * stride, t), v = load(y + c * stride, t);
        store(dx + c * stride, log ? g - exp(v) * total : v * (g - total), t);
    }
}

}  // namespace

void softmax_f32(const ClassAxis& axis, bool log, const float* x, float* y) {
    const int64_t classes = axis.classes;
    if (axis.inner == 1)
        return parallel_for(axis.outer, row_grain(classes), [&](int64_t begin, int64_t end, int) {
            for (int64_t i = begin; i < end; ++i) softmax_row(log, x + i * classes, y + i * classes, classes);
        });
    for_each_tile(axis.outer, classes, axis.inner, [&](int64_t at, int64_t, int64_t, auto lanes) {
        softmax_tile(log, x + at, y + at, classes, axis.inner, lanes);
    });
}

void softmax_backward_f32(const ClassAxis& axis, bool log, const float* y, const float* dy, float* dx) {
    const int64_t classes = axis.classes;
    if (axis.inner == 1)
        return parallel_for(axis.outer, row_grain(classes), [&](int64_t begin, int64_t end, int) {
            for (int64_t i = begin; i < end; ++i)
                softmax_row_backward(log, y + i * classes, dy + i * classes, dx + i * classes, classes);
        });
    for_each_tile(axis.outer, classes, axis.inner, [&](int64_t at, int64_t, int64_t, auto lanes) {
        softmax_tile_backward(log, y + at, dy + at, dx + at, classes, axis.inner, lanes);
    });
}

}  // namespace fastconv::FC_ISA_NS
