// Batch normalisation's forward pass: moments of the pieces, then a line per channel.
//
// Sums of x - k and of its square lose nothing to a mean far above the spread where k lies among the values.
// k is the mean of a piece's first sixteenth: if those values lie a distance d from the rest, they alone add
// d^2 / 16 to the piece's mean squared deviation, so the rounding of d^2 costs 16 units in the last place at
// most. Every value is read from memory once.
#include "ops/batch_norm/cpu/pieces.h"

namespace fastconv::FC_ISA_NS {
namespace {

constexpr int64_t kProbe = 16;  // one of how many values

inline float finite_or_zero(float v) { return v - v == 0 ? v : 0; }

// `planes` stretches of n values, `stride` apart.
template <class T>
inline void plane_moments(const T* x, int64_t planes, int64_t stride, int64_t n, float* center, float* first,
                          float* second) {
    const int64_t some = planes > 1 ? (planes + kProbe - 1) / kProbe : 1;
    int64_t few = n / kProbe < 64 ? 64 : n / kProbe;
    if (planes > 1 || few > n) few = n;
    vf a = zero(), b = zero();
    for (int64_t o = 0; o < some; ++o) {
        const T* from = x + o * stride;
        int64_t i = 0;
        for (; i + 2 * VL <= few; i += 2 * VL) {
            a = a + load(from + i);
            b = b + load(from + i + VL);
        }
        for (; i < few; i += VL) a = a + load(from + i, tail(few - i));
    }
    const float m = finite_or_zero(sum(a + b) / static_cast<float>(some * few));

    const vf k = set1(m);
    const Tail rest = tail(n % VL);
    const vf kept = load(kOnes, rest);
    vf s[4] = {zero(), zero(), zero(), zero()}, q[4] = {zero(), zero(), zero(), zero()};
    const auto add = [&](int u, vf d) {
        s[u] = s[u] + d;
        q[u] = fma(d, d, q[u]);
    };
    for (int64_t o = 0; o < planes; ++o) {
        const T* from = x + o * stride;
        int64_t i = 0;
        for (; i + 4 * VL <= n; i += 4 * VL) {
            add(0, load(from + i) - k);
            add(1, load(from + i + VL) - k);
            add(2, load(from + i + 2 * VL) - k);
            add(3, load(from + i + 3 * VL) - k);
        }
        if (i + VL <= n) {
            add(0, load(from + i) - k);
            i += VL;
        }
        if (i + VL <= n) {
            add(1, load(from + i) - k);
            i += VL;
        }
        if (i + VL <= n) {
            add(2, load(from + i) - k);
            i += VL;
        }
        if (i < n) add(3, (load(from + i, rest) - k) * kept);
    }
    *center = m;
    *first = sum((s[0] + s[1]) + (s[2] + s[3]));
    *second = sum((q[0] + q[1]) + (q[2] + q[3]));
}

template <class T>
inline void row_moments(const T* x, int64_t rows, int64_t stride, int64_t lanes, float* center, float* first,
                        float* second) {
    const int64_t some = (rows + kProbe - 1) / kProbe;
    const vf share = set1(1.0f / static_cast<float>(some));
    for (int64_t k = 0; k < lanes; k += VL) {
        const Tail t = tail(lanes - k);
        vf a = zero();
        for (int64_t r = 0; r < some; ++r) a = a + load(x + r * stride + k, t);
        const vf m = a * share, off = m - m;
        store(center + k, select(unordered(off, off), zero(), m), t);
        store(first + k, zero(), t);
        store(second + k, zero(), t);
    }
    const Source<T> from = rows_from(x, stride, lanes, 0);
    in_row_blocks(rows, lanes, kSumTile, [&](int64_t row, int64_t count) {
        const Ahead<T> ahead(from, row, count, rows, lanes);
        in_vectors<kWide>(lanes, [&](auto width, int64_t c, auto... t) FC_INLINE {
            constexpr int W = decltype(width)::value;
            vf k[W], s[W], q[W];
            unrolled<W>([&](auto i) FC_INLINE {
                k[i] = load(center + c + i * VL, t...);
                s[i] = load(first + c + i * VL, t...);
                q[i] = load(second + c + i * VL, t...);
            });
            const int64_t step = ahead.step(W * VL);
            const T *at = x + row * stride + c, *next = ahead.next + c * ahead.column;
            for (int64_t r = 0; r < count; ++r, at += stride, next += step)
                unrolled<W>([&](auto i) FC_INLINE {
                    prefetch(next + i * VL);
                    const vf d = load(at + i * VL, t...) - k[i];
                    s[i] = s[i] + d;
                    q[i] = fma(d, d, q[i]);
                });
            unrolled<W>([&](auto i) FC_INLINE {
                store(first + c + i * VL, s[i], t...);
                store(second + c + i * VL, q[i], t...);
            });
        });
    });
}

template <bool Relu, class T>
struct Forward {
    const BatchNormForwardJob& job;
    const BatchNormSplit& s = job.split;
    const T* x = static_cast<const T*>(job.x);
    const T* residual = static_cast<const T*>(job.residual);
    T* y = static_cast<T*>(job.y);
    float *center = job.partials, *first = center + s.pieces * s.lanes, *second = first + s.pieces * s.lanes;

