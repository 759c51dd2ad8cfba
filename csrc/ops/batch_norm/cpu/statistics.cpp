// The reductions of batch normalisation: float32 sums over pieces that depend on the shape alone, then a
// float64 total in the order of the pieces.
#include "cpu/parallel.h"
#include "cpu/simd/simd.h"
#include "ops/batch_norm/kernels.h"

namespace fastconv::FC_ISA_NS {
namespace {

constexpr int64_t kGrainElements = 16384;
constexpr int64_t kChannelBlock = 32;

alignas(64) constexpr float kOnes[16] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};

// Adds term(i) over n neighbours, four vectors at a time; `masked(i, t)` gives the last, cut short one.
template <class Term, class Masked>
inline float sum_run(int64_t n, const Term& term, const Masked& masked) {
    vf a[4] = {zero(), zero(), zero(), zero()};
    int64_t i = 0;
    for (; i + 4 * VL <= n; i += 4 * VL)
        for (int u = 0; u < 4; ++u) a[u] = a[u] + term(i + u * VL);
    for (; i + VL <= n; i += VL) a[0] = a[0] + term(i);
    if (i < n) a[1] = a[1] + masked(i, tail(n - i));
    return sum((a[0] + a[1]) + (a[2] + a[3]));
}

// Two passes over a run: its mean m (rounded), the sum of the deviations from m, and of their squares.
inline void run_moments(const float* x, int64_t n, float* mean, float* first, float* second) {
    const float m =
        sum_run(
            n, [&](int64_t i) { return load(x + i); }, [&](int64_t i, Tail t) { return load(x + i, t); }) /
        static_cast<float>(n);
    const vf vm = set1(m);
    const auto part = [&](int64_t i, Tail t) { return (load(x + i, t) - vm) * load(kOnes, t); };
    *mean = m;
    *first = sum_run(n, [&](int64_t i) { return load(x + i) - vm; }, part);
    *second = sum_run(
        n,
        [&](int64_t i) {
            const vf d = load(x + i) - vm;
            return d * d;
        },
        [&](int64_t i, Tail t) {
            const vf d = part(i, t);
            return d * d;
        });
}

inline void run_sums(const float* dy, const float* x, float center, int64_t n, float* first, float* second) {
    const vf c = set1(center);
    *first = sum_run(
        n, [&](int64_t i) { return load(dy + i); }, [&](int64_t i, Tail t) { return load(dy + i, t); });
    *second = sum_run(
        n, [&](int64_t i) { return load(dy + i) * (load(x + i) - c); },
        [&](int64_t i, Tail t) { return load(dy + i, t) * ((load(x + i, t) - c) * load(kOnes, t)); });
}

// The same for `lanes` columns of `rows` rows.
inline void row_moments(const float* __restrict x, int64_t rows, int64_t stride, int64_t lanes,
                        float* __restrict mean, float* __restrict first, float* __restrict second) {
    for (int64_t k = 0; k < lanes; ++k) mean[k] = first[k] = second[k] = 0;
    for (int64_t r = 0; r < rows; ++r)
        for (int64_t k = 0; k < lanes; ++k) mean[k] += x[r * stride + k];
    const float n = static_cast<float>(rows);
    for (int64_t k = 0; k < lanes; ++k) mean[k] /= n;
    for (int64_t r = 0; r < rows; ++r)
        for (int64_t k = 0; k < lanes; ++k) {
            const float d = x[r * stride + k] - mean[k];
            first[k] += d;
            second[k] += d * d;
        }
}

inline void row_sums(const float* __restrict dy, const float* __restrict x, const float* __restrict center,
                     int64_t rows, int64_t stride, int64_t lanes, float* __restrict first,
                     float* __restrict second) {
    for (int64_t k = 0; k < lanes; ++k) first[k] = second[k] = 0;
    for (int64_t r = 0; r < rows; ++r)
        for (int64_t k = 0; k < lanes; ++k) {
            first[k] += dy[r * stride + k];
            second[k] += dy[r * stride + k] * (x[r * stride + k] - center[k]);
        }
}

// A piece of a split: its first element (inner == 1) or segment, how many values a lane has, how many folds.
struct Piece {
    int64_t row, count, fold;
};
inline Piece piece_of(const BatchNormSplit& s, int64_t i) {
    if (s.view.inner > 1) {
        const int64_t begin = i % s.segments * s.length, left = s.view.inner - begin;
        return {begin, left < s.length ? left : s.length, 1};
    }
    const int64_t row = i * s.length, left = s.rows - row;
    if (left <= 0) return {s.rows, 1, s.short_fold};
    return {row, left < s.length ? left : s.length, s.fold};
}

// plane(i, piece, c, offset) for every piece of every plane, or rows(i, piece, offset, lanes) for every piece
// of rows: both write the partial sums of piece i.
template <class Plane, class Rows>
inline void for_pieces(const BatchNormSplit& s, const Plane& plane, const Rows& rows) {
    const int64_t channels = s.view.channels, inner = s.view.inner;
    if (inner > 1) {
        parallel_for(s.pieces * channels, kGrainElements / s.length + 1,
                     [&](int64_t begin, int64_t end, int) {
                         for (int64_t k = begin; k < end; ++k) {
                             // Segments of a plane are neighbours in memory, planes of an image next.
                             const int64_t segment = k % s.segments, c = k / s.segments % channels;
                             const int64_t o = k / s.segments / channels, i = o * s.segments + segment;
                             const Piece p = piece_of(s, i);
                             plane(i, p, c, (o * channels + c) * inner + p.row);
                         }
                     });
        return;
    }
    parallel_for(s.pieces, kGrainElements / (s.length * s.lanes) + 1, [&](int64_t begin, int64_t end, int) {
        for (int64_t i = begin; i < end; ++i) {
            const Piece p = piece_of(s, i);
            rows(i, p, p.row * s.lanes, p.fold * channels);
        }
    });
}

// add(c - first channel of the block, index of the partial, values in the piece) over a block of channels.
template <class Add>
inline void for_partials(const BatchNormSplit& s, int64_t c0, int64_t c1, const Add& add) {
    for (int64_t i = 0; i < s.pieces; ++i) {
        const Piece p = piece_of(s, i);
        const double n = static_cast<double>(p.count);
        for (int64_t f = 0; f < p.fold; ++f) {
            const int64_t at = i * s.lanes + f * s.view.channels + c0;
            for (int64_t k = 0; k < c1 - c0; ++k) add(k, at + k, n);
        }
    }
}

template <class Body>
inline void for_channel_blocks(const BatchNormSplit& s, const Body& body) {
    const int64_t channels = s.view.channels, blocks = (channels + kChannelBlock - 1) / kChannelBlock;
    const int64_t work = s.pieces * s.fold * kChannelBlock;
    parallel_for(blocks, kGrainElements / (work + 1) + 1, [&](int64_t begin, int64_t end, int) {
        for (int64_t b = begin; b < end; ++b) {
            const int64_t c0 = b * kChannelBlock, c1 = c0 + kChannelBlock;
            body(c0, c1 < channels ? c1 : channels);
        }
    });
}

}  // namespace

