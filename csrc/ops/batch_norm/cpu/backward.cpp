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
            *y = static_cast<const T*>(job.y), *sum_with = static_cast<const T*>(job.sum);
    T *dx = static_cast<T*>(job.dx), *dresidual = static_cast<T*>(job.dresidual);
    float *first = job.partials, *second = first + s.pieces * s.lanes;

    // g at element i of dy and `output` of y, where d is x - center there.
    template <class... Masked>
    vf gradient(int64_t i, int64_t output, vf d, vf scale, vf shift, Masked... t) const {
        const vf g = load(dy + i, t...);
        if constexpr (M == Mask::none) return g;
        if constexpr (M == Mask::line) return passed(fma(d, scale, shift), g);
        return passed(load(y + output, t...), g);
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
            const vf d = load(x + i) - k, g = gradient(i, i, d, scale, shift);
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
                const vf d = (load(x + i, rest) - k) * kept, g = gradient(i, i, d, scale, shift, rest);
                a[3] = a[3] + g;
                b[3] = fma(g, d, b[3]);
            }
        }
        first[index * s.lanes + c] = sum((a[0] + a[1]) + (a[2] + a[3]));
        second[index * s.lanes + c] = sum((b[0] + b[1]) + (b[2] + b[3]));
    }

    template <int R, class... Masked>
    void add_rows(int64_t row, int64_t k, float* f, float* q, Masked... t) const {
        const vf center = load(job.lines.center + k, t...);
        vf scale = zero(), shift = zero();
        if constexpr (M == Mask::line) {
            scale = load(job.lines.scale + k, t...);
            shift = load(job.lines.shift + k, t...);
        }
        vf a = load(f, t...), b = load(q, t...);
        for (int r = 0; r < R; ++r) {
            const T* const from = x + (row + r) * job.x_row + k;
            const int64_t i = (row + r) * job.dy_row + k;
            prefetch(from + R * job.x_row);
            prefetch(dy + i + R * job.dy_row);
            const vf d = load(from, t...) - center;
            const vf g = gradient(i, (row + r) * s.lanes + k, d, scale, shift, t...);
            a = a + g;
            b = fma(g, d, b);
        }
        store(f, a, t...);
        store(q, b, t...);
    }
    void sum_rows(int64_t index, const Piece& p, int64_t lanes) const {
        float *f = first + index * s.lanes, *q = second + index * s.lanes;
        for (int64_t k = 0; k < lanes; ++k) f[k] = q[k] = 0;
        const auto step = [&](auto count, int64_t r) {
            constexpr int R = decltype(count)::value;
            int64_t k = 0;
            for (; k + VL <= lanes; k += VL) add_rows<R>(p.image + r, k, f + k, q + k);
            if (k < lanes) add_rows<R>(p.image + r, k, f + k, q + k, tail(lanes - k));
        };
        int64_t r = 0;
        if (s.rows * (job.x_row + job.dy_row) <= kRowsTogether)
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

    // Where a stretch lies in x, in dy, in dx and what it is added to, and in the others; how far ahead in
    // the first two to prefetch.
    struct Place {
        int64_t x, dy, out, rest;
        int64_t x_ahead, dy_ahead;
    };
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
    template <class Line, class... Masked>
    vf masked(const Place& p, int64_t k, const Line& l, Masked... t) const {
        vf d = zero();
        if constexpr (M == Mask::line) d = load(x + p.x + k, t...) - l.center;
        return gradient(p.dy + k, p.rest + k, d, l.scale, l.shift, t...);
    }
    template <bool Sum, class Lines>
    void write_dx(const Place& p, int64_t n, const Lines& lines) const {
        const auto whole = [&](int64_t k, vf v, auto... t) {
            if constexpr (Sum) return v + load(sum_with + p.out + k, t...);
            return v;
        };
        if (job.training)
            write_run(dx + p.out, n, job.streaming, [&](int64_t k, auto... t) {
                prefetch(x + p.x + k + p.x_ahead);
                prefetch(dy + p.dy + k + p.dy_ahead);
                const auto l = lines(k, t...);
                const vf d = load(x + p.x + k, t...) - l.center;
                const vf g = gradient(p.dy + k, p.rest + k, d, l.scale, l.shift, t...);
                const vf line = fma(d, l.slope, l.offset);
                return whole(k, fma(keep(p.rest + k, g, t...), l.scale, line), t...);
            });
        else
            write_run(dx + p.out, n, job.streaming, [&](int64_t k, auto... t) {
                const auto l = lines(k, t...);
                return whole(k, keep(p.rest + k, masked(p, k, l, t...), t...) * l.scale, t...);
            });
    }
    template <class Lines>
    void write(const Place& p, int64_t n, const Lines& lines) const {
        if (dx && sum_with)
            write_dx<true>(p, n, lines);
        else if (dx)
            write_dx<false>(p, n, lines);
        else
            write_run(dresidual + p.rest, n, job.streaming,
                      [&](int64_t k, auto... t) { return masked(p, k, lines(k, t...), t...); });
    }
    struct Line {
        vf center, scale, shift, slope, offset;
    };
    void write_plane(int64_t image, int64_t c, int64_t at, int64_t n, int64_t ahead) const {
        const BatchNormLines& l = job.lines;
        const Line line{set1(l.center[c]), set1(l.scale[c]), set1(l.shift[c]), set1(l.slope[c]),
                        set1(l.offset[c])};
        const int64_t i = (image * s.view.channels + c) * s.view.inner + at;
        write({i, i, i, i, ahead, ahead}, n, [&](int64_t, auto...) -> const Line& { return line; });
    }
    void write_rows(int64_t row, int64_t lanes) const {
        const BatchNormLines& l = job.lines;
        const Place place{row * job.x_row,
                          row * job.dy_row,
                          row * job.out_row,
                          row * s.lanes,
                          rows_ahead(lanes, job.x_row),
                          rows_ahead(lanes, job.dy_row)};
        write(place, lanes, [&](int64_t k, auto... t) {
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