    void sum_plane(int64_t i, const Piece& p, int64_t c) const {
        const int64_t at = i * s.lanes + c, inner = s.view.inner;
        plane_moments(x + (p.image * s.view.channels + c) * inner + p.at, p.planes, s.view.channels * inner,
                      p.n, center + at, first + at, second + at);
    }
    void sum_rows(int64_t i, const Piece& p, int64_t lanes) const {
        const int64_t at = i * s.lanes;
        row_moments(x + p.image * job.x_row, p.planes, job.x_row, lanes, center + at, first + at,
                    second + at);
    }
    void total(int64_t c0, int64_t c1) const {
        double sums[kChannelBlock] = {}, squares[kChannelBlock] = {};
        for_partials(s, c0, c1, [&](int64_t k, int64_t at, double n) {
            sums[k] += n * static_cast<double>(center[at]) + static_cast<double>(first[at]);
        });
        double* mean = job.first + c0;
        for (int64_t k = 0; k < c1 - c0; ++k) mean[k] = sums[k] / static_cast<double>(s.view.values());
        // Sum of (x - mean)^2 = sum of (x - m)^2 + 2 (m - mean) sum of (x - m) + n (m - mean)^2.
        for_partials(s, c0, c1, [&](int64_t k, int64_t at, double n) {
            const double off = static_cast<double>(center[at]) - mean[k];
            squares[k] +=
                static_cast<double>(second[at]) + off * (2 * static_cast<double>(first[at]) + n * off);
        });
        for (int64_t k = 0; k < c1 - c0; ++k) job.second[c0 + k] = squares[k] < 0 ? 0 : squares[k];
    }
    // The second operand of max wins where it is NaN.
    static vf end(vf v) { return Relu ? max(zero(), v) : v; }
    void write_plane(int64_t image, int64_t c, int64_t at, int64_t n, int64_t ahead) const {
        const int64_t offset = (image * s.view.channels + c) * s.view.inner + at;
        const vf m = set1(job.lines.center[c]), a = set1(job.lines.scale[c]), b = set1(job.lines.shift[c]);
        const T* from = x + offset;
        if (residual)
            write_run(y + offset, n, job.streaming, [&](int64_t i, auto... t) {
                prefetch(from + i + ahead);
                return end(fma(load(from + i, t...) - m, a, b) + load(residual + offset + i, t...));
            });
        else
            write_run(y + offset, n, job.streaming, [&](int64_t i, auto... t) {
                prefetch(from + i + ahead);
                return end(fma(load(from + i, t...) - m, a, b));
            });
    }
    struct Line {
        vf center, scale, shift;
    };
    void write_rows(int64_t row, int64_t rows, int64_t lanes, int64_t jump) const {
        const BatchNormLines l = job.lines;
        const int64_t pitch = job.x_row, add_pitch = s.lanes;
        const T *const at = x + row * pitch, *const add = residual + row * add_pitch;
        const Source<T> from = rows_from(at, pitch, lanes, jump);
        const auto write = [&](const auto& value) {
            write_block<false, kWide>(
                y + row * job.out_row, rows, lanes, job.out_row, job.streaming, from, from,
                [=](int64_t k, auto... t) FC_INLINE {
                    return Line{load(l.center + k, t...), load(l.scale + k, t...), load(l.shift + k, t...)};
                },
                value);
        };
        const auto value = [=](int64_t r, int64_t k, const Line& line, auto... t) FC_INLINE {
            return fma(load(at + r * pitch + k, t...) - line.center, line.scale, line.shift);
        };
        if (residual)
            write([=](int64_t r, int64_t k, const Line& line, auto... t) FC_INLINE {
                return end(value(r, k, line, t...) + load(add + r * add_pitch + k, t...));
            });
        else
            write([=](int64_t r, int64_t k, const Line& line, auto... t)
                      FC_INLINE { return end(value(r, k, line, t...)); });
    }
};

template <class T>
void forward(const BatchNormForwardJob& job) {
    if (job.relu)
        run_job(job, Forward<true, T>{job}, job.y != nullptr);
    else
        run_job(job, Forward<false, T>{job}, job.y != nullptr);
}

}  // namespace

void batch_norm_forward_kernel(const BatchNormForwardJob& job) {
    if (job.dtype == DType::bf16) return forward<bfloat16>(job);
    forward<float>(job);
}

}  // namespace fastconv::FC_ISA_NS
