// 1x1 convolution of NCHW arrays. Rows of the tile are output channels, whose weights are read where they
// lie; lanes are pixels, copied once into a panel that stays in L2 while every output channel passes over it.
#include "cpu/gemm/microkernel.h"
#include "cpu/parallel.h"
#include "ops/conv2d/cpu/common.h"
#include "ops/conv2d/cpu/epilogue.h"
#include "ops/conv2d/cpu/prologue.h"
#include "ops/conv2d/cpu/statistics.h"
#include "ops/conv2d/gather.h"

namespace fastconv::FC_ISA_NS {
namespace {

// Blocks of kMaxNR pixels whose panels are filled together: longer runs of each channel's plane, in L2.
inline int64_t panels(int64_t depth) {
    const int64_t fit = 65536 / (depth * kMaxNR);
    return fit < 1 ? 1 : fit > 4 ? 4 : fit;
}
inline size_t panel_floats(int64_t depth) { return static_cast<size_t>(depth) * kMaxNR; }

// panel[block][c][e] = x of channel c of the group, on its line, at output pixel pixel(block) + e.
template <class Pixel>
void fill_panels(const PointwiseNchw& g, int64_t image, int64_t blocks, const Pixel& pixel, float* panel) {
    const int64_t plane = g.h * g.w, channel = image % g.groups * g.depth;
    const float* x = g.x + image * g.depth * plane;
    const size_t size = panel_floats(g.depth);
    if (g.step_h == 1 && g.step_w == 1) {
        for (int64_t c = 0; c < g.depth; ++c)
            for (int64_t b = 0; b < blocks; ++b) {
                float* to = panel + static_cast<size_t>(b) * size + c * kMaxNR;
                const float* from = x + c * plane + pixel(b);
                const int64_t count = pixel(b + 1) - pixel(b);
                if (g.line.wanted)
                    normalise_pixels(g.line, channel + c, from, to, count);
                else
                    copy_floats(to, from, count);
            }
        return;
    }
    for (int64_t b = 0; b < blocks; ++b, panel += size) {
        int64_t offset[kMaxNR];
        const int64_t count = pixel(b + 1) - pixel(b);
        PixelWalk at(pixel(b), g.rows, g.cols);
        for (int64_t e = 0; e < count; ++e, at.next()) offset[e] = at.i * g.step_h * g.w + at.j * g.step_w;
        for (int64_t c = 0; c < g.depth; ++c) {
            float* to = panel + c * kMaxNR;
            for (int64_t e = 0; e < count; ++e) to[e] = x[c * plane + offset[e]];
            if (g.line.wanted) normalise_pixels(g.line, channel + c, to, to, count);
        }
    }
}

// How a problem is cut, by its shape alone.
struct Cut {
    int64_t pixels, vectors, blocks;  // of one image; blocks of about equally many vectors
    int64_t images;                   // times groups
    int64_t step, items;              // an item fills the panels of `step` blocks
    int64_t parts;                    // with few items, the output channels are shared out as well

    explicit Cut(const PointwiseNchw& g) {
        pixels = g.rows * g.cols;
        vectors = ceil_div(pixels, VL), blocks = ceil_div(vectors, kMaxNV);
        images = g.n * g.groups, step = least(panels(g.depth), most(1, images * blocks / 16));
        items = ceil_div(blocks, step);
        parts = images * items >= 16 ? 1 : least(ceil_div(g.width, 32), ceil_div(16, images * items));
    }
    int64_t pixel(int64_t block) const { return least(pixels, block * vectors / blocks * VL); }
};

}  // namespace

size_t pointwise_scratch(const PointwiseNchw& g) {
    return static_cast<size_t>(panels(g.depth)) * panel_floats(g.depth) * sizeof(float);
}

size_t pointwise_partials(const PointwiseNchw& g) {
    if (!g.moments.wanted) return 0;
    return static_cast<size_t>(3 * g.n * Cut(g).items * g.groups * g.width) * sizeof(float);
}

void pointwise_run(const PointwiseNchw& g, char* scratch, int team) {
    const Cut cut(g);
    const int64_t pixels = cut.pixels, blocks = cut.blocks, images = cut.images, step = cut.step,
                  items = cut.items, parts = cut.parts;
    const int64_t channels = g.groups * g.width;
    constexpr int64_t kLag = 2;  // tiles
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
                const auto pixel = [&](int64_t b) { return cut.pixel(b); };
                fill_panels(g, image, b1 - b0, [&](int64_t e) { return pixel(b0 + e); }, panel);
                const float* weight = g.weight + group * g.width * g.depth;
                const int64_t o1 = (part + 1) * g.width / parts;
                // The next item's pixels, where they follow in the same image.
                const int64_t ahead = parts == 1 && g.step_w == 1 && g.step_h == 1 && item + 1 < end
                                          ? pixel(least(blocks, b1 + step)) - pixel(b1)
                                          : 0;
                RowPrefetch next{g.x + image * g.depth * pixels + pixel(b1), pixels, ahead ? g.depth : 0,
                                 ahead};
                const int64_t o0 = part * g.width / parts;
                const auto place = [&](int64_t o, int64_t b) {
                    return g.y + (image * g.width + o) * pixels + pixel(b);
                };
                // Statistics of the item's results for the channels [first, last), and what follows them.
                const auto settle = [&](int64_t first, int64_t last) {
                    float* moments =
                        piece_moments(g.moments, image / g.groups * items + item / parts % items, channels) +
                        group * g.width;
                    const int64_t count = pixel(b1) - pixel(b0);
                    for (int64_t o = first; o < last; ++o) {
                        run_moments(place(o, b0), count, moments + o, channels);
                        if (!g.finish.nothing()) finish(g.finish, place(o, b0), count);
                    }
                };
                int64_t settled = o0;
                for (int64_t b = b0; b < b1; ++b) {
                    const int64_t count = pixel(b + 1) - pixel(b);
                    const int nv = static_cast<int>(ceil_div(count, VL));
                    const int64_t mr = rows_for(nv);
                    const int64_t share = ceil_div(next.lines(), (b1 - b0) * ceil_div(g.width, mr));
                    for (int64_t o = o0; o < o1; o += mr) {
                        const int64_t rows = least(mr, o1 - o);
                        const float* from[kMaxMR];
                        float* to[kMaxMR];
                        for (int64_t i = 0; i < rows; ++i) {
                            from[i] = weight + (o + i) * g.depth;
                            to[i] = place(o + i, b);
                        }
                        next.advance(share);
                        row_kernel(static_cast<int>(rows), nv)(
                            {from, mr, 1, g.depth,
                             panel + static_cast<size_t>(b - b0) * panel_floats(g.depth), kMaxNR},
                            {to, count, nullptr, g.bias ? g.bias + group * g.width + o : nullptr, false});
                        if (g.moments.wanted) {
                            // Not at once, or it would wait for lines that the stores have asked memory for.
                            if (b1 - b0 == 1 && o - settled >= kLag * mr) {
                                settle(settled, settled + mr);
                                settled += mr;
                            }
                        } else if (!g.finish.nothing()) {
                            for (int64_t i = 0; i < rows; ++i) finish(g.finish, to[i], count);
                        }
                    }
                }
                if (g.moments.wanted) settle(settled, o1);
            }
        },
        team);
    if (!g.moments.wanted) return;
    const auto values = [&](int64_t piece) {
        const int64_t b0 = piece % items * step;
        return cut.pixel(least(blocks, b0 + step)) - cut.pixel(b0);
    };
    add_moments(g.moments, g.n * items, channels, values, team);
}

}  // namespace fastconv::FC_ISA_NS
