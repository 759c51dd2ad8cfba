// Direct wgrad of channels-last arrays: dW[tap][o][c] = sum over pixels of dy[pixel][o] * x[pixel moved by
// tap][c].
//
// A band of output pixels and one block of input channels at a time: that block of x, with the zeros of the
// padding, is copied into a panel once, and every tap is another start in the same panel. Rows of the tile
// are output channels, read by broadcast from dy where it lies.
#include "cpu/gemm/microkernel.h"
#include "cpu/layout/transpose.h"
#include "cpu/parallel.h"
#include "cpu/simd/nine.h"
#include "ops/conv2d/cpu/prologue.h"

namespace fastconv::FC_ISA_NS {
namespace {

// How a problem is cut: input channels into blocks of about equally many vectors, output channels into parts,
// output pixels into bands: pieces of rows, whole rows of one image, or whole images.
struct Cut {
    int64_t vectors, blocks;  // of a group's input channels
    int64_t parts;            // of its output channels
    int64_t together;         // blocks that pass over a band one after another
    int64_t band_images, band_rows, band_cols;
    int64_t image_bands, row_bands, col_bands;
    int64_t low_h, low_w;      // lowest tap
    int64_t step_h, step_w;    // between output pixels in the panel
    int64_t panel_h, panel_w;  // pixels of one image in the panel
    int64_t chunk;             // output channels that are copied at a time: a multiple of the tile's rows
    int64_t
        dy_stride;  // between pixels of that copy: an odd number of lines, which pass through all sets of L1
    bool in_place;  // dy is not copied
    bool x_in_place;  // nor is x
    int64_t bands() const { return image_bands * row_bands * col_bands; }

