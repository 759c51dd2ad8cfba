// The whole of U in one array: [group][component][output block][depth][vectors of the block].
#include "cpu/parallel.h"
#include "ops/conv2d/cpu/winograd_filter.h"

namespace fastconv::FC_ISA_NS {

int64_t winograd_lanes() { return VL; }

int64_t winograd_packed_floats(const WinogradWeight& w) {
    const int64_t points = w.form.tile + w.form.taps - 1;
    return w.groups * points * points * u_component(vectors_of(w.width), w.depth);
}

namespace {

template <class F, class E>
void pack(const WinogradWeight& w, const E* weight, float* packed) {
    const WidthBlocks widths(w);
    const int64_t component = u_component(widths.vectors, w.depth);
    // 64 x 64 channels with 6x6 tiles, 1.07 MB, are still small.
    const bool large = 8 * winograd_packed_floats(w) > 9 * kL2Floats;
    constexpr int64_t kRun = 16;  // channels of the reduction of one item
    const bool reads = reads_phases(w.phases), writes = writes_phases(w.phases);
    const int64_t channels = reads ? w.phases.channels : w.depth, runs = ceil_div(channels, kRun);
    const int64_t blocks = writes ? widths.of_phase : widths.count;
    parallel_for(w.groups * blocks * runs, 4, [&](int64_t begin, int64_t end, int) {
        for (int64_t item = begin; item < end; ++item) {
            const int64_t group = item / (blocks * runs), b = item / runs % blocks;
            const int64_t c0 = item % runs * kRun, c1 = least(channels, c0 + kRun);
            const E* const from = weight + group * w.step_g;
            float* const whole = packed + group * F::kComponents * component;
            float* const u = whole + widths.first(b) * w.depth * VL;
            if (writes)
                (large ? pack_output_phases<F, true, E>
                       : pack_output_phases<F, false, E>)(w, widths, b, c0, c1, from, whole, component);
            else if (reads)
                (large ? pack_phases<F, true, E> : pack_phases<F, false, E>)(w, widths, b, c0, c1, from, u,
                                                                             component);
            else
                (large ? pack_filters<F, true, E> : pack_filters<F, false, E>)(w, widths, b, c0, c1, from,
                                                                               u + c0 * widths.nv(b) * VL,
                                                                               component);
        }
    });
}

}  // namespace

void winograd_pack(const WinogradWeight& w, const void* weight, float* packed) {
    visit_form(w.form, w.dtype, [&](auto form, auto element) {
        using E = decltype(element);
        pack<decltype(form), E>(w, static_cast<const E*>(weight), packed);
    });
}

}  // namespace fastconv::FC_ISA_NS
