// softmax over rows (inner == 1: vectors along the classes) and columns (vectors across neighbouring rows).
// bfloat16 is computed in float32 and rounded once. A row's arithmetic depends on its length alone, so
// threads do not change it.
#include "ops/softmax_loss/softmax.h"

#include "ops/softmax_loss/cpu/rows.h"

namespace fastconv::FC_ISA_NS {
namespace {

// Where the exponentials of `n` elements wait for their sum: the result itself, or scratch, or nowhere
// (null).
inline float* exp_buffer(float* y, float*, int64_t) { return y; }
inline float* exp_buffer(bfloat16*, float* scratch, int64_t n) { return n <= kScratch ? scratch : nullptr; }

template <class T>
void softmax_row(bool log, const T* x, T* y, int64_t n) {
    const float m = row_max(x, n);
    float scratch[kScratch];
    float* e = log ? nullptr : exp_buffer(y, scratch, n);
    const double total = row_exp_sum(x, n, m, e);
    const vf shift = set1(m);
    if (log) {
        const vf log_total = set1(static_cast<float>(__builtin_log(total)));
        for_each_vector(n, [&](int64_t i, auto t) { store(y + i, load(x + i, t) - shift - log_total, t); });
        return;
    }
    const vf scale = set1(static_cast<float>(1.0 / total));
    if (e)
        for_each_vector(n, [&](int64_t i, auto t) { store(y + i, load(e + i, t) * scale, t); });
    else
        for_each_vector(n, [&](int64_t i, auto t) { store(y + i, exp(load(x + i, t) - shift) * scale, t); });
}

template <class T>
void softmax_row_backward(bool log, const T* y, const T* dy, T* dx, int64_t n) {
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

template <class T, class Lanes>
void softmax_tile(bool log, const T* x, T* y, int64_t classes, int64_t stride, Lanes t) {
    const vf m = column_max(x, classes, stride, t);
    float scratch[kScratch];
    float* e = log ? nullptr : exp_buffer(y, scratch, classes * VL);
    const int64_t step = e == scratch ? VL : stride;
    const vf total = column_exp_sum(x, classes, stride, t, m, e, step);
    const vf last = log ? log_lanes(total) : set1(1.0f) / total;
    for (int64_t c = 0; c < classes; ++c) {
        if (log)
            store(y + c * stride, load(x + c * stride, t) - m - last, t);
        else if (e)
            store(y + c * stride, load(e + c * step, t) * last, t);
        else
            store(y + c * stride, exp(load(x + c * stride, t) - m) * last, t);
    }
}

template <class T, class Lanes>
void softmax_tile_backward(bool log, const T* y, const T* dy, T* dx, int64_t classes, int64_t stride,
                           Lanes t) {
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

template <class T>
void forward(const ClassAxis& axis, bool log, const T* x, T* y) {
    const int64_t classes = axis.classes;
    if (axis.inner == 1)
        return parallel_for(axis.outer, row_grain(classes), [&](int64_t begin, int64_t end, int) {
            for (int64_t i = begin; i < end; ++i) softmax_row(log, x + i * classes, y + i * classes, classes);
        });
    for_each_tile(axis.outer, classes, axis.inner, [&](int64_t at, int64_t, int64_t, auto lanes) {
        softmax_tile(log, x + at, y + at, classes, axis.inner, lanes);
    });
}

template <class T>
void backward(const ClassAxis& axis, bool log, const T* y, const T* dy, T* dx) {
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

}  // namespace

void softmax_f32(const ClassAxis& axis, bool log, const float* x, float* y) { forward(axis, log, x, y); }
void softmax_bf16(const ClassAxis& axis, bool log, const bfloat16* x, bfloat16* y) {
    forward(axis, log, x, y);
}
void softmax_backward_f32(const ClassAxis& axis, bool log, const float* y, const float* dy, float* dx) {
    backward(axis, log, y, dy, dx);
}
void softmax_backward_bf16(const ClassAxis& axis, bool log, const bfloat16* y, const bfloat16* dy,
                           bfloat16* dx) {
    backward(axis, log, y, dy, dx);
}

}  // namespace fastconv::FC_ISA_NS
