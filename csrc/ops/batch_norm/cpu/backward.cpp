// Batch normalisation's backward pass: one reading of dy and x for their sums, one for dx. A ReLU behind it
// is undone while dy is loaded: g is dy where the ReLU let the value pass.
#include "ops/activation/cpu/functions.h"
#include "ops/batch_norm/cpu/pieces.h"

namespace fastconv::FC_ISA_NS {
namespace {

// Where g comes from: dy alone, dy and the sign of the line of x, or dy and the sign of the saved output.
enum class Mask { none, line, output };

template <Mask M, class T>
struct Backward {
    const BatchNormBackwardJob& job;
    const BatchNormSplit& s = job.split;
    const T *x = static_cast<const T*>(job.x), *dy = static_cast<const T*>(job.dy),
            *y = static_cast<const T*>(job.y), *sum_with = static_cast<const T*>(job.sum);
    T *dx = static_cast<T*>(job.dx), *dresidual = static_cast<T*>(job.dresidual);
    float *first = job.partials, *second = first + s.pieces * s.lanes;
    static constexpr int kTile = M == Mask::line ? kNarrow : kWide;

    // g at an element of dy and `output`, one of y, where d is x - center there.
    template <class... Masked>
    static vf gradient(const T* at, const T* output, vf d, vf scale, vf shift, Masked... t) {
        const vf g = load(at, t...);
        if constexpr (M == Mask::none) return g;
        if constexpr (M == Mask::line) return relu_gradient(fma(d, scale, shift), g);
        return relu_gradient(load(output, t...), g);
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
            const vf d = load(x + i) - k, g = gradient(dy + i, y + i, d, scale, shift);
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
                const vf d = (load(x + i, rest) - k) * kept,
                         g = gradient(dy + i, y + i, d, scale, shift, rest);
                a[3] = a[3] + g;
                b[3] = fma(g, d, b[3]);
            }
        }
        first[index * s.lanes + c] = sum((a[0] + a[1]) + (a[2] + a[3]));
        second[index * s.lanes + c] = sum((b[0] + b[1]) + (b[2] + b[3]));
    }

