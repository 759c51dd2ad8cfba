#include "ops/conv2d/cost.h"

#include <algorithm>
#include <atomic>

#include "cpu/isa.h"
#include "ops/conv2d/winograd.h"
#include "ops/machine/machine.h"

namespace fastconv {
namespace {

// In the order of CostScale's members; written by `fastconv tune` and before the first call, if at all.
std::atomic<double> g_scale[] = {1, 1, 1, 1, 1};

// AVX-512: read off Sapphire Rapids with `python -m benchmarks.calibrate`, on a machine with other work.
// Transforms are bound by the lines of V and M that they bring into L1 (36 of 64 bytes each), not by their
// 168 and 120 operations; 6x6 tiles gain 10 % at 112 and 224 pixels, nothing at 56 and below, where the
// counts alone would promise 20 %. AVX2 and portable: scaled from it by lanes.
constexpr CostTable kAvx512{64,  16,  0.90, 0.75, 6, 2,    0.80, 0.72, 300,
                            200, 180, 400,  400,  4, 2000, 1.23, 2,    6};
// Zen 5, whose L2 and memory are twice as fast: 6x6 tiles win 4 to 13 % from 28 pixels on, and at 14 with
// several images. 16 filters are transformed in 170 cycles, in dgrad in 230; direct packs a weight in 0.6.
constexpr CostTable kAvx512Fast{64,  16,  0.90, 0.75, 6, 0.6,  0.80, 0.72, 300,
                                200, 180, 170,  230,  4, 2000, 1.06, 2,    6};
constexpr CostTable kAvx2{32, 8, 0.90, 0.75, 3, 2, 0.80, 0.70, 220, 150, 100, 260, 260, 3, 2000, 1.23, 2, 6};
constexpr CostTable kAvx2Fast{32,  8,   0.90, 0.75, 3, 1.6,  0.80, 0.70, 220,
                              150, 100, 200,  200,  3, 2000, 1.08, 2,    6};
constexpr CostTable kScalar{8, 4, 0.80, 0.70, 2, 2, 0.75, 0.65, 380, 260, 100, 500, 500, 3, 2000, 1.23, 2, 6};

const CostTable& table() {
    switch (active_isa()) {
        case Isa::avx512:
            return memory_is_fast() ? kAvx512Fast : kAvx512;
        case Isa::avx2:
            return memory_is_fast() ? kAvx2Fast : kAvx2;
        default:
            return kScalar;
    }
}

int64_t tiles_of(int64_t outputs, int tile) { return (outputs + tile - 1) / tile; }

// Points of all tiles of an axis.
double points(int64_t outputs, const WinogradForm& form) {
    return static_cast<double>(outputs + (form.taps - 1) * tiles_of(outputs, form.tile));
}

// The same in the mean of a stride's phases, of which some have a tap and so a point less.
double phase_points(int64_t outputs, const WinogradForm& form, const WindowAxis& axis) {
    const double lack = static_cast<double>((axis.stride - axis.kernel % axis.stride) % axis.stride);
    return points(outputs, form) -
           lack / static_cast<double>(axis.stride) * static_cast<double>(tiles_of(outputs, form.tile));
}

constexpr double kFarBytes = 32 << 20, kFar = 0.25;  // cycles a byte

}  // namespace

CostScale cost_scale() { return {g_scale[0], g_scale[1], g_scale[2], g_scale[3], g_scale[4]}; }

void set_cost_scale(const CostScale& s) {
    const double values[] = {s.direct, s.direct_wgrad, s.winograd, s.winograd6, s.winograd_wgrad};
    for (int i = 0; i < 5; ++i) g_scale[i] = values[i];
}

ConvCost conv_cost(const Conv2dProblem& p, ConvDirection direction) {
    const CostTable& t = table();
    const bool wgrad = direction == ConvDirection::wgrad, dgrad = direction == ConvDirection::dgrad;
    const double n = static_cast<double>(p.n), groups = static_cast<double>(p.groups);
    const double c = static_cast<double>(p.group_c()), k = static_cast<double>(p.group_k());
    const double depth = dgrad ? k : c, width = dgrad ? c : k;
    const int64_t rows = dgrad ? p.h / p.vertical.stride : p.p,
                  cols = dgrad ? p.w / p.horizontal.stride : p.q;
    const auto vectors = [&](double channels) {
        return static_cast<double>(static_cast<int64_t>((channels + t.lanes - 1) / t.lanes));
    };
    // wgrad's lanes run along the filter's row where channels are few and all of one group.
    const double lanes = wgrad ? depth : width;
    double lanes_used = wgrad && p.groups == 1 ? 1 : lanes / (vectors(lanes) * t.lanes);
    // Few outputs: lanes along the reduction.
    if (!wgrad && 2 * width <= t.lanes)
        lanes_used = std::max(lanes_used, 0.7 * depth / (vectors(depth) * t.lanes));

    ConvCost cost;
    const double outputs = n * static_cast<double>(rows * cols), taps = static_cast<double>(p.taps());
    const double phases = static_cast<double>(p.vertical.stride * p.horizontal.stride);
    // A few channels of many taps are one long sum.
    const double terms = phases > 1 ? depth * taps / 3 : depth * std::max(1.0, taps / 9);
    const double share = wgrad ? t.direct_wgrad : t.direct * terms / (terms + t.few_channels);
    cost.direct = t.start + groups * c * k *
                                (2 * taps * outputs / (t.flops * share * lanes_used) +
                                 (wgrad ? 0 : taps * t.direct_weight));

    // The phases are input channels, in dgrad output channels.
    const double all = dgrad ? depth : depth * phases;
    const double outs = vectors(width) * (dgrad ? phases : 1);
    const double planar = p.layout == Layout::nchw ? t.planar : 0;
    const double transforms =
        vectors(all) * (t.input + (phases > 1 ? 0 : planar)) + outs * (t.output + planar);
    // Transforms with eight points have as many operations a component as those with six, and wait for as
    // many lines.
    // wgrad's lanes run along either, whichever is fuller, where the taps need not be turned as 3x3's.
    double sums = wgrad ? width * vectors(all) : all * outs;
    if (wgrad && (phases > 1 || p.r != 3)) sums = std::min(sums, all * vectors(width));
    const auto winograd = [&](const WinogradForm& form) {
        const int size = form.tile + form.taps - 1;
        const double components = size * size;
        const double products = n * points(rows, form) * points(cols, form);
        const double multiplied =
            !dgrad && p.group_c() % static_cast<int64_t>(t.lanes)
                ? products
                : n * phase_points(rows, form, p.vertical) * phase_points(cols, form, p.horizontal);
        const double gemm = 2.0 * multiplied * t.lanes * sums / (t.flops * (wgrad ? t.gemm_wgrad : t.gemm));
        const double gather = phases > 1 && !wgrad ? t.gather * t.lanes * form.taps * form.taps : 0;
        const double filters = all * outs * ((dgrad ? t.turned : t.filter) * components / 36 + gather);
        const double pieces = c * static_cast<double>(p.horizontal.stride) < t.lanes ? 2 : 1;
        const double copies = phases > 1 && !dgrad ? pieces * t.copy * n * points(rows, form) *
                                                         static_cast<double>(cols) * vectors(all)
                                                   : 0;
        // What L3 does not hold of the phases' weights or sums is written to memory and read again.
        const double far = components * all * outs * t.lanes * sizeof(float);
        const double passes = phases > 1 && far > kFarBytes ? kFar * far : 0;
        double cycles =
            (size == 8 ? t.larger : 1) * (gemm + products / 36 * transforms) + filters + copies + passes;
        if (wgrad) {
            const double tiles =
                n * static_cast<double>(tiles_of(rows, form.tile) * tiles_of(cols, form.tile));
            const double block = all * width <= 128 * 128 ? 48 : all * width <= 256 * 256 ? 96 : 192;
            cycles += (tiles / block + 1) * components * sums * t.sums;
        }
        return 2 * t.start + groups * cycles;
    };
    cost.winograd = winograd(winograd_form(p, 4));
    if (!wgrad) cost.winograd6 = winograd(winograd_form(p, 6));
    const CostScale scale = cost_scale();
    cost.direct *= wgrad ? scale.direct_wgrad : scale.direct;
    cost.winograd *= wgrad ? scale.winograd_wgrad : scale.winograd;
    cost.winograd6 *= scale.winograd6;
    return cost;
}

}  // namespace fastconv
