// fprop and dgrad in bfloat16: blocks of 32 (vdpbf16ps: up to 14) output pixels by 32 output channels.
#include "cpu/parallel.h"
#include "ops/conv2d/cpu/bf16/frame.h"
#include "ops/conv2d/cpu/bf16/pack.h"
#include "ops/conv2d/cpu/bf16/tile.h"

namespace fastconv::FC_ISA_NS {
namespace {

// An item's pixels and weights share L2 (1 to 2 MB a core).
constexpr int64_t kPanelBytes = 384 << 10, kWeightBytes = 640 << 10;
// Fewer items than this, and bands are cut smaller so that threads find work.
constexpr int64_t kItems = 8;

// How a problem is cut. An item is a band of output rows of one image by a part of a group's output channels.
struct Cut {
    Frame frame;
    int64_t depth_blocks, column_blocks;  // of 32 channels
    int64_t steps;
    bool direct;  // 1x1: the tiles read the array itself
    // Runs of taps on vdpbf16ps: a frame of rows as they are, where the run of a position overlaps the next
    // one's.
    bool rows_in_place;
    int64_t position;  // bytes from position to position of the panel
    int64_t band, bands;
    int64_t parts;
    bool flat;          // tiles run on over the ends of rows
    int64_t row_tiles;  // of one row, where they do not
    int64_t rows;       // of a tile
    int64_t tiles;      // of a band, at most

