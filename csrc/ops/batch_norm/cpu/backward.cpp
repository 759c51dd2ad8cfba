// Batch normalisation's backward pass: one reading of dy and x for their sums, one for dx. A ReLU behind it
// is undone while dy is loaded: g is dy where the ReLU let the value pass.
#include "ops/batch_norm/cpu/pieces.h"

namespace fastconv::FC_ISA_NS {
namespace {

// Where g comes from: dy alone, dy and the sign of the line of x, or dy and the sign of the saved output.
enum class Mask { none, line, output };

// Where the output is NaN the gradient passes, as in PyTorch.
inline vf passed(vf y, vf g) { return select(less(zero(), y), g, select(unordered(y, y), g, zero())); }

template <Mask M, class T>
struct Backward {
    const BatchNormBackwardJob& job;
    const BatchNormSplit& s = job.split;
    const T *x = static_cast<const T*>(job.x), *dy = static_cast<const T*>(job.dy),
            *y = static_cast<const T*>(job.y);
    T *dx = static_cast<T*>(job.dx), *dresidual = static_cast<T*>(job.dresidual);
    float *first = job.partials, *second = first + s.pieces * s.lanes;

    // g at element i, where d is x - center there.
    template <class... Masked>
    vf gradient(int64_t i, vf d, vf scale, vf shift, Masked... t) const {
        const vf g = load(dy + i, t...);
        if constexpr (M == Mask::none) return g;
        if constexpr (M == Mask::line) return passed(fma(d, scale, shift), g);
        return passed(load(y + i, t...), g);
    }

    void sum_plane(int64_t index, const Piece& p, int64_t c) const {
        const int64_t inner = s.view.inner, stride = s.view.channels * inner;
        int64_t at = (p.image * s.view.channels + c) * inner + p.at;
        const vf k = set1(job.lines.center[c]), scale = set1(job.lines.scale[c]),
                 shift = set1(job.lines.shift[c]);
        const Tail rest = tail(p.n % VL);
        const vf kept = load(kOnes, rest);
        vf a[4] = {zero(), zero(), zero(), zero()}, b[4] = {zero(), zero(), zero(), zero()};
        const auto add = [&](int u, int64_t i) {
            const vf d = load(x + i) - k, g = gradient(i, d, scale, shift);
            a[u] = a[u] + g;
            b[u] = fma(g, d, b[u]);
        };
        for (int64_t o = 0; o < p.planes; ++o, at += stride) {
            int64_t i = at;
            const int64_t last = at + p.n;
            for (; i + 4 * VL <= last; i += 4 * VL) {
                add(0, i);
                add(1, i + VL);
                add(2, i + 2 * VL);
                add(3, i + 3 * VL);
            }
            if (i + VL <= last) {
                add(0, i);
                i += VL;
            }
            if (i + VL <= last) {
                add(1, i);
                i += VL;
            }
            if (i + VL <= last) {
                add(2, i);
                i += VL;
            }
            if (i < last) {
                const vf d = (load(x + i, rest) - k) * kept, g = gradient(i, d, scale, shift, rest);
                a[3] = a[3] + g;
                b[3] = fma(g, d, b[3]);
            }
        }
        first[index * s.lanes + c] = sum((a[0] + a[1]) + (a[2] + a[3]));
        second[index * s.lanes + c] = sum((b[0] + b[1]) + (b[2] + b[3]));
    }

