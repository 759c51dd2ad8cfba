// 1x1 convolution of NCHW arrays. Rows of the tile are output channels, whose weights are read where they
// lie; lanes are pixels, copied once into a panel that stays in L2 while every output channel passes over it.
#include "cpu/gemm/microkernel.h"
#include "cpu/parallel.h"
#include "ops/conv2d/cpu/common.h"
#include "ops/conv2d/gather.h"

namespace fastconv::FC_ISA_NS {
namespace {

inline size_t panel_bytes(int64_t depth) { return static_cast<size_t>(depth) * kMaxNR * sizeof(float); }

// panel[c][e] = x of channel c at output pixel m0 + e, e < count.
void fill_panel(const PointwiseNchw& g, const float* x, int64_t m0, int64_t count, float* panel) {
    const int64_t plane = g.h * g.w;
    if (g.step_h == 1 && g.step_w == 1) {
        for (int64_t c = 0; c < g.depth; ++c) copy_floats(panel + c * kMaxNR, x + c * plane + m0, count);
        return;
    }
    int64_t offset[kMaxNR];
    PixelWalk at(m0, g.rows, g.cols);
    for (int64_t e = 0; e < count; ++e, at.next()) offset[e] = at.i * g.step_h * g.w + at.j * g.step_w;
    for (int64_t c = 0; c < g.depth; ++c)
        for (int64_t e = 0; e < count; ++e) panel[c * kMaxNR + e] = x[c * plane + offset[e]];
}

}  // namespace

size_t pointwise_scratch(const PointwiseNchw& g) { return panel_bytes(g.depth); }

void pointwise_run(const PointwiseNchw& g, char* scratch, int team) {
    const int64_t pixels = g.rows * g.cols;
    // Pixel blocks of about equally many vectors.
    const int64_t vectors = ceil_div(pixels, VL), blocks = ceil_div(vectors, kMaxNV);
    // With few blocks, the output channels are shared out as well.
    const int64_t images = g.n * g.groups;
    const int64_t parts =
        images * blocks >= 16 ? 1 : least(ceil_div(g.width, 32), ceil_div(16, images * blocks));
    const int64_t work = kMaxNR * g.depth * g.width / parts + 1;
    parallel_for(
        images * blocks * parts, 100000 / work + 1,
        [&](int64_t begin, int64_t end, int worker) {
            float* panel =
                reinterpret_cast<float*>(scratch + static_cast<size_t>(worker) * panel_bytes(g.depth));
            for (int64_t item = begin; item < end; ++item) {
                const int64_t part = item % parts, block = item / parts % blocks;
                const int64_t image = item / (parts * blocks), group = image % g.groups;
                const int64_t v0 = block * vectors / blocks, v1 = (block + 1) * vectors / blocks;
                const int64_t m0 = v0 * VL, count = least(pixels, v1 * VL) - m0;
                const int nv = static_cast<int>(v1 - v0);
                fill_panel(g, g.x + image * g.depth * g.h * g.w, m0, count, panel);
                const float* weight = g.weight + group * g.width * g.depth;
                const int64_t o1 = (part + 1) * g.width / parts;
                const int64_t mr = rows_for(nv);
                for (int64_t o = part * g.width / parts; o < o1; o += mr) {
                    const int64_t rows = least(mr, o1 - o);
                    const float* from[kMaxMR];
                    float* to[kMaxMR];
                    for (int64_t i = 0; i < rows; ++i) {
                        from[i] = weight + (o + i) * g.depth;
                        to[i] = g.y + (image * g.width + o + i) * pixels + m0;
                    }
                    row_kernel(static_cast<int>(rows), nv)(
                        {from, mr, 1, g.depth, panel, kMaxNR},
                        {to, count, nullptr, g.bias ? g.bias + group * g.width + o : nullptr, false});
                }
            }
        },
        team);
}

}  // namespace fastconv::FC_ISA_NS
