// The whole of U in one array: [group][component][output block][depth][vectors of the block].
#include "cpu/parallel.h"
#include "ops/conv2d/cpu/winograd_filter.h"

namespace fastconv::FC_ISA_NS {

int64_t winograd_packed_floats(const WinogradWeight& w) {
    const int64_t points = w.tile + 2;
    return w.groups * points * points * u_component(vectors_of(w.width), w.depth);
}

namespace {

template <int T>
void pack(const WinogradWeight& w, const float* weight, float* packed) {
    const WidthBlocks widths(w.width);
    const int64_t component = u_component(widths.vectors, w.depth);
    // 64 x 64 channels with 6x6 tiles, 1.07 MB, are still small.
    const bool large = 8 * winograd_packed_floats(w) > 9 * kL2Floats;
    constexpr int64_t kRun = 16;  // channels of the reduction of one item
    const int64_t runs = ceil_div(w.depth, kRun);
    parallel_for(w.groups * widths.count * runs, 4, [&](int64_t begin, int64_t end, int) {
        for (int64_t item = begin; item < end; ++item) {
            const int64_t group = item / (widths.count * runs), b = item / runs % widths.count;
            const int64_t c0 = item % runs * kRun, c1 = least(w.depth, c0 + kRun);
            (large ? pack_filters<T, true>
                   : pack_filters<T, false>)(w, widths, b, c0, c1, weight + group * w.step_g,
                                             packed + group * kComponents<T> * component +
                                                 (widths.first(b) * w.depth + c0 * widths.nv(b)) * VL,
                                             component);
        }
    });
}

}  // namespace

void winograd_pack(const WinogradWeight& w, const float* weight, float* packed) {
    (w.tile == 6 ? pack<6> : pack<4>)(w, weight, packed);
}

}  // namespace fastconv::FC_ISA_NS