    explicit Cut(const GatherWgrad& g) : Cut(g, g.team) {}
    Cut(const GatherWgrad& g, int team) {
        const int64_t band = g.tap_count == 1 ? kWgradPointBand : kWgradBand;
        vectors = ceil_div(g.depth, VL);
        blocks = ceil_div(vectors, kWgradVectors);
        // Parts of the outputs, for threads to share, before parts of the reduction: those need a copy of the
        // result each. (Each part copies x again, so one thread has few; results do not depend on them.)
        parts = ceil_div(g.width, team > 1 && g.groups * blocks < kWgradUnits ? kWgradChunk : kWgradPart);
        col_bands = (g.cols + band / 2) / band;
        if (col_bands < 1) col_bands = 1;
        band_cols = ceil_div(g.cols, col_bands);
        band_rows = col_bands > 1 ? 1 : most(1, least(g.rows, (band + g.cols / 2) / g.cols));
        row_bands = ceil_div(g.rows, band_rows);
        band_rows = ceil_div(g.rows, row_bands);
        const int64_t image = g.rows * g.cols;
        band_images = row_bands > 1 || col_bands > 1 ? 1 : most(1, least(g.n, (band + image / 2) / image));
        image_bands = ceil_div(g.n, band_images);
        low_h = g.taps[0].dh, low_w = g.taps[0].dw;
        const Tap high = g.taps[g.tap_count - 1];
        // One tap: the panel holds just the pixels that it reads.
        step_h = g.tap_count == 1 ? 1 : g.step_h;
        step_w = g.tap_count == 1 ? 1 : g.step_w;
        panel_h = (band_rows - 1) * step_h + high.dh - low_h + 1;
        panel_w = (band_cols - 1) * step_w + high.dw - low_w + 1;
        // One tap reads dy once a block: from L2, where the results of several blocks fit there too.
        const int64_t part = ceil_div(g.width, parts);
        together =
            g.tap_count == 1 ? most(1, least(blocks, kWgradTogether / (part * kWgradVectors * VL))) : 1;
        while (together > 1 && g.splits * g.groups * ceil_div(blocks, together) * parts < 4 * team)
            --together;
        const int64_t mr = rows_for(static_cast<int>(least(kMaxNV, ceil_div(vectors, blocks))));
        // One tap reads dy once for each tile, a line a step, which L2 delivers in time: no copy pays for
        // that.
        in_place = g.tap_count == 1;
        x_in_place = in_place && !g.line.wanted && g.in_w <= kWgradXInPlace && low_h >= 0 && low_w >= 0 &&
                     (g.rows - 1) * g.step_h + low_h < g.h && (g.cols - 1) * g.step_w + low_w < g.w;
        chunk = ceil_div(ceil_div(part, in_place ? 1 : ceil_div(part, kWgradChunk)), mr) * mr;
        dy_stride = in_place ? 0 : (ceil_div(chunk, 16) | 1) * 16;
    }
    int64_t first_vector(int64_t block) const { return block * vectors / blocks; }
    int nv(int64_t block) const { return static_cast<int>(first_vector(block + 1) - first_vector(block)); }
    int64_t panel_floats() const {
        return band_images * panel_h * panel_w * most(1, least(vectors, kWgradVectors)) * VL;
    }
    int64_t band_pixels() const { return band_images * band_rows * band_cols; }
    static bool final(const GatherWgrad& g) { return g.tap_count == 1 && g.splits == 1; }
    int64_t partial(const GatherWgrad& g) const { return g.tap_count * g.width * vectors * VL; }
};

// The output pixels of one band.
struct Band {
    int64_t n0, n1, row0, row1, col0, col1;
    Band(const GatherWgrad& g, const Cut& cut, int64_t at) {
        const int64_t c = at % cut.col_bands, r = at / cut.col_bands % cut.row_bands;
        const int64_t n = at / (cut.col_bands * cut.row_bands);
        n0 = n * cut.band_images, n1 = least(g.n, n0 + cut.band_images);
        row0 = r * cut.band_rows, row1 = least(g.rows, row0 + cut.band_rows);
        col0 = c * cut.band_cols, col1 = least(g.cols, col0 + cut.band_cols);
    }
    int64_t pixels() const { return (n1 - n0) * (row1 - row0) * (col1 - col0); }
};

// Copies `columns` channels of `count` pixels (`step` elements apart), filled up with zeros to `ld` each.
inline void copy_pixels(const float* from, int64_t step, int64_t count, int64_t columns, float* to,
                        int64_t ld) {
    if (columns == ld && ld == 4 * VL) {
        for (; count > 0; --count, from += step, to += ld) {
            store(to, load(from));
            store(to + VL, load(from + VL));
            store(to + 2 * VL, load(from + 2 * VL));
            store(to + 3 * VL, load(from + 3 * VL));
        }
        return;
    }
    const int64_t whole = columns / VL * VL;
    const Tail last = tail(columns - whole);
    for (; count > 0; --count, from += step, to += ld) {
        int64_t c = 0;
        for (; c < whole; c += VL) store(to + c, load(from + c));
        if (c < ld) store(to + c, load(from + c, last));
    }
}

// Puts pixels that were copied on their line.
template <bool Relu>
inline void normalise_copies(const InputLine& line, int64_t channel, int64_t count, int64_t columns,
                             float* at, int64_t ld) {
    for (; count > 0; --count, at += ld) normalise_channels<Relu>(line, channel, at, at, columns);
}

// The band's pixels of x, `columns` channels from `channel` on, with zeros where the window leaves the image.
void fill_panel(const GatherWgrad& g, const Cut& cut, const Band& band, int64_t channel, int64_t columns,
                int64_t ld, float* panel) {
    const float* const x = g.x + channel;
    const bool one_tap = g.tap_count == 1;
    const int64_t every_h = one_tap ? g.step_h : 1, every_w = one_tap ? g.step_w : 1;
    const int64_t h0 = band.row0 * g.step_h + cut.low_h, w0 = band.col0 * g.step_w + cut.low_w;
    const int64_t rows = cut.panel_h - (cut.band_rows - (band.row1 - band.row0)) * cut.step_h;
    const int64_t cols = cut.panel_w - (cut.band_cols - (band.col1 - band.col0)) * cut.step_w;
    // Columns of the panel whose pixel lies inside a row of x.
    const int64_t first = w0 < 0 ? least(cols, ceil_div(-w0, every_w)) : 0;
    const int64_t room = g.w - 1 - w0, end = room < 0 ? first : most(first, least(cols, room / every_w + 1));
    for (int64_t n = band.n0; n < band.n1; ++n)
        for (int64_t r = 0; r < rows; ++r) {
            float* to = panel + ((n - band.n0) * cut.panel_h + r) * cut.panel_w * ld;
            const int64_t h = h0 + r * every_h;
            if (h < 0 || h >= g.h) {
                zero_floats(to, cols * ld);
                continue;
            }
            zero_floats(to, first * ld);
            copy_pixels(x + n * g.in_n + h * g.in_h + (w0 + first * every_w) * g.in_w, every_w * g.in_w,
                        end - first, columns, to + first * ld, ld);
            if (g.line.wanted && g.line.relu)
                normalise_copies<true>(g.line, channel, end - first, columns, to + first * ld, ld);
            else if (g.line.wanted)
                normalise_copies<false>(g.line, channel, end - first, columns, to + first * ld, ld);
            zero_floats(to + end * ld, (cols - end) * ld);
        }
}

struct Scratch {
    float* panel;
    float* dy;         // a chunk of output channels of the band
    int64_t* offsets;  // of the band's pixels in the panel
};

Scratch carve(const Cut& cut, char* base, size_t* bytes = nullptr) {
    const int64_t panel = cut.panel_floats(), dy = ceil_div(cut.band_pixels() * cut.dy_stride, 16) * 16;
    float* floats = reinterpret_cast<float*>(base);
    if (bytes)
        *bytes = (static_cast<size_t>(panel + dy) * sizeof(float) +
                  static_cast<size_t>(cut.band_pixels()) * sizeof(int64_t) + 63) /
                 64 * 64;
    return base ? Scratch{floats, floats + panel, reinterpret_cast<int64_t*>(floats + panel + dy)}
                : Scratch{};
}
size_t scratch_bytes(const Cut& cut) {
    size_t bytes = 0;
    carve(cut, nullptr, &bytes);
    return bytes;
}

const float* first_dy(const GatherWgrad& g, const Band& band) {
    return g.dy + ((band.n0 * g.rows + band.row0) * g.cols + band.col0) * g.groups * g.width;
}

// Of the band's first pixel of x.
int64_t first_x(const GatherWgrad& g, const Cut& cut, const Band& band) {
    return band.n0 * g.in_n + (band.row0 * g.step_h + cut.low_h) * g.in_h +
           (band.col0 * g.step_w + cut.low_w) * g.in_w;
}

// About the pixels of x that a band's panel is filled from, as far as they follow one another.
RowPrefetch pixels_of(const GatherWgrad& g, const Cut& cut, const Band& band, const float* x,
                      int64_t columns) {
    const int64_t h0 = most(0, band.row0 * g.step_h + cut.low_h);
    const int64_t w0 = most(0, band.col0 * g.step_w + cut.low_w);
    if (g.tap_count == 1 && (g.step_h > 1 || g.step_w > 1) && band.n1 - band.n0 == 1) {
        const int64_t cols = band.col1 - band.col0;
        return {x + band.n0 * g.in_n + h0 * g.in_h + w0 * g.in_w,
                g.step_w * g.in_w,
                cols * (band.row1 - band.row0),
                columns,
                cols,
                g.step_h * g.in_h};
    }
    const int64_t images = band.n1 - band.n0, whole = images * g.h * g.w;
    const int64_t wanted = cut.col_bands > 1 ? cut.panel_w * (g.tap_count == 1 ? g.step_w : 1)
                                             : cut.panel_h * (g.tap_count == 1 ? g.step_h : 1) * g.w;
    const int64_t skipped = h0 * g.w + w0;
    const int64_t pixels = images > 1 ? whole : least(wanted, g.h * g.w - skipped);
    return {x + band.n0 * g.in_n + h0 * g.in_h + w0 * g.in_w, g.in_w, most(0, pixels), columns};
}

// What a worker takes at a time: blocks of input channels of one group, output channels [o0, o1), bands
// [band0, band1).
struct Item {
    int64_t group, block0, block1, o0, o1, band0, band1;
};

// One block of input channels over one band.
void run_band(const GatherWgrad& g, const Cut& cut, const Item& item, int64_t at, int64_t block,
              const Scratch& scratch, float* partial, float* dweight) {
    const int nv = cut.nv(block), tiles_across = (nv + kMaxNV - 1) / kMaxNV;
    const int64_t ld = nv * VL, channel = cut.first_vector(block) * VL, o0 = item.o0, o1 = item.o1;
    const int64_t mr = rows_for((nv + tiles_across - 1) / tiles_across);
    const int64_t columns = least(g.depth - channel, ld), channels = g.groups * g.width;
    const float* const x = g.x + item.group * g.depth;
    // One tap and one part: the result has dW's own order.
    const bool final = cut.final(g);
    float* const result = final ? dweight + item.group * g.width * g.depth + channel
                                : partial + g.tap_count * g.width * channel;
    const int64_t result_row = final ? g.depth : ld;
    const Band band(g, cut, at);
    const float* panel = scratch.panel;
    int64_t panel_n = cut.panel_h * cut.panel_w * ld, panel_h = cut.step_h * cut.panel_w * ld;
    int64_t panel_w = cut.step_w * ld;
    if (cut.x_in_place) {
        panel = x + first_x(g, cut, band) + channel;
        panel_n = g.in_n, panel_h = g.step_h * g.in_h, panel_w = g.step_w * g.in_w;
    } else {
        fill_panel(g, cut, band, item.group * g.depth + channel, columns, ld, scratch.panel);
    }
    int64_t count = 0;
    for (int64_t n = 0; n < band.n1 - band.n0; ++n)
        for (int64_t i = 0; i < band.row1 - band.row0; ++i)
            for (int64_t j = 0; j < band.col1 - band.col0; ++j)
                scratch.offsets[count++] = n * panel_n + i * panel_h + j * panel_w;
    const float* dy = first_dy(g, band) + item.group * g.width;
    // What comes next, the next block's channels of this band or the first ones of the next, is brought into
    // L2 while the tiles run: rows a whole pixel apart are no stream that the processor would follow.
    const bool last_block = block + 1 == item.block1, last_band = at + 1 == item.band1;
    const Band next(g, cut, last_block && !last_band ? at + 1 : at);
    const int64_t next_block = last_block ? item.block0 : block + 1;
    const int64_t next_channel = cut.first_vector(next_block) * VL;
    RowPrefetch next_x =
        pixels_of(g, cut, next, x + next_channel, least(g.depth - next_channel, cut.nv(next_block) * VL));
    if (last_block && last_band) next_x.rows = 0;
    const int64_t chunks = ceil_div(o1 - o0, cut.chunk), tiles = ceil_div(cut.chunk, mr) * g.tap_count;
    // Pixels that follow one another are fetched by the tiles, a few each, others in front of them.
    const bool paced = cut.in_place && next_x.run == INT64_MAX;
    const int64_t x_share = paced ? 0 : ceil_div(next_x.lines(), chunks * tiles);
    const int64_t x_rows = paced ? ceil_div(next_x.rows, chunks * tiles) : 0;
    PixelKernel whole[kWgradVectors];
    for (int i = 0; i < tiles_across; ++i)
        whole[i] = pixel_kernel(static_cast<int>(mr), (i + 1) * nv / tiles_across - i * nv / tiles_across);
    for (int64_t c0 = o0; c0 < o1; c0 += cut.chunk) {
        const int64_t c1 = least(o1, c0 + cut.chunk);
        const bool same = c1 < o1;
        const float* const after = same ? dy + c1 : first_dy(g, next) + item.group * g.width + o0;
        RowPrefetch next_dy{after, channels, same ? count : next.pixels(),
                            same ? least(o1, c1 + cut.chunk) - c1 : cut.chunk};
        const int64_t dy_share = cut.in_place ? 0 : ceil_div(next_dy.lines(), tiles);
        for (int64_t k = 0; k < (cut.in_place ? 0 : count); ++k)
            copy_floats(scratch.dy + k * cut.dy_stride, dy + k * channels + c0, c1 - c0);
        for (int64_t t = 0; t < g.tap_count; ++t) {
            const float* start =
                panel + ((g.taps[t].dh - cut.low_h) * cut.panel_w + (g.taps[t].dw - cut.low_w)) * ld;
            for (int64_t o = c0; o < c1; o += mr) {
                const int64_t rows = least(mr, c1 - o);
                float* to[kMaxMR];
                next_dy.advance(dy_share);
                next_x.advance(x_share);
                for (int across = 0; across < tiles_across; ++across) {
                    const int v0 = across * nv / tiles_across, v1 = (across + 1) * nv / tiles_across;
                    const int64_t first = v0 * VL, wide = (v1 - v0) * VL;
                    for (int64_t i = 0; i < rows; ++i)
                        to[i] = result + (t * g.width + o + i) * result_row + first;
                    PixelTile tile{scratch.dy + (o - c0), cut.dy_stride, start + first, scratch.offsets,
                                   count};
                    if (cut.in_place) {
                        tile.a = dy + o, tile.lda = channels;
                        // Tiles fetch the line of dy behind their own, the last ones the first to come.
                        if (across == 0) {
                            tile.ahead = o + 16 < c1 ? 16 : after + (o + 16 - c1) - tile.a;
                            tile.next = next_x.base, tile.next_step = next_x.stride;
                            tile.next_rows = least(x_rows, next_x.rows);
                            next_x.base += tile.next_rows * next_x.stride;
                            next_x.rows -= tile.next_rows;
                        }
                    }
                    const PixelKernel kernel =
                        rows == mr ? whole[across] : pixel_kernel(static_cast<int>(rows), v1 - v0);
                    kernel(tile, {to, final || cut.x_in_place ? least(wide, columns - first) : wide, nullptr,
                                  nullptr, at != item.band0});
                }
            }
        }
    }
}

// dweight[group, o, c, tap] = the sum of the splits' partials, in order.
void combine(const GatherWgrad& g, const Cut& cut, const float* partial, float* dweight, int team) {
    const int64_t stride = g.groups * cut.partial(g);
    parallel_for(
        g.groups * g.width, 16384 / (g.depth * g.weight_taps) + 1,
        [&](int64_t begin, int64_t end, int) {
            constexpr int64_t kRows = 64;
            alignas(64) float sums[kRows * VL];
            for (int64_t item = begin; item < end; ++item) {
                const int64_t group = item / g.width, o = item % g.width;
                float* to = dweight + item * g.depth * g.weight_taps;
                const float* from = partial + group * cut.partial(g);
                for (int64_t block = 0; block < cut.blocks; ++block) {
                    const int64_t ld = cut.nv(block) * VL, channel = cut.first_vector(block) * VL;
                    const float* base = from + g.tap_count * g.width * channel + o * ld;
                    for (int64_t v = 0; v < ld; v += VL) {
                        const int64_t count = least(VL, g.depth - channel - v);
                        if (count <= 0) break;
                        for (int64_t t0 = 0; t0 < g.tap_count; t0 += kRows) {
                            const int64_t taps = least(kRows, g.tap_count - t0);
                            for (int64_t t = 0; t < taps; ++t) {
                                const float* p = base + (t0 + t) * g.width * ld + v;
                                // The next output's: taps, blocks and splits are more streams than the
                                // processor follows.
                                __builtin_prefetch(p + ld, 0, 3);
                                vf sum = load(p);
                                for (int64_t split = 1; split < g.splits; ++split) {
                                    __builtin_prefetch(p + split * stride + ld, 0, 3);
                                    sum = sum + load(p + split * stride);
                                }
                                store(sums + t * VL, sum);
                            }
                            // Taps are in the weights' own order.
                            if (g.tap_count == 1) {
                                copy_floats(to + channel + v, sums, count);
                            } else if (taps == 9 && g.weight_taps == 9 && count == VL) {
                                vf nine[9];
                                unrolled<9>([&](auto t) FC_INLINE { nine[t] = load(sums + t * VL); });
                                filters_of_taps(nine, to + (channel + v) * 9);
                            } else {
                                transpose_f32(sums, VL, to + (channel + v) * g.weight_taps + t0,
                                              g.weight_taps, taps, count);
                            }
                        }
                    }
                }
            }
        },
        team);
}

}  // namespace

WgradSizes direct_wgrad_sizes(const GatherWgrad& g) {
    const Cut cut(g);
    return {cut.final(g) ? 0 : static_cast<size_t>(g.splits * g.groups * cut.partial(g)) * sizeof(float),
            scratch_bytes(cut)};
}

WgradUnits direct_wgrad_units(const GatherWgrad& g) {
    const Cut cut(g, 2);  // the same for any team: the splits, and with them the bits, follow
    return {g.groups * cut.blocks * cut.parts, cut.bands()};
}

void direct_wgrad_run(const GatherWgrad& g, float* partial, char* scratch, float* dweight, int team) {
    const Cut cut(g);
    const int64_t shares = ceil_div(cut.blocks, cut.together), bands = cut.bands();
    const int64_t items = g.splits * g.groups * shares * cut.parts;
    const int64_t work = g.n * g.rows * g.cols * g.tap_count * g.depth * g.width * g.groups / items + 1;
    parallel_for(
        items, 100000 / work + 1,
        [&](int64_t begin, int64_t end, int worker) {
            char* mine = scratch + static_cast<size_t>(worker) * scratch_bytes(cut);
            const Scratch own = carve(cut, mine);
            for (int64_t i = begin; i < end; ++i) {
                const int64_t part = i % cut.parts, share = i / cut.parts % shares;
                const int64_t group = i / (cut.parts * shares) % g.groups;
                const int64_t split = i / (cut.parts * shares * g.groups);
                const Item item{group,
                                share * cut.blocks / shares,
                                (share + 1) * cut.blocks / shares,
                                part * g.width / cut.parts,
                                (part + 1) * g.width / cut.parts,
                                split * bands / g.splits,
                                (split + 1) * bands / g.splits};
                float* const sums = partial + (split * g.groups + group) * cut.partial(g);
                for (int64_t at = item.band0; at < item.band1; ++at)
                    for (int64_t block = item.block0; block < item.block1; ++block)
                        run_band(g, cut, item, at, block, own, sums, dweight);
            }
        },
        team);
    if (!cut.final(g)) combine(g, cut, partial, dweight, team);
}

}  // namespace fastconv::FC_ISA_NS
