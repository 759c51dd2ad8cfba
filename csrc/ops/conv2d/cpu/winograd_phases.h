// Strided convolution for Winograd: the phases of a stride as channels (see WinogradPhases).
#pragma once

#include "ops/conv2d/cpu/winograd_transform.h"

namespace fastconv::FC_ISA_NS {
namespace {

inline bool several(const WinogradPhases& p) { return p.down * p.across > 1; }

// Whether x is read phase by phase, or dx written so.
inline bool reads_phases(const WinogradPhases& p) { return several(p) && !p.outputs; }
inline bool writes_phases(const WinogradPhases& p) { return several(p) && p.outputs; }

// The tap of a filter's axis that tap `i` of a phase is; outside of it, a zero.
inline int64_t phase_row(const WinogradPhases& p, int64_t phase, int64_t i) {
    return p.outputs ? phase + p.start_row - i * p.down : phase + i * p.down;
}
inline int64_t phase_col(const WinogradPhases& p, int64_t phase, int64_t i) {
    return p.outputs ? phase + p.start_col - i * p.across : phase + i * p.across;
}

// The point along an axis whose filter components are zeros, as those of infinity (1) are without the last
// tap and those of 0 without the first; or -1.
inline int zero_point(int64_t first, int64_t last, int64_t size) {
    const auto lacks = [&](int64_t tap) { return tap < 0 || tap >= size; };
    return lacks(last) ? 1 : lacks(first) ? 0 : -1;
}

// Phases of an axis that have as many taps as any.
inline int64_t full_phases(int64_t size, int64_t stride) { return size % stride ? size % stride : stride; }

// Where channel d of the phases comes from.
struct PhaseChannel {
    int64_t row, col, channel;
};
inline PhaseChannel phase_channel(const WinogradPhases& p, int64_t d) {
    const int64_t phase = d / p.channels, channel = d % p.channels;
    if (p.columns_first) return {phase % p.down, phase / p.down, channel};
    return {phase / p.across, phase % p.across, channel};
}

// Copies pixels of the phases, all their channels, of a group's channels in x.
template <class E>
struct PhaseReader {
    const E* base;  // of the group's first channel
    WinogradImage image;
    WinogradPhases phases;
    int64_t top, left;  // rows and columns of zeros before x
    int64_t step;       // floats from a copied pixel to the next

    // The pixels [y, y + h) x [x, x + w) of image n, to dst[(i * w + j) * step]. What lies between the last
    // channel and the next pixel, and a vector behind the last pixel, is written with anything.
    void copy(int64_t n, int64_t y, int64_t x, int64_t h, int64_t w, float* dst) const {
        const E* const from = base + n * image.step_n;
        for (int64_t i = 0; i < h; ++i, dst += w * step)
            (phases.columns_first ? &PhaseReader::planar_row : &PhaseReader::row)(
                from, (y + i) * phases.down - top, x * phases.across - left, w, dst, this);
    }

  private:
    static void copy_floats(const E* from, float* to, int64_t count) {
        for (; count > VL; count -= VL, from += VL, to += VL) store(to, load(from));
        store(to, load(from, tail(count)), tail(count));
    }
    static void clear_floats(float* to, int64_t count) {
        for (; count > VL; count -= VL, to += VL) store(to, zero());
        store(to, zero(), tail(count));
    }

    // One row of pixels from row y0 and column x0 of x on.
    static void row(const E* from, int64_t y0, int64_t x0, int64_t w, float* dst, const PhaseReader* r) {
        const WinogradPhases p = r->phases;
        const int64_t c = p.channels, run = p.across * c, step = r->step, columns = r->image.w;
        const int64_t step_h = r->image.step_h, step_w = r->image.step_w;
        // Pixels that lie inside: a run of each row, one behind the other.
        const bool plain = step_w == c && y0 >= 0 && y0 + p.down <= r->image.h;
        const int64_t first = plain ? least(w, ceil_div(most(0, -x0), p.across)) : w;
        const int64_t last = most(first, least(w, most(0, columns - x0) / p.across));
        const auto edge = [&](int64_t j) {
            float* to = dst + j * step;
            const int64_t x = x0 + j * p.across;
            for (int64_t y = y0; y < y0 + p.down; ++y)
                for (int64_t q = x; q < x + p.across; ++q, to += c)
                    if (y >= 0 && y < r->image.h && q >= 0 && q < columns)
                        copy_floats(from + y * step_h + q * step_w, to, c);
                    else
                        clear_floats(to, c);
        };
        for (int64_t j = 0; j < first; ++j) edge(j);
        const E* line = from + y0 * step_h + (x0 + first * p.across) * c;
        float* to = dst + first * step;
        // Whole vectors: what a store writes behind its run the next one overwrites.
        if (run <= VL) {
            const Tail lanes = tail(run);
            for (int64_t j = first; j < last; ++j, line += run, to += step)
                for (int64_t a = 0; a < p.down; ++a) store(to + a * run, load(line + a * step_h, lanes));
        } else {
            for (int64_t j = first; j < last; ++j, line += run, to += step)
                for (int64_t a = 0; a < p.down; ++a) {
                    int64_t at = 0;
                    for (; at + VL < run; at += VL) store(to + a * run + at, load(line + a * step_h + at));
                    store(to + a * run + at, load(line + a * step_h + at, tail(run - at)));
                }
        }
        for (int64_t j = last; j < w; ++j) edge(j);
    }

    // The same of planes: tiles of VL (row phase, channel) by VL columns are transposed.
    static void planar_row(const E* from, int64_t y0, int64_t x0, int64_t w, float* dst,
                           const PhaseReader* r) {
        const WinogradPhases& p = r->phases;
        const int64_t lines = p.down * p.channels, columns = w * p.across;
        const int64_t first = least(columns, most(0, -x0));
        const int64_t last = most(first, least(columns, r->image.w - x0));
        for (int64_t g = 0; g < lines; g += VL) {
            const int64_t count = least(VL, lines - g);
            const Tail lanes = tail(count);
            const auto put = [&](int64_t column, vf v) {
                store(dst + column / p.across * r->step + column % p.across * lines + g, v, lanes);
            };
            const E* line[VL];
            for (int64_t i = 0; i < VL; ++i) {
                const int64_t y = y0 + (g + i) / p.channels;
                line[i] = i < count && y >= 0 && y < r->image.h
                              ? from + (g + i) % p.channels * r->image.step_c + y * r->image.step_h + x0
                              : nullptr;
            }
            for (int64_t q = 0; q < first; ++q) put(q, zero());
            for (int64_t q = last; q < columns; ++q) put(q, zero());
            for (int64_t q = first; q < last; q += VL) {
                const int64_t some = least(VL, last - q);
                const Tail pixels = tail(some);
                float in[VL * VL], out[VL * VL];
                for (int64_t i = 0; i < VL; ++i)
                    store(in + i * VL, line[i] ? load(line[i] + q, pixels) : zero());
                transpose_tile(in, VL, out, VL);
                int64_t column = q % p.across;
                float* to = dst + q / p.across * r->step + g;
                for (int64_t i = 0; i < some; ++i) {
                    store(to + column * lines, load(out + i * VL), lanes);
                    if (++column == p.across) column = 0, to += r->step;
                }
            }
        }
    }
};

}  // namespace
}  // namespace fastconv::FC_ISA_NS
