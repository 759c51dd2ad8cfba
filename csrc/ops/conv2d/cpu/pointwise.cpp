// 1x1 convolution of NCHW arrays. Rows of the tile are output channels, whose weights are read where they
// lie; lanes are pixels, copied once into a panel that stays in L2 while every output channel passes over it.
#include "cpu/gemm/microkernel.h"
#include "cpu/parallel.h"
#include "ops/conv2d/cpu/common.h"
#include "ops/conv2d/cpu/epilogue.h"
#include "ops/conv2d/gather.h"

namespace fastconv::FC_ISA_NS {
namespace {

// Blocks of kMaxNR pixels whose panels are filled together: longer runs of each channel's plane, in L2.
inline int64_t panels(int64_t depth) {
    const int64_t fit = 65536 / (depth * kMaxNR);
    return fit < 1 ? 1 : fit > 4 ? 4 : fit;
}
inline size_t panel_floats(int64_t depth) { return static_cast<size_t>(depth) * kMaxNR; }

// panel[block][c][e] = x of channel c at output pixel pixel(block) + e.
template <class Pixel>
void fill_panels(const PointwiseNchw& g, const float* x, int64_t blocks, const Pixel& pixel, float* panel) {
    const int64_t plane = g.h * g.w;
    const size_t size = panel_floats(g.depth);
    if (g.step_h == 1 && g.step_w == 1) {
        for (int64_t c = 0; c < g.depth; ++c)
            for (int64_t b = 0; b < blocks; ++b)
                copy_floats(panel + static_cast<size_t>(b) * size + c * kMaxNR, x + c * plane + pixel(b),
                            pixel(b + 1) - pixel(b));
        return;
    }
    for (int64_t b = 0; b < blocks; ++b, panel += size) {
        int64_t offset[kMaxNR];
        const int64_t count = pixel(b + 1) - pixel(b);
        PixelWalk at(pixel(b), g.rows, g.cols);
        for (int64_t e = 0; e < count; ++e, at.next()) offset[e] = at.i * g.step_h * g.w + at.j * g.step_w;
        for (int64_t c = 0; c < g.depth; ++c)
            for (int64_t e = 0; e < count; ++e) panel[c * kMaxNR + e] = x[c * plane + offset[e]];
    }
}

}  // namespace

size_t pointwise_scratch(const PointwiseNchw& g) {
    return static_cast<size_t>(panels(g.depth)) * panel_floats(g.depth) * sizeof(float);
}

void pointwise_run(const PointwiseNchw& g, char* scratch, int team) {
    const int64_t pixels = g.rows * g.cols;
    // Pixel blocks of about equally many vectors; an item fills the panels of several.
    const int64_t vectors = ceil_div(pixels, VL), blocks = ceil_div(vectors, kMaxNV);
    const int64_t images = g.n * g.groups, step = least(panels(g.depth), most(1, images * blocks / 16));
    const int64_t items = ceil_div(blocks, step);
    // With few items, the output channels are shared out as well.
    const int64_t parts =
        images * items >= 16 ? 1 : least(ceil_div(g.width, 32), ceil_div(16, images * items));
    const int64_t work = step * kMaxNR * g.depth * g.width / parts + 1;
    parallel_for(
        images * items * parts, 100000 / work + 1,
        [&](int64_t begin, int64_t end, int worker) {
            float* panel =
                reinterpret_cast<float*>(scratch + static_cast<size_t>(worker) * pointwise_scratch(g));
            for (int64_t item = begin; item < end; ++item) {
                const int64_t part = item % parts, b0 = item / parts % items * step;
                const int64_t image = item / (parts * items), group = image % g.groups;
                const int64_t b1 = least(blocks, b0 + step);
                const auto pixel = [&](int64_t b) { return least(pixels, b * vectors / blocks * VL); };
                fill_panels(
                    g, g.x + image * g.depth * g.h * g.w, b1 - b0, [&](int64_t e) { return pixel(b0 + e); },
                    panel);
                const float* weight = g.weight + group * g.width * g.depth;
                const int64_t o1 = (part + 1) * g.width / parts;
                // The next item's pixels, where they follow in the same image.
                const int64_t ahead = parts == 1 && g.step_w == 1 && g.step_h == 1 && item + 1 < end
                                          ? pixel(least(blocks, b1 + step)) - pixel(b1)
                                          : 0;
                RowPrefetch next{g.x + image * g.depth * pixels + pixel(b1), pixels, ahead ? g.depth : 0,
                                 ahead};
                for (int64_t b = b0; b < b1; ++b) {
                    const int64_t count = pixel(b + 1) - pixel(b);
                    const int nv = static_cast<int>(ceil_div(count, VL));
                    const int64_t mr = rows_for(nv);
                    const int64_t share = ceil_div(next.lines(), (b1 - b0) * ceil_div(g.width, mr));
                    for (int64_t o = part * g.width / parts; o < o1; o += mr) {
                        const int64_t rows = least(mr, o1 - o);
                        const float* from[kMaxMR];
                        float* to[kMaxMR];
                        for (int64_t i = 0; i < rows; ++i) {
                            from[i] = weight + (o + i) * g.depth;
                            to[i] = g.y + (image * g.width + o + i) * pixels + pixel(b);
                        }
                        next.advance(share);
                        row_kernel(static_cast<int>(rows), nv)(
                            {from, mr, 1, g.depth,
                             panel + static_cast<size_t>(b - b0) * panel_floats(g.depth), kMaxNR},
                            {to, count, nullptr, g.bias ? g.bias + group * g.width + o : nullptr, false});
                        if (!g.finish.nothing())
                            for (int64_t i = 0; i < rows; ++i) finish(g.finish, to[i], count);
                    }
                }
            }
        },
        team);
}

}  // namespace fastconv::FC_ISA_NS