void batch_norm_statistics_f32(const BatchNormSplit& s, const float* x, float* partials, double* mean,
                               double* deviations) {
    float *m = partials, *first = m + s.pieces * s.lanes, *second = first + s.pieces * s.lanes;
    for_pieces(
        s,
        [&](int64_t i, const Piece& p, int64_t c, int64_t offset) {
            const int64_t at = i * s.lanes + c;
            run_moments(x + offset, p.count, m + at, first + at, second + at);
        },
        [&](int64_t i, const Piece& p, int64_t offset, int64_t lanes) {
            const int64_t at = i * s.lanes;
            row_moments(x + offset, p.count, s.lanes, lanes, m + at, first + at, second + at);
        });
    for_channel_blocks(s, [&](int64_t c0, int64_t c1) {
        double total[kChannelBlock] = {}, squares[kChannelBlock] = {};
        for_partials(s, c0, c1, [&](int64_t k, int64_t at, double n) {
            total[k] += n * static_cast<double>(m[at]) + static_cast<double>(first[at]);
        });
        for (int64_t k = 0; k < c1 - c0; ++k) mean[c0 + k] = total[k] / static_cast<double>(s.view.values());
        // Sum of (x - mean)^2 = sum of (x - m)^2 + 2 (m - mean) sum of (x - m) + n (m - mean)^2.
        for_partials(s, c0, c1, [&](int64_t k, int64_t at, double n) {
            const double off = static_cast<double>(m[at]) - mean[c0 + k];
            squares[k] +=
                static_cast<double>(second[at]) + off * (2 * static_cast<double>(first[at]) + n * off);
        });
        for (int64_t k = 0; k < c1 - c0; ++k) deviations[c0 + k] = squares[k] < 0 ? 0 : squares[k];
    });
}

void batch_norm_sums_f32(const BatchNormSplit& s, const float* dy, const float* x, const float* center,
                         float* partials, double* sum, double* product) {
    float *first = partials, *second = first + s.pieces * s.lanes;
    for_pieces(
        s,
        [&](int64_t i, const Piece& p, int64_t c, int64_t offset) {
            const int64_t at = i * s.lanes + c;
            run_sums(dy + offset, x + offset, center[c], p.count, first + at, second + at);
        },
        [&](int64_t i, const Piece& p, int64_t offset, int64_t lanes) {
            const int64_t at = i * s.lanes;
            row_sums(dy + offset, x + offset, center, p.count, s.lanes, lanes, first + at, second + at);
        });
    for_channel_blocks(s, [&](int64_t c0, int64_t c1) {
        double total[kChannelBlock] = {}, products[kChannelBlock] = {};
        for_partials(s, c0, c1, [&](int64_t k, int64_t at, double) {
            total[k] += static_cast<double>(first[at]);
            products[k] += static_cast<double>(second[at]);
        });
        for (int64_t k = 0; k < c1 - c0; ++k) {
            sum[c0 + k] = total[k];
            product[c0 + k] = products[k];
        }
    });
}

}  // namespace fastconv::FC_ISA_NS
