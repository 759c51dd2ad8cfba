// Local response normalisation: channels-last pixel by pixel, planar a block of columns at a time. The sum of
// squares is formed anew for each channel: a sliding sum would carry rounding, infinity and NaN along.
#include <math.h>

#include "cpu/parallel.h"
#include "cpu/simd/simd.h"
#include "ops/local_response_norm/kernels.h"

namespace fastconv::FC_ISA_NS {
namespace {

constexpr int64_t kGrainElements = 4096;

// out = s^beta for n elements: square roots for the usual 0.75 (and 0.5), the C library for others.
inline void power_row(const float* s, float beta, float* out, int64_t n) {
    if (beta == 1.0f || beta == 0.75f || beta == 0.5f) {
        for (int64_t i = 0; i < n; i += VL) {
            const Tail t = tail(n - i);
            const vf v = load(s + i, t), root = sqrt(v);
            store(out + i, beta == 1.0f ? v : beta == 0.5f ? root : root * sqrt(root), t);
        }
        return;
    }
    for (int64_t i = 0; i < n; ++i) out[i] = powf(s[i], beta);
}

inline int64_t at_least_0(int64_t v) { return v < 0 ? 0 : v; }
inline int64_t at_most(int64_t v, int64_t limit) { return v < limit ? v : limit; }

// Windows along a row of channels: out[c] = sum of in[j], c - before <= j <= c + after.
inline void window_sums(const float* __restrict in, int64_t channels, int64_t before, int64_t after,
                        float* __restrict out) {
    for (int64_t c = 0; c < channels; ++c) out[c] = 0;
    for (int64_t d = -before; d <= after; ++d) {
        const int64_t end = at_most(channels, channels - d);
        for (int64_t c = at_least_0(-d); c < end; ++c) out[c] += in[c + d];
    }
}

// A pixel's s (in `base`) from its channels; `squares` is overwritten.
template <class T>
inline void pixel_base(const LrnParams& p, const T* __restrict x, float* __restrict squares,
                       float* __restrict base) {
    for (int64_t c = 0; c < p.channels; ++c) squares[c] = widen(x[c]) * widen(x[c]);
    window_sums(squares, p.channels, p.before, p.after, base);
    const float k = static_cast<float>(p.k), scale = static_cast<float>(p.scale);
    for (int64_t c = 0; c < p.channels; ++c) base[c] = k + scale * base[c];
}

// s of channel c for n columns from x, channel 0 of the first.
template <class T>
inline void column_base(const LrnParams& p, const T* x, int64_t c, int64_t n, float* __restrict base) {
    const int64_t begin = at_least_0(c - p.before), end = at_most(p.channels, c + p.after + 1);
    for (int64_t i = 0; i < n; ++i) base[i] = 0;
    for (int64_t j = begin; j < end; ++j) {
        const T* __restrict v = x + j * p.inner;
        for (int64_t i = 0; i < n; ++i) base[i] += widen(v[i]) * widen(v[i]);
    }
    const float k = static_cast<float>(p.k), scale = static_cast<float>(p.scale);
    for (int64_t i = 0; i < n; ++i) base[i] = k + scale * base[i];
}

// body(offset of a pixel, worker).
template <class Body>
inline void for_pixels(const LrnParams& p, int team, const Body& body) {
    parallel_for(
        p.outer, kGrainElements / p.channels + 1,
        [&](int64_t begin, int64_t end, int worker) {
            for (int64_t o = begin; o < end; ++o) body(o * p.channels, worker);
        },
        team);
}

// body(offset of a block of columns in channel 0, columns, worker).
template <class Body>
inline void for_columns(const LrnParams& p, int team, const Body& body) {
    const int64_t blocks = (p.inner + kLrnColumns - 1) / kLrnColumns;
    parallel_for(
        p.outer * blocks, kGrainElements / (p.channels * kLrnColumns) + 1,
        [&](int64_t begin, int64_t end, int worker) {
            for (int64_t b = begin; b < end; ++b) {
                const int64_t at = b % blocks * kLrnColumns;
                body(b / blocks * p.channels * p.inner + at, at_most(kLrnColumns, p.inner - at), worker);
            }
        },
        team);
}

// Where the backward pass keeps its first term until the second is known: in the result, or, where that would
// round it, in scratch.
inline float* own_terms(float* dx, float*) { return dx; }
inline float* own_terms(bfloat16*, float* scratch) { return scratch; }

template <class T>
void forward(const LrnParams& p, const T* x, T* y, float* scratch, int team) {
    const float beta = static_cast<float>(p.beta);
    if (p.inner == 1)
        return for_pixels(p, team, [&](int64_t at, int worker) {
            float* squares = scratch + worker * lrn_scratch_rows(p, sizeof(T)) * p.channels;
            float* base = squares + p.channels;
            pixel_base(p, x + at, squares, base);
            power_row(base, beta, base, p.channels);
            for (int64_t c = 0; c < p.channels; ++c) y[at + c] = narrow<T>(widen(x[at + c]) / base[c]);
        });
    for_columns(p, team, [&](int64_t at, int64_t n, int) {
        float base[kLrnColumns];
        for (int64_t c = 0; c < p.channels; ++c) {
            column_base(p, x + at, c, n, base);
            power_row(base, beta, base, n);
            const int64_t row = at + c * p.inner;
            for (int64_t i = 0; i < n; ++i) y[row + i] = narrow<T>(widen(x[row + i]) / base[i]);
        }
    });
}

// dx[i] = dy[i] s[i]^-beta - 2 beta scale x[i] * sum of dy[c] x[c] s[c]^(-beta - 1) over the windows that
// hold i: those of the channels from i - after to i + before.
template <class T>
void backward(const LrnParams& p, const T* dy, const T* x, T* dx, float* scratch, int team) {
    const float beta = static_cast<float>(p.beta), twice = static_cast<float>(2 * p.beta * p.scale);
    if (p.inner == 1)
        return for_pixels(p, team, [&](int64_t at, int worker) {
            float* __restrict shared = scratch + worker * lrn_scratch_rows(p, sizeof(T)) * p.channels;
            float* __restrict base = shared + p.channels;
            const T* __restrict g = dy + at;
            const T* __restrict v = x + at;
            float* own = own_terms(dx + at, base + p.channels);
            pixel_base(p, v, shared, base);
            power_row(base, beta, shared, p.channels);
            for (int64_t c = 0; c < p.channels; ++c) {
                own[c] = widen(g[c]) / shared[c];
                shared[c] = own[c] * widen(v[c]) / base[c];
            }
            window_sums(shared, p.channels, p.after, p.before, base);
            for (int64_t c = 0; c < p.channels; ++c)
                dx[at + c] = narrow<T>(own[c] - twice * widen(v[c]) * base[c]);
        });
    for_columns(p, team, [&](int64_t at, int64_t n, int worker) {
        // Each channel's share of the sums, kLrnColumns floats a channel.
        const int64_t part = p.channels * kLrnColumns;
        float* shared = scratch + worker * lrn_scratch_rows(p, sizeof(T)) * part;
        const auto own_row = [&](int64_t c) {
            return own_terms(dx + at + c * p.inner, shared + part + c * kLrnColumns);
        };
        for (int64_t c = 0; c < p.channels; ++c) {
            float base[kLrnColumns], power[kLrnColumns];
            column_base(p, x + at, c, n, base);
            power_row(base, beta, power, n);
            const int64_t row = at + c * p.inner;
            float* __restrict to = shared + c * kLrnColumns;
            float* __restrict own = own_row(c);
            for (int64_t i = 0; i < n; ++i) {
                own[i] = widen(dy[row + i]) / power[i];
                to[i] = own[i] * widen(x[row + i]) / base[i];
            }
        }
        for (int64_t c = 0; c < p.channels; ++c) {
            const int64_t begin = at_least_0(c - p.after), end = at_most(p.channels, c + p.before + 1);
            float total[kLrnColumns];
            for (int64_t i = 0; i < n; ++i) total[i] = 0;
            for (int64_t j = begin; j < end; ++j) {
                const float* __restrict from = shared + j * kLrnColumns;
                for (int64_t i = 0; i < n; ++i) total[i] += from[i];
            }
            const int64_t row = at + c * p.inner;
            const float* own = own_row(c);
            for (int64_t i = 0; i < n; ++i)
                dx[row + i] = narrow<T>(own[i] - twice * widen(x[row + i]) * total[i]);
        }
    });
}

}  // namespace

void lrn_f32(const LrnParams& p, const float* x, float* y, float* scratch, int team) {
    forward(p, x, y, scratch, team);
}
void lrn_bf16(const LrnParams& p, const bfloat16* x, bfloat16* y, float* scratch, int team) {
    forward(p, x, y, scratch, team);
}
void lrn_backward_f32(const LrnParams& p, const float* dy, const float* x, float* dx, float* scratch,
                      int team) {
    backward(p, dy, x, dx, scratch, team);
}
void lrn_backward_bf16(const LrnParams& p, const bfloat16* dy, const bfloat16* x, bfloat16* dx,
                       float* scratch, int team) {
    backward(p, dy, x, dx, scratch, team);
}

}  // namespace fastconv::FC_ISA_NS
