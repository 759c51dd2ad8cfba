// The element-wise passes of batch normalisation: one line per channel.
#include "cpu/parallel.h"
#include "cpu/simd/simd.h"
#include "ops/batch_norm/kernels.h"

namespace fastconv::FC_ISA_NS {
namespace {

constexpr int64_t kGrainElements = 16384;

// plane(offset, n, c): n neighbours of channel c; rows(offset, lanes): one row, lane k on line k.
template <class Plane, class Rows>
inline void for_lines(const BatchNormSplit& s, const Plane& plane, const Rows& rows) {
    const int64_t channels = s.view.channels, inner = s.view.inner;
    if (inner > 1) {
        parallel_for(
            s.pieces * channels, kGrainElements / s.length + 1, [&](int64_t begin, int64_t end, int) {
                for (int64_t k = begin; k < end; ++k) {
                    const int64_t at = k % s.segments * s.length, left = inner - at, p = k / s.segments;
                    plane(p * inner + at, left < s.length ? left : s.length, p % channels);
                }
            });
        return;
    }
    const int64_t all = s.rows + (s.short_fold ? 1 : 0);
    parallel_for(all, kGrainElements / s.lanes + 1, [&](int64_t begin, int64_t end, int) {
        for (int64_t r = begin; r < end; ++r)
            rows(r * s.lanes, r < s.rows ? s.lanes : s.short_fold * channels);
    });
}

}  // namespace

void batch_norm_normalize_f32(const BatchNormSplit& s, const BatchNormLines& lines, const float* x,
                              float* y) {
    const float* __restrict center = lines.center;
    const float* __restrict scale = lines.scale;
    const float* __restrict shift = lines.shift;
    for_lines(
        s,
        [&](int64_t at, int64_t n, int64_t c) {
            const float m = center[c], a = scale[c], b = shift[c];
            const float* __restrict from = x + at;
            float* __restrict to = y + at;
            for (int64_t i = 0; i < n; ++i) to[i] = (from[i] - m) * a + b;
        },
        [&](int64_t at, int64_t lanes) {
            const float* __restrict from = x + at;
            float* __restrict to = y + at;
            for (int64_t k = 0; k < lanes; ++k) to[k] = (from[k] - center[k]) * scale[k] + shift[k];
        });
}

void batch_norm_input_gradient_f32(const BatchNormSplit& s, const BatchNormLines& lines, const float* dy,
                                   const float* x, float* dx) {
    const float* __restrict center = lines.center;
    const float* __restrict scale = lines.scale;
    const float* __restrict slope = lines.slope;
    const float* __restrict shift = lines.shift;
    if (!slope) {
        for_lines(
            s,
            [&](int64_t at, int64_t n, int64_t c) {
                const float a = scale[c];
                for (int64_t i = 0; i < n; ++i) dx[at + i] = dy[at + i] * a;
            },
            [&](int64_t at, int64_t lanes) {
                const float* __restrict g = dy + at;
                float* __restrict to = dx + at;
                for (int64_t k = 0; k < lanes; ++k) to[k] = g[k] * scale[k];
            });
        return;
    }
    for_lines(
        s,
        [&](int64_t at, int64_t n, int64_t c) {
            const float m = center[c], a = scale[c], b = slope[c], d = shift[c];
            const float* __restrict g = dy + at;
            const float* __restrict from = x + at;
            float* __restrict to = dx + at;
            for (int64_t i = 0; i < n; ++i) to[i] = g[i] * a + ((from[i] - m) * b + d);
        },
        [&](int64_t at, int64_t lanes) {
            const float* __restrict g = dy + at;
            const float* __restrict from = x + at;
            float* __restrict to = dx + at;
            for (int64_t k = 0; k < lanes; ++k)
                to[k] = g[k] * scale[k] + ((from[k] - center[k]) * slope[k] + shift[k]);
        });
}

}  // namespace fastconv::FC_ISA_NS