    void sum_rows(int64_t index, const Piece& p, int64_t lanes) const {
        float *f = first + index * s.lanes, *q = second + index * s.lanes;
        for (int64_t k = 0; k < lanes; ++k) f[k] = q[k] = 0;
        const BatchNormLines lines = job.lines;
        const int64_t x_row = job.x_row, dy_row = job.dy_row, y_row = s.lanes;
        const T *const xs = x + p.image * x_row, *const dys = dy + p.image * dy_row,
                       *const ys = y + p.image * y_row;
        const Source<T> from_x = rows_from(xs, x_row, lanes, 0), from_dy = rows_from(dys, dy_row, lanes, 0);
        in_row_blocks(p.planes, lanes, kSumTile, [&](int64_t row, int64_t rows) {
            const Ahead<T> x_ahead(from_x, row, rows, p.planes, lanes),
                dy_ahead(from_dy, row, rows, p.planes, lanes);
            in_vectors<kTile>(lanes, [&](auto width, int64_t k, auto... t) FC_INLINE {
                constexpr int W = decltype(width)::value;
                vf center[W], scale[W], shift[W], a[W], b[W];
                unrolled<W>([&](auto i) FC_INLINE {
                    center[i] = load(lines.center + k + i * VL, t...);
                    scale[i] = shift[i] = zero();
                    if constexpr (M == Mask::line) {
                        scale[i] = load(lines.scale + k + i * VL, t...);
                        shift[i] = load(lines.shift + k + i * VL, t...);
                    }
                    a[i] = load(f + k + i * VL, t...);
                    b[i] = load(q + k + i * VL, t...);
                });
                const int64_t x_step = x_ahead.step(W * VL), dy_step = dy_ahead.step(W * VL);
                const T *x_next = x_ahead.next + k * x_ahead.column,
                        *dy_next = dy_ahead.next + k * dy_ahead.column;
                for (int64_t r = row; r < row + rows; ++r, x_next += x_step, dy_next += dy_step)
                    unrolled<W>([&](auto i) FC_INLINE {
                        prefetch(x_next + i * VL);
                        prefetch(dy_next + i * VL);
                        const vf d = load(xs + r * x_row + k + i * VL, t...) - center[i];
                        const vf g = gradient(dys + r * dy_row + k + i * VL, ys + r * y_row + k + i * VL, d,
                                              scale[i], shift[i], t...);
                        a[i] = a[i] + g;
                        b[i] = fma(g, d, b[i]);
                    });
                unrolled<W>([&](auto i) FC_INLINE {
                    store(f + k + i * VL, a[i], t...);
                    store(q + k + i * VL, b[i], t...);
                });
            });
        });
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

    // Rows to write: where they lie in dx and in what it is added to, and in the arrays whose rows are
    // s.lanes long; x and dy.
    struct Block {
        int64_t rows, lanes, out, rest;
        Source<T> x, dy;
    };
    struct Line {
        vf center, scale, shift, slope, offset;
    };
    // What a block's values are made of, in variables that stores do not make the compiler read again.
    struct Operands {
        const T *x, *dy, *y, *sum;
        int64_t x_row, dy_row, out_row, rest_row;
        T* dresidual;
        bool streaming;

        vf deviation(int64_t r, int64_t k, const Line& l, Tail t) const {
            return load(x + r * x_row + k, t) - l.center;
        }
        vf deviation(int64_t r, int64_t k, const Line& l) const { return load(x + r * x_row + k) - l.center; }
        template <class... Masked>
        vf g(int64_t r, int64_t k, vf d, const Line& l, Masked... t) const {
            const int64_t rest = r * rest_row + k;
            return gradient(dy + r * dy_row + k, y + rest, d, l.scale, l.shift, t...);
        }
        // g, stored for the residual too.
        template <class... Masked>
        vf kept(int64_t r, int64_t k, vf v, Masked... t) const {
            if (!dresidual) return v;
            T* const to = dresidual + r * rest_row + k;
            if (streaming)
                put<true>(to, v, t...);
            else
                put<false>(to, v, t...);
            return v;
        }
    };
    template <bool Sum, class Lines>
    void write_dx(const Block& b, const Operands& from, const Lines& lines) const {
        const auto write = [&](const auto& value) FC_INLINE {
            write_block<true, kTile>(dx + b.out, b.rows, b.lanes, job.out_row, job.streaming, b.x, b.dy,
                                     lines, [=](int64_t r, int64_t k, const Line& l, auto... t) FC_INLINE {
                                         const vf v = value(r, k, l, t...);
                                         if constexpr (Sum)
                                             return v + load(from.sum + r * from.out_row + k, t...);
                                         return v;
                                     });
        };
        if (job.training)
            write([=](int64_t r, int64_t k, const Line& l, auto... t) FC_INLINE {
                const vf d = from.deviation(r, k, l, t...);
                const vf g = from.kept(r, k, from.g(r, k, d, l, t...), t...);
                return fma(g, l.scale, fma(d, l.slope, l.offset));
            });
        else
            write([=](int64_t r, int64_t k, const Line& l, auto... t)
                      FC_INLINE { return from.kept(r, k, masked(from, r, k, l, t...), t...) * l.scale; });
    }
    template <class... Masked>
    static vf masked(const Operands& from, int64_t r, int64_t k, const Line& l, Masked... t) {
        vf d = zero();
        if constexpr (M == Mask::line) d = from.deviation(r, k, l, t...);
        return from.g(r, k, d, l, t...);
    }
    template <class Lines>
    void write(const Block& b, const Lines& lines) const {
        const Operands from{b.x.at,           b.dy.at,   y + b.rest,
                            sum_with + b.out, job.x_row, job.dy_row,
                            job.out_row,      s.lanes,   dresidual ? dresidual + b.rest : nullptr,
                            job.streaming};
        if (dx && sum_with)
            write_dx<true>(b, from, lines);
        else if (dx)
            write_dx<false>(b, from, lines);
        else
            write_block<false, kTile>(dresidual + b.rest, b.rows, b.lanes, s.lanes, job.streaming, b.dy, b.dy,
                                      lines, [=](int64_t r, int64_t k, const Line& l, auto... t) FC_INLINE {
                                          return masked(from, r, k, l, t...);
                                      });
    }
    void write_plane(int64_t image, int64_t c, int64_t at, int64_t n, int64_t ahead) const {
        const BatchNormLines& l = job.lines;
        const Line line{set1(l.center[c]), set1(l.scale[c]), set1(l.shift[c]), set1(l.slope[c]),
                        set1(l.offset[c])};
        const int64_t i = (image * s.view.channels + c) * s.view.inner + at;
        write({1, n, i, i, {x + i, n, ahead, 0}, {dy + i, n, ahead, 0}},
              [&](int64_t, auto...) { return line; });
    }
    void write_rows(int64_t row, int64_t rows, int64_t lanes, int64_t jump) const {
        const BatchNormLines& l = job.lines;
        const Block block{rows,
                          lanes,
                          row * job.out_row,
                          row * s.lanes,
                          rows_from(x + row * job.x_row, job.x_row, lanes, jump),
                          rows_from(dy + row * job.dy_row, job.dy_row, lanes, jump)};
        write(block, [&](int64_t k, auto... t) {
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
