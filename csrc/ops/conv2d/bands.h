// What the convolutions that work on bands of rows in frames of zeros share (planar.h, strips.h): the classes
// of output pixels, the size of a band, the offsets of the steps in it. G is the struct that the kernel gets;
// its class type has residues, rows, cols, steps and offsets.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "ops/conv2d/conv2d.h"
#include "ops/conv2d/taps.h"

namespace fastconv {

// The most floats of a band.
constexpr int64_t kMostBand = 512 << 10;

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Taps of a class and the tables made from them.
template <class View, class Vector>
struct BandClass {
    View view{};
    std::vector<AxisTap> vertical, horizontal;
    std::vector<int64_t> offsets;
    std::vector<Vector> vectors;

    int64_t steps(int64_t depth) const {
        return depth * static_cast<int64_t>(vertical.size() * horizontal.size());
    }
    // f(d, tap of the filter) for every step, in the order of `offsets`.
    template <class F>
    void each_step(int64_t depth, int64_t s, const F& f) const {
        for (int64_t d = 0; d < depth; ++d)
            for (const AxisTap& v : vertical)
                for (const AxisTap& u : horizontal) f(d, v.index * s + u.index);
    }
};

// Strides of groups, outputs and inputs in the weight array: weight(g, o, d, tap).
struct BandWeight {
    int64_t group, output, input;
    BandWeight(const Conv2dProblem& p, ConvDirection direction)
        : group(p.group_k() * p.group_c() * p.taps()), output(p.group_c() * p.taps()), input(p.taps()) {
        if (direction == ConvDirection::dgrad) std::swap(output, input);
    }
    int64_t at(int64_t g, int64_t o, int64_t d, int64_t tap) const {
        return g * group + o * output + d * input + tap;
    }
};

// The lowest and the highest tap of any class.
struct BandAxis {
    int64_t low = INT64_MAX, high = INT64_MIN;
    void add(const std::vector<AxisTap>& taps) {
        for (const AxisTap& t : taps) low = std::min(low, t.offset), high = std::max(high, t.offset);
    }
    void settle() {  // where no tap reaches any pixel
        if (low > high) low = high = 0;
    }
};

// fprop has one class, whose taps step over the input; dgrad one for each residue of the input's pixels, and
// steps over dy one by one.
template <class G, class C>
void set_classes(const Conv2dProblem& p, ConvDirection direction, G& g, std::vector<C>& classes) {
    const bool dgrad = direction == ConvDirection::dgrad;
    g.n = p.n, g.groups = p.groups;
    g.h = dgrad ? p.p : p.h, g.w = dgrad ? p.q : p.w;
    g.depth = dgrad ? p.group_k() : p.group_c(), g.width = dgrad ? p.group_c() : p.group_k();
    if (!dgrad) {
        g.row_step = p.vertical.stride, g.phases = p.horizontal.stride;
        g.stride_h = g.stride_w = 1;
        C& c = classes.emplace_back();
        c.vertical = forward_taps(p.vertical), c.horizontal = forward_taps(p.horizontal);
        c.view.rows = g.rows = p.p, c.view.cols = p.q;
        return;
    }
    g.row_step = g.phases = 1;
    g.stride_h = p.vertical.stride, g.stride_w = p.horizontal.stride;
    g.rows = ceil_div(p.h, g.stride_h);
    for (int64_t a = 0; a < std::min(g.stride_h, p.h); ++a)
        for (int64_t b = 0; b < std::min(g.stride_w, p.w); ++b) {
            C& c = classes.emplace_back();
            c.view.residue_h = a, c.view.residue_w = b;
            c.view.rows = ceil_div(p.h - a, g.stride_h), c.view.cols = ceil_div(p.w - b, g.stride_w);
            c.vertical = backward_taps(p.vertical, a), c.horizontal = backward_taps(p.horizontal, b);
        }
}

// The frame starts at the lowest tap. Returns how many input rows an output row needs.
template <class G, class C>
int64_t set_frame(G& g, const std::vector<C>& classes) {
    BandAxis rows, cols;
    for (const C& c : classes) rows.add(c.vertical), cols.add(c.horizontal);
    rows.settle(), cols.settle();
    g.low_h = rows.low, g.low_w = cols.low;
    g.pitch = ceil_div((classes[0].view.cols - 1) * g.phases + cols.high - cols.low + 1, g.phases);
    return rows.high - rows.low + 1;
}

// Output rows whose band takes `floats`, by the rows of all planes; none or negative where not even one does.
template <class G>
int64_t band_rows_in(const G& g, int64_t reach, int64_t floats) {
    return (floats / (g.depth * g.band_row()) - reach) / g.row_step + 1;
}

// Output rows of a band or chunk that read at most a quarter of their input rows twice.
template <class G>
int64_t rows_of_little_overlap(const G& g, int64_t reach) {
    return ceil_div(4 * std::max<int64_t>(0, reach - g.row_step), g.row_step);
}

template <class G>
void set_band(G& g, int64_t reach, int64_t rows) {
    g.band = std::clamp<int64_t>(rows, 1, g.rows);
    g.band_rows = (g.band - 1) * g.row_step + reach;
}

// Whether a band of one row stays small, whatever the padding and dilation. `floats`: of all planes of a
// column.
inline bool band_fits(const WindowAxis& v, const WindowAxis& u, int64_t floats, int64_t cols,
                      int64_t phases) {
    constexpr int64_t kLong = 1 << 14;
    if (cols > kLong) return false;
    const int64_t reach_h = v.extent() + v.stride, reach_w = u.extent() + u.stride + cols * phases;
    if (reach_h > kLong || reach_w > kLong || v.pad_begin > kLong || u.pad_begin > kLong) return false;
    return (reach_h + v.pad_begin) * (reach_w + u.pad_begin) <= kMostBand / floats;
}

// Offsets of a class's steps, and its view of them. `column`: floats between columns of a phase.
template <class G, class C>
void set_offsets(const G& g, C& c, int64_t column) {
    for (int64_t d = 0; d < g.depth; ++d)
        for (const AxisTap& v : c.vertical)
            for (const AxisTap& u : c.horizontal) {
                const int64_t place = u.offset - g.low_w;
                c.offsets.push_back((d * g.band_rows + v.offset - g.low_h) * g.band_row() +
                                    place % g.phases * g.phase_row() + place / g.phases * column);
            }
    c.view.steps = static_cast<int64_t>(c.offsets.size());
    c.view.offsets = c.offsets.data();
}

}  // namespace fastconv
