// Per-channel sums. Each partial sum covers a fixed share of the data; the partials are added in double.
#include "ops/conv2d/bias_grad.h"

#include "cpu/parallel.h"

namespace fastconv::FC_ISA_NS {
namespace {

constexpr int64_t kRows = 256;  // NHWC pixels, or blocks of an NCHW plane, of a partial sum

template <class T>
float sum_plane(const T* p, int64_t count) {
    double total = 0;
    for (int64_t i = 0; i < count; i += 4096) {
        const int64_t end = count - i < 4096 ? count : i + 4096;
        vf acc0 = zero(), acc1 = zero();
        int64_t j = i;
        for (; j + 2 * VL <= end; j += 2 * VL) {
            acc0 = acc0 + load(p + j);
            acc1 = acc1 + load(p + j + VL);
        }
        for (; j < end; j += VL) acc0 = acc0 + load(p + j, tail(end - j));
        total += static_cast<double>(sum(acc0 + acc1));
    }
    return static_cast<float>(total);
}

inline int64_t partials(bool nchw, int64_t n, int64_t pixels) {
    return nchw ? n : (n * pixels + kRows - 1) / kRows;
}

template <class T>
void run(bool nchw, int64_t n, int64_t k, int64_t pixels, const T* dy, float* partial, T* dbias) {
    const int64_t parts = partials(nchw, n, pixels);
    if (nchw) {
        parallel_for(n * k, 32768 / pixels + 1, [&](int64_t begin, int64_t end, int) {
            for (int64_t i = begin; i < end; ++i) partial[i] = sum_plane(dy + i * pixels, pixels);
        });
    } else {
        const int64_t rows = n * pixels;
        parallel_for(parts, 32768 / (kRows * k) + 1, [&](int64_t begin, int64_t end, int) {
            for (int64_t part = begin; part < end; ++part) {
                float* sums = partial + part * k;
                const int64_t last = rows < (part + 1) * kRows ? rows : (part + 1) * kRows;
                for (int64_t c = 0; c < k; c += VL) {
                    const Tail t = tail(k - c);
                    vf acc = zero();
                    for (int64_t row = part * kRows; row < last; ++row) acc = acc + load(dy + row * k + c, t);
                    store(sums + c, acc, t);
                }
            }
        });
    }
    for (int64_t c = 0; c < k; ++c) {
        double total = 0;
        for (int64_t part = 0; part < parts; ++part) total += static_cast<double>(partial[part * k + c]);
        dbias[c] = narrow<T>(total);
    }
}

}  // namespace

int64_t bias_grad_partials(bool nchw, int64_t n, int64_t pixels) { return partials(nchw, n, pixels); }

void bias_grad_run(bool nchw, int64_t n, int64_t k, int64_t pixels, const float* dy, float* partial,
                   float* dbias) {
    run(nchw, n, k, pixels, dy, partial, dbias);
}
void bias_grad_bf16_run(bool nchw, int64_t n, int64_t k, int64_t pixels, const bfloat16* dy, float* partial,
                        bfloat16* dbias) {
    run(nchw, n, k, pixels, dy, partial, dbias);
}

}  // namespace fastconv::FC_ISA_NS