    explicit Cut(const Bf16Conv& g) : frame(g) {
        depth_blocks = ceil_div(g.run * g.depth, 32);
        column_blocks = ceil_div(g.width, 32);
        steps = depth_blocks * (g.tap_count / g.run);
        direct = g.run == 1 && g.tap_count == 1 && g.taps[0].dh == 0 && g.taps[0].dw == 0 && g.step_h == 1 &&
                 g.step_w == 1 && g.depth % 32 == 0 && g.rows == g.h && g.cols == g.w &&
                 g.in_h == g.w * g.in_w && g.rows * g.cols >= 16;
        // Not where a stride steps over most of a row, which would be copied too.
        rows_in_place = frame.patches && !g.amx && g.step_w <= 2 * g.run;
        position = rows_in_place ? g.step_w * g.depth * 2 : 64;
        if (rows_in_place) frame.pitch = g.cols + ceil_div(most(0, g.run - g.step_w), g.step_w);
        const int64_t row_bytes = frame.pitch * frame.planes * position * (rows_in_place ? 1 : depth_blocks);
        band = most(1, least(g.rows, kPanelBytes / row_bytes - frame.halo()));
        band = least(band, most(4, ceil_div(g.rows * g.n, kItems)));
        bands = ceil_div(g.rows, band);
        band = ceil_div(g.rows, bands);
        parts = ceil_div(column_blocks, most(1, kWeightBytes / (steps * 2 * kTileBytes)));

        // A tile's time is about 20 + rows on AMX; on vdpbf16ps seven rows hide its latency, and 1 is what
        // starting and storing cost.
        // Rows 4 KB apart share a set of L1, which holds twelve lines.
        const bool crowded = direct && g.in_w % 2048 == 0;
        const int64_t most_rows = g.amx ? 16 : crowded ? kDotRows / 2 : kDotRows;
        const auto time = [&](int64_t tile_rows) { return g.amx ? 20 + tile_rows : 1 + most(7, tile_rows); };
        row_tiles = ceil_div(g.cols, most_rows);
        const int64_t row_rows = ceil_div(g.cols, row_tiles);
        const int64_t length = pitch() * (band - 1) + g.cols, flat_tiles = ceil_div(length, most_rows);
        const int64_t flat_rows = ceil_div(length, flat_tiles);
        flat = flat_tiles * time(flat_rows) < band * row_tiles * time(row_rows);
        rows = flat ? flat_rows : row_rows;
        tiles = flat ? flat_tiles : band * row_tiles;
    }
    // Many weights and few pixels: a worker packs a part's weights into its own L2 just before they are used,
    // which spares a trip to memory and back, and its pixels are copied once for each part.
    bool packs_itself(const Bf16Conv& g) const {
        const int64_t weights = packed_group() * g.groups, pixels = g.n * g.h * g.w * g.depth * g.groups * 2;
        return weights > (1 << 20) && pixels * parts < 2 * weights;
    }
    int64_t most_blocks() const { return ceil_div(column_blocks, parts); }
    int64_t block_bytes() const { return steps * 2 * kTileBytes; }
    int64_t pitch() const { return frame.pitch; }
    int64_t part_begin(int64_t part) const { return part * column_blocks / parts; }
    int64_t plane_bytes() const { return direct ? 0 : frame.positions(band) * position; }
    int64_t panel_bytes() const {
        return plane_bytes() * frame.planes * (rows_in_place ? 1 : depth_blocks) + 64;
    }
    int64_t packed_group() const { return column_blocks * steps * 2 * kTileBytes; }
};

// A worker's scratch.
struct Scratch {
    size_t panel, weights, offsets, starts, places, results, total;
    Scratch(const Bf16Conv& g, const Cut& cut) {
        size_t at = 0;
        panel = at, at += lines(cut.panel_bytes());
        weights = at, at += cut.packs_itself(g) ? lines(cut.most_blocks() * cut.block_bytes()) : 0;
        offsets = at, at += lines(cut.steps * 8);
        starts = at, at += lines((cut.tiles + 1) * 8);
        places = at, at += lines((cut.tiles + 1) * 16 * 8);
        results = at, at += 2 * 32 * 32 * sizeof(float);
        total = at;
    }
};

inline void copy_channels(char* to, const uint16_t* from, int64_t count) {
    if (count >= 32) return _mm512_storeu_si512(to, _mm512_loadu_si512(from));
    const __mmask32 mask = static_cast<__mmask32>((uint64_t{1} << count) - 1);
    _mm512_storeu_si512(to, _mm512_maskz_loadu_epi16(mask, from));
}

inline void zero_lines(char* to, int64_t count) {
    for (int64_t i = 0; i < count; ++i) _mm512_storeu_si512(to + i * 64, _mm512_setzero_si512());
}

// A band's input as runs of taps: [plane][block of 32 elements][position][32].
void fill_patches(const Bf16Conv& g, const Cut& cut, const uint16_t* image, int64_t row0, int64_t rows,
                  char* panel) {
    const Frame& f = cut.frame;
    const int64_t block_bytes = cut.plane_bytes(), frame_rows = rows + f.halo();
    const int64_t length = g.run * g.depth, row_length = g.w * g.depth;
    for (int64_t p = 0; p < f.planes; ++p)
        for (int64_t r = 0; r < frame_rows; ++r) {
            const int64_t row = (row0 + r + f.vertical.low) * g.step_h + f.plane_phase[p] / g.step_w;
            const bool inside = row >= 0 && row < g.h;
            const uint16_t* from = image + (inside ? row : 0) * g.in_h;
            for (int64_t b = 0; b < cut.depth_blocks; ++b) {
                char* to = panel + (p * cut.depth_blocks + b) * block_bytes + r * f.pitch * 64;
                if (!inside) {
                    zero_lines(to, f.pitch);
                    continue;
                }
                int64_t at = g.taps[0].dw * g.depth;
                for (int64_t j = 0; j < g.cols; ++j, at += g.step_w * g.depth, to += 64) {
                    const __mmask32 mask = run_mask(at, b, length, row_length);
                    _mm512_storeu_si512(to, _mm512_maskz_loadu_epi16(mask, from + at + b * 32));
                }
            }
        }
}

// The same as rows between zeros, [plane][row][position]: a position's run starts where the one before has
// its second pixel.
void fill_rows(const Bf16Conv& g, const Cut& cut, const uint16_t* image, int64_t row0, int64_t rows,
               char* panel) {
    const Frame& f = cut.frame;
    const int64_t length = f.pitch * g.step_w * g.depth, row_length = g.w * g.depth,
                  start = g.taps[0].dw * g.depth;
    for (int64_t p = 0; p < f.planes; ++p) {
        char* to = panel + p * cut.plane_bytes();
        for (int64_t r = 0; r < rows + f.halo(); ++r, to += length * 2) {
            const int64_t row = (row0 + r + f.vertical.low) * g.step_h + f.plane_phase[p] / g.step_w;
            const bool inside = row >= 0 && row < g.h;
            const uint16_t* from = image + (inside ? row : 0) * g.in_h + start;
            for (int64_t b = 0; b < ceil_div(length, 32); ++b) {
                const __mmask32 mask = inside ? run_mask(start, b, length, row_length) : 0;
                _mm512_storeu_si512(to + b * 64, _mm512_maskz_loadu_epi16(mask, from + b * 32));
            }
        }
    }
}

// Copies a band's input, [plane][block of 32 channels][position][32].
void fill_panel(const Bf16Conv& g, const Cut& cut, const uint16_t* image, int64_t row0, int64_t rows,
                char* panel) {
    const Frame& f = cut.frame;
    const int64_t block_bytes = cut.plane_bytes();
    const int64_t frame_rows = rows + f.halo();
    for (int64_t p = 0; p < f.planes; ++p) {
        const int64_t phase_h = f.plane_phase[p] / g.step_w, phase_w = f.plane_phase[p] % g.step_w;
        const int64_t present = least(f.used, ceil_div(g.w - phase_w, g.step_w) - f.first);
        char* plane = panel + p * cut.depth_blocks * block_bytes;
        for (int64_t r = 0; r < frame_rows; ++r) {
            const int64_t row = (row0 + r + f.vertical.low) * g.step_h + phase_h;
            char* to = plane + r * f.pitch * 64;
            const bool inside = row >= 0 && row < g.h;
            const int64_t filled = inside ? present : 0;
            for (int64_t b = 0; b < cut.depth_blocks; ++b) {
                char* start = to + b * block_bytes;
                zero_lines(start, inside ? f.left : f.pitch);
                if (inside) zero_lines(start + (f.left + filled) * 64, f.pitch - f.left - filled);
            }
            const uint16_t* from = image + row * g.in_h + (f.first * g.step_w + phase_w) * g.in_w;
            to += f.left * 64;
            for (int64_t j = 0; j < filled; ++j, from += g.step_w * g.in_w, to += 64)
                for (int64_t b = 0; b < cut.depth_blocks; ++b)
                    copy_channels(to + b * block_bytes, from + b * 32, g.depth - b * 32);
        }
        for (int64_t b = 0; b < cut.depth_blocks; ++b)
            zero_lines(plane + b * block_bytes + frame_rows * f.pitch * 64, f.right);
    }
}

// Byte offset of every step from a tile's start: blocks of channels, then taps.
void step_offsets(const Bf16Conv& g, const Cut& cut, int64_t* offsets) {
    for (int64_t b = 0; b < cut.depth_blocks; ++b)
        for (int64_t t = 0; t < g.tap_count; t += g.run) {
            const int64_t plane = cut.frame.plane_of(cut.frame.phase_of(g.taps[t]));
            *offsets++ =
                cut.direct ? b * 64
                : cut.rows_in_place
                    ? plane * cut.plane_bytes() + cut.frame.shift(g.taps[t]) * cut.position + b * 64
                    : (plane * cut.depth_blocks + b) * cut.plane_bytes() + cut.frame.shift(g.taps[t]) * 64;
        }
}

// Where a band's tiles start and where their rows go; returns the number of tiles.
int64_t place_tiles(const Bf16Conv& g, const Cut& cut, int64_t row0, int64_t rows, int64_t* starts,
                    int64_t* places) {
    int64_t count = 0;
    const auto add = [&](int64_t start) {
        // A start may lie before the band where its last tile is moved back into the image.
        const int64_t first = start + row0 * cut.pitch();
        int64_t i = first / cut.pitch(), j = first % cut.pitch();
        for (int64_t r = 0; r < 16; ++r) {
            const bool real = r < cut.rows && i >= row0 && i < row0 + rows && j < g.cols;
            places[count * 16 + r] = real ? i * g.out_h + j * g.out_w : -1;
            if (++j == cut.pitch()) j = 0, ++i;
        }
        starts[count++] = start;
    };
    if (cut.flat) {
        const int64_t length = cut.pitch() * (rows - 1) + g.cols;
        for (int64_t at = 0; at < length; at += cut.rows)
            // Read in place, a tile must not run over the end of the image: it repeats some rows.
            add(cut.direct ? least(at, (g.rows - row0) * g.cols - cut.rows) : at);
    } else {
        for (int64_t i = 0; i < rows; ++i)
            for (int64_t t = 0; t < cut.row_tiles; ++t)
                add(i * cut.pitch() + least(t * cut.rows, g.cols - cut.rows));
    }
    return count;
}

// Where the weights of block `block` of a group go for each tap of the filter.
void place_taps(const Bf16Conv& g, int64_t block, char* to, TapTiles* places) {
    const int64_t tile = g.width - block * 32 > 16 ? 2 * kTileBytes : kTileBytes;
    for (int64_t t = 0; t < g.tap_count; ++t) places[g.taps[t].index] = {to + t * tile, g.tap_count * tile};
}

void pack(const Bf16Conv& g, int64_t group, int64_t block, char* to) {
    if (!packs_columns(g)) return (g.run > 1 ? pack_runs : pack_block)(g, group, block * 32, to);
    TapTiles places[kColumnTaps];
    place_taps(g, block, to, places);
    pack_columns(g, group, block * 32, places);
}

// One band (of all images) by the blocks [begin, end) of 32 output channels of a group.
void run_item(const Bf16Conv& g, const Cut& cut, const Scratch& layout, int64_t item, int64_t group,
              int64_t begin, int64_t end, const char* packed, char* scratch) {
    const int64_t band = item % cut.bands, image = item / cut.bands;
    char* panel = scratch + layout.panel;
    const int64_t* offsets = reinterpret_cast<int64_t*>(scratch + layout.offsets);
    int64_t* starts = reinterpret_cast<int64_t*>(scratch + layout.starts);
    int64_t* places = reinterpret_cast<int64_t*>(scratch + layout.places);
    float* results = reinterpret_cast<float*>(scratch + layout.results);

    const int64_t row0 = band * cut.band, rows = least(cut.band, g.rows - row0);
    if (rows <= 0) return;
    const uint16_t* in = g.in + image * g.in_n + group * g.depth;
    const char* base = panel;
    int64_t stride = cut.position;
    if (cut.direct) {
        base = reinterpret_cast<const char*>(in + row0 * g.in_h);
        stride = g.in_w * 2;
    } else if (cut.rows_in_place) {
        fill_rows(g, cut, in, row0, rows, panel);
    } else {
        cut.frame.patches ? fill_patches(g, cut, in, row0, rows, panel)
                          : fill_panel(g, cut, in, row0, rows, panel);
    }
    const int64_t tiles = place_tiles(g, cut, row0, rows, starts, places);
    uint16_t* out = g.out + image * g.out_n + group * g.width;
    const float* bias = g.bias ? g.bias + group * g.width : nullptr;

    const auto finish_at = [&](int64_t b) {
        const int64_t at = out + b * 32 - g.out;
        return DotFinish{g.residual ? g.residual + at : nullptr, g.saved ? g.saved + at : nullptr, g.relu};
    };

    Drain drain;
    int which = 0;
    // Rows of the next band that this one has not read.
    const bool last = row0 + rows >= g.rows;
    const int64_t reach = (row0 + rows + cut.frame.vertical.high) * g.step_h;
    if (g.groups == 1 && (!last || image + 1 < g.n)) {
        const uint16_t* next = last ? in + g.in_n : in + most(0, least(reach, g.h)) * g.in_h;
        const int64_t next_rows =
            last ? (cut.band + cut.frame.vertical.high) * g.step_h : least(cut.band * g.step_h, g.h - reach);
        drain.ahead = reinterpret_cast<const char*>(next);
        drain.ahead_lines = least(next_rows, g.h) * g.in_h * 2 / 64;
        const int64_t blocks = (g.amx ? (tiles + 1) / 2 : tiles) * (end - begin);
        drain.lines_a_step = drain.ahead_lines / (blocks * cut.steps) + 1;
    }
    if (!g.amx) {
        DotBlock block;
        block.a_stride = stride;
        block.offsets = offsets;
        block.steps = cut.steps;
        const int64_t rest = g.run * g.depth % 32;  // of the last block of channels, whose steps come last
        block.whole = rest ? cut.steps - cut.steps / cut.depth_blocks : cut.steps;
        block.pairs = rest / 2, block.half = rest % 2;
        block.rows = cut.rows;
        for (int64_t t = 0; t < tiles; ++t)
            for (int64_t b = begin; b < end; ++b) {
                const int64_t columns = least(32, g.width - b * 32);
                block.a = base + starts[t] * stride;
                block.b = packed + (b - begin) * cut.block_bytes();
                block.b_tiles = columns > 16 ? 2 : 1;
                block.places = places + t * 16;
                block.next = t + 1 < tiles ? block.places + 16 : block.places;
                block.out = out + b * 32;
                block.bias = bias ? bias + b * 32 : nullptr;
                block.mask = columns >= 32 ? 0xffffffffu : (1u << columns) - 1;
                block.finish = finish_at(b);
                if (t == 0 && tiles > 1)
                    for (int64_t r = 0; r < cut.rows; ++r)
                        if (places[r] >= 0) __builtin_prefetch(block.out + places[r], 1, 3);
                dot_block(block, drain);
            }
        return;
    }
    for (int64_t t = 0; t < tiles; t += 2)
        for (int64_t b = begin; b < end; ++b) {
            const int64_t columns = least(32, g.width - b * 32);
            Block block;
            block.a_tiles = t + 1 < tiles ? 2 : 1;
            block.a[0] = base + starts[t] * stride;
            block.a[1] = block.a_tiles == 2 ? base + starts[t + 1] * stride : nullptr;
            block.a_stride = stride;
            block.offsets = offsets;
            block.steps = cut.steps;
            block.b = packed + (b - begin) * cut.block_bytes();
            block.b_tiles = columns > 16 ? 2 : 1;
            block.c = results + which * 1024;
            block.places = places + t * 16;
            block.out = out + b * 32;
            block.rows = static_cast<int>(cut.rows);
            amx_block(block, drain);
            drain.from = block.c;
            drain.rows = places + t * 16;
            drain.at = 0;
            drain.count = block.a_tiles * 16;
            drain.out = out + b * 32;
            drain.bias = bias ? bias + b * 32 : nullptr;
            drain.mask = columns >= 32 ? 0xffffffffu : (1u << columns) - 1;
            drain.finish = finish_at(b);
            which ^= 1;
        }
    drain_rows(drain, drain.count);
}

}  // namespace

bool bf16_conv_fits(const Bf16Conv& g) { return Frame(g).fits(g); }

Bf16Sizes bf16_conv_sizes(const Bf16Conv& g) {
    const Cut cut(g);
    return {static_cast<size_t>(cut.packed_group() * g.groups), Scratch(g, cut).total};
}

bool bf16_conv_packs_itself(const Bf16Conv& g) { return Cut(g).packs_itself(g); }

void bf16_conv_pack(const Bf16Conv* parts, int64_t count, char* packed, int team) {
    const Bf16Conv& g = *parts;  // they differ in taps and outputs
    const int64_t blocks = ceil_div(g.width, 32), steps = ceil_div(g.depth, 32) * g.weight_taps;
    bool together = count > 1;
    for (int64_t p = 0; p < count; ++p) together = together && packs_columns(parts[p]);
    parallel_for(
        g.groups * blocks, 65536 / (steps * 1024) + 1,
        [&](int64_t begin, int64_t end, int) {
            for (int64_t item = begin; item < end; ++item) {
                const int64_t group = item / blocks, block = item % blocks;
                TapTiles places[kColumnTaps];
                char* to = packed;
                for (int64_t p = 0; p < count; ++p) {
                    const Cut cut(parts[p]);
                    char* mine = to + item * cut.block_bytes();
                    together ? place_taps(parts[p], block, mine, places) : pack(parts[p], group, block, mine);
                    to += cut.packed_group() * g.groups;
                }
                if (together) pack_columns(g, group, block * 32, places);
            }
        },
        team);
}

void bf16_conv_run(const Bf16Conv& g, const char* packed, char* scratch, int team) {
    const Cut cut(g);
    const Scratch layout(g, cut);
    const int64_t bands = cut.bands * g.n, items = bands * g.groups * cut.parts;
    const int64_t work = cut.tiles * 16 * cut.steps * 32 * g.width / cut.parts + 1;
    parallel_for(
        items, 1000000 / work + 1,
        [&](int64_t first, int64_t last, int worker) {
            char* mine = scratch + static_cast<size_t>(worker) * layout.total;
            step_offsets(g, cut, reinterpret_cast<int64_t*>(mine + layout.offsets));
            if (g.amx) amx_begin(static_cast<int>(cut.rows));
            int64_t packed_for = -1;
            for (int64_t i = first; i < last; ++i) {
                const int64_t set = i / bands, group = set % g.groups, part = set / g.groups;
                const int64_t begin = cut.part_begin(part), end = cut.part_begin(part + 1);
                char* own = mine + layout.weights;
                if (!packed && packed_for != set) {
                    for (int64_t b = begin; b < end; ++b)
                        pack(g, group, b, own + (b - begin) * cut.block_bytes());
                    packed_for = set;
                }
                const char* weights =
                    packed ? packed + group * cut.packed_group() + begin * cut.block_bytes() : own;
                run_item(g, cut, layout, i % bands, group, begin, end, weights, mine);
            }
            if (g.amx) amx_end();
        },
        team);
}

}  // namespace fastconv::FC_ISA_NS
