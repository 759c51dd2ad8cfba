// How fprop and dgrad of gather.h are cut into work items and blocks, and the scratch memory of a worker.
#pragma once

#include "cpu/gemm/dot.h"
#include "cpu/gemm/few.h"
#include "cpu/gemm/microkernel.h"
#include "ops/conv2d/cpu/common.h"
#include "ops/conv2d/cpu/prologue.h"
#include "ops/conv2d/gather.h"

namespace fastconv::FC_ISA_NS {
namespace {

inline size_t lines(size_t bytes) { return (bytes + 63) / 64 * 64; }

constexpr int64_t kMostTiles = 2 * kPixelBlock;  // of a work item
// How a problem is cut: output channels into blocks of about equally many vectors, pixels into work items.
struct Cut {
    bool dot;                 // blocks of single channels, not of vectors of them
    bool few;                 // one tap of so few channels that all of an item's pixels are one tile
    bool rows;                // a row of pixels at a time: `few`, dots of one tap, or one vector of outputs
    bool narrow;              // one vector of outputs, and a filter that is one loop over offsets
    int64_t vectors, blocks;  // of a group's output channels
    int64_t mr;               // rows of the tallest tile
    int64_t taps;             // pointers a pixel
    int64_t packed_rows;      // reduction length
    int64_t pixels;           // in all
    int64_t block_pixels;     // of a work item
    int64_t items;            // pixel blocks
    int64_t parts;            // channel parts of a pixel block, so that few pixels still fill the threads
    bool halves;              // the pixels are one block cut in two, since its parts do not share out evenly

    explicit Cut(const GatherConv& g) {
        dot = g.dot;
        vectors = dot ? g.width : ceil_div(g.width, VL);
        // The blocks are those of the packed weights: whether a run has a prologue must not change them.
        const bool resident = !dot && g.tap_count == 1 && g.depth <= kMostFew && inside(g) &&
                              few_vectors(g.depth) >= least(vectors, 2);
        few = resident && !g.line.wanted;
        rows = few || (dot && g.tap_count == 1 && inside(g) && !g.line.wanted);
        blocks = ceil_div(vectors, dot ? kMostDots : resident ? few_vectors(g.depth) : kMaxNV);
        const int widest = static_cast<int>(ceil_div(vectors, blocks));
        narrow = g.offsets && vectors == 1 && !rows;
        rows = rows || narrow;
        pixels = g.n * g.rows * g.cols;
        mr = dot ? dot_rows_for(widest) : few ? kMaxMR : rows_for(widest);
        // Maps of most networks are multiples of seven: few pixels fall into items that are alike. Few steps
        // a tile are not faster for it.
        const int tall = most_rows_for(widest);
        if (!dot && !few && !g.offsets && pixels % tall == 0 &&
            (pixels <= kFewPixels || g.tap_count * g.depth >= kManySteps))
            mr = tall;
        taps = g.offsets ? 1 : g.tap_count;
        packed_rows = g.tap_count * (dot ? dot_depth(g.depth) : g.depth);
        block_pixels = kPixelBlock;
        const int64_t fit = kPointerTableBytes / static_cast<int64_t>(sizeof(float*)) / taps;
        if (fit < block_pixels) block_pixels = fit;
        // Items of about equally many pixels, a little larger rather than one small one at the end.
        const int64_t about = most(1, (pixels + block_pixels / 2) / block_pixels);
        block_pixels =
            most(1, least(ceil_div(ceil_div(pixels, about), mr), most(1, 2 * block_pixels / mr))) * mr;
        // Rows of pixels are not cut in two.
        if (narrow && g.cols < block_pixels) block_pixels = block_pixels / g.cols * g.cols;
        items = ceil_div(pixels, block_pixels);
        parts = items >= 16 ? 1 : least(blocks, ceil_div(16, items));
        // Of three parts one of two threads would take two.
        halves = items == 1 && parts % 2 == 1 && parts > 1 && parts < 8 && pixels >= 4 * mr && !rows;
        if (halves) block_pixels = ceil_div(pixels, 2), items = 2;
    }
    // Whether no pixel finds the tap in the padding.
    static bool inside(const GatherConv& g) {
        const Tap& t = g.taps[0];
        return t.dh >= 0 && t.dw >= 0 && (g.rows - 1) * g.step_h + t.dh < g.h &&
               (g.cols - 1) * g.step_w + t.dw < g.w;
    }
    // Taps of a block's weights that L2 holds beside the pixels: all of them unless the block is large.
    int64_t chunk(const GatherConv& g, int nv) const {
        const int64_t step = g.depth * nv * VL;
        if (dot || few || g.offsets || taps * step <= 2 * kChunkFloats) return taps;
        return least(taps, kChunkFloats / step + 1);
    }
    int64_t tile_pixels() const { return ceil_div(block_pixels, mr) * mr; }  // of an item's tiles
    bool one_block() const { return parts == blocks; }                       // of output channels in a part
    int64_t first_vector(int64_t block) const { return block * vectors / blocks; }
    int nv(int64_t block) const { return static_cast<int>(first_vector(block + 1) - first_vector(block)); }
    int64_t first_column(int64_t block) const { return first_vector(block) * (dot ? 1 : VL); }
    int64_t columns(const GatherConv& g, int64_t block) const {
        return least(g.width, first_column(block + 1)) - first_column(block);
    }
    int64_t packed_group() const { return packed_rows * vectors * (dot ? 1 : VL); }
    // Packed weights of a block start here; each row has nv * VL floats (dot: one).
    int64_t packed_block(int64_t group, int64_t block) const {
        return group * packed_group() + packed_rows * first_column(block);
    }
};

// Scratch of a worker: pixel pointers, pointer table of the tiles at the edge, the taps' distances from their
// pixel, output row pointers, a block of NHWC output to transpose, and input on its line.
struct Scratch {
    size_t bases, table, distances, rows, output, band, total;
    Scratch(const GatherConv& g, const Cut& cut) {
        const size_t px = static_cast<size_t>(cut.tile_pixels()), taps = static_cast<size_t>(cut.taps);
        size_t at = 0;
        bases = at, at += lines(px * sizeof(float*));
        table = at, at += lines(px * taps * sizeof(float*));
        distances = at, at += lines(taps * sizeof(int64_t));
        rows = at, at += lines(px * sizeof(float*));
        output = at,
        at += g.out_c != 1 ? lines(px * static_cast<size_t>(ceil_div(g.width, VL)) * VL * sizeof(float)) : 0;
        band = at, at += band_bytes(g, cut);
        total = at;
    }
    static size_t band_bytes(const GatherConv& g, const Cut& cut) {
        if (!g.line.wanted) return 0;
        const int64_t count = band_floats(g, cut.tile_pixels(), cut.mr, cut.one_block());
        return lines(static_cast<size_t>(count) * sizeof(float));
    }
};

}  // namespace
}  // namespace fastconv::FC_ISA_NS
