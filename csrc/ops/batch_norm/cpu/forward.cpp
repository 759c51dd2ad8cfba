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

// R rows, `stride` apart, into the lanes' sums.
template <int R, class T, class... Masked>
inline void add_rows(const T* x, int64_t stride, const float* center, float* first, float* second,
                     Masked... t) {
    const vf k = load(center, t...);
    vf s = load(first, t...), q = load(second, t...);
    for (int r = 0; r < R; ++r) {
        prefetch(x + (R + r) * stride);
        const vf d = load(x + r * stride, t...) - k;
        s = s + d;
        q = fma(d, d, q);
    }
    store(first, s, t...);
    store(second, q, t...);
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
    const auto step = [&](auto count, int64_t r) {
        constexpr int R = decltype(count)::value;
        const T* from = x + r * stride;
        int64_t k = 0;
        for (; k + VL <= lanes; k += VL) add_rows<R>(from + k, stride, center + k, first + k, second + k);
        if (k < lanes) add_rows<R>(from + k, stride, center + k, first + k, second + k, tail(lanes - k));
    };
    int64_t r = 0;
    for (; r + 4 <= rows; r += 4) step(Count<4>{}, r);
    for (; r < rows; ++r) step(Count<1>{}, r);
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
    void write_rows(int64_t row, int64_t lanes) const {
        const float *m = job.lines.center, *a = job.lines.scale, *b = job.lines.shift;
        const T* from = x + row * job.x_row;
        T* const out = y + row * job.out_row;
        const int64_t ahead = rows_ahead(lanes, job.x_row);
        const auto line = [&](int64_t i, auto... t) {
            prefetch(from + i + ahead);
            return fma(load(from + i, t...) - load(m + i, t...), load(a + i, t...), load(b + i, t...));
        };
        if (residual)
            write_run(out, lanes, job.streaming, [&](int64_t i, auto... t) {
                return end(line(i, t...) + load(residual + row * s.lanes + i, t...));
            });
        else
            write_run(out, lanes, job.streaming, [&](int64_t i, auto... t) { return end(line(i, t...)); });
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