    template <int R, class... Masked>
    void add_rows(int64_t at, int64_t k, float* f, float* q, Masked... t) const {
        const vf center = load(job.lines.center + k, t...);
        vf scale = zero(), shift = zero();
        if constexpr (M == Mask::line) {
            scale = load(job.lines.scale + k, t...);
            shift = load(job.lines.shift + k, t...);
        }
        vf a = load(f, t...), b = load(q, t...);
        for (int r = 0; r < R; ++r) {
            const int64_t i = at + r * s.lanes + k;
            prefetch(x + i + R * s.lanes);
            prefetch(dy + i + R * s.lanes);
            const vf d = load(x + i, t...) - center, g = gradient(i, d, scale, shift, t...);
            a = a + g;
            b = fma(g, d, b);
        }
        store(f, a, t...);
        store(q, b, t...);
    }
    void sum_rows(int64_t index, const Piece& p, int64_t lanes) const {
        const int64_t at = p.image * s.lanes;
        float *f = first + index * s.lanes, *q = second + index * s.lanes;
        for (int64_t k = 0; k < lanes; ++k) f[k] = q[k] = 0;
        const auto step = [&](auto count, int64_t r) {
            constexpr int R = decltype(count)::value;
            int64_t k = 0;
            for (; k + VL <= lanes; k += VL) add_rows<R>(at + r * s.lanes, k, f + k, q + k);
            if (k < lanes) add_rows<R>(at + r * s.lanes, k, f + k, q + k, tail(lanes - k));
        };
        int64_t r = 0;
        for (; r + 4 <= p.planes; r += 4) step(Count<4>{}, r);
        for (; r < p.planes; ++r) step(Count<1>{}, r);
    }
    void total(int64_t c0, int64_t c1) const {
        double sums[kChannelBlock] = {}, products[kChannelBlock] = {};
        for_partials(s, c0, c1, [&](int64_t k, int64_t at, double) {
            sums[k] += static_cast<double>(first[at]);
            products[k] += static_cast<double>(second[at]);
        });
        for (int64_t k = 0; k < c1 - c0; ++k) {
            job.first[c0 + k] = sums[k];
            job.second[c0 + k] = products[k];
        }
    }

    // g stored for the residual, and what dx is made of it.
    template <class... Masked>
    vf keep(int64_t i, vf g, Masked... t) const {
        if (!dresidual) return g;
        if constexpr (sizeof...(t) == 0) {
            if (job.streaming) {
                store_streaming(dresidual + i, g);
                return g;
            }
        }
        store(dresidual + i, g, t...);
        return g;
    }
    template <class Lines>
    void write(int64_t at, int64_t n, int64_t ahead, const Lines& lines) const {
        T* const out = dx ? dx : dresidual;
        if (job.training && dx)
            write_run(out + at, n, job.streaming, [&](int64_t k, auto... t) {
                const int64_t i = at + k;
                prefetch(x + i + ahead);
                prefetch(dy + i + ahead);
                const auto l = lines(k, t...);
                const vf d = load(x + i, t...) - l.center;
                const vf g = keep(i, gradient(i, d, l.scale, l.shift, t...), t...);
                return fma(g, l.scale, fma(d, l.slope, l.offset));
            });
        else
            write_run(out + at, n, job.streaming, [&](int64_t k, auto... t) {
                const int64_t i = at + k;
                const auto l = lines(k, t...);
                vf d = zero();
                if constexpr (M == Mask::line) d = load(x + i, t...) - l.center;
                const vf g = gradient(i, d, l.scale, l.shift, t...);
                if (!dx) return g;
                return keep(i, g, t...) * l.scale;
            });
    }
    struct Line {
        vf center, scale, shift, slope, offset;
    };
    void write_plane(int64_t image, int64_t c, int64_t at, int64_t n, int64_t ahead) const {
        const BatchNormLines& l = job.lines;
        const Line line{set1(l.center[c]), set1(l.scale[c]), set1(l.shift[c]), set1(l.slope[c]),
                        set1(l.offset[c])};
        write((image * s.view.channels + c) * s.view.inner + at, n, ahead,
              [&](int64_t, auto...) -> const Line& { return line; });
    }
    void write_rows(int64_t at, int64_t lanes) const {
        const BatchNormLines& l = job.lines;
        write(at, lanes, kRowsAhead, [&](int64_t k, auto... t) {
            return Line{load(l.center + k, t...), load(l.scale + k, t...), load(l.shift + k, t...),
                        load(l.slope + k, t...), load(l.offset + k, t...)};
        });
    }
};

template <class T>
void backward(const BatchNormBackwardJob& job) {
    const bool writes = job.dx || job.dresidual;
    if (!job.relu)
        run_job(job, Backward<Mask::none, T>{job}, writes);
    else if (job.y)
        run_job(job, Backward<Mask::output, T>{job}, writes);
    else
        run_job(job, Backward<Mask::line, T>{job}, writes);
}

}  // namespace

void batch_norm_backward_kernel(const BatchNormBackwardJob& job) {
    if (job.dtype == DType::bf16) return backward<bfloat16>(job);
    backward<float>(job);
}

}  // namespace fastconv::FC_ISA_NS
