// wgrad in bfloat16: blocks of 32 output by 32 input channels, reduced over positions of the frame.
//
// dy is transposed to [output channel][position], zero where a position is no output pixel; x lies as pairs
// of positions, [pair][channel][2], so that a tap's shift is a whole number of rows of a tile. A second copy,
// one position on, serves the odd shifts.
#include "core/bfloat16.h"
#include "cpu/parallel.h"
#include "ops/conv2d/cpu/bf16/frame.h"
#include "ops/conv2d/cpu/bf16/tile.h"

namespace fastconv::FC_ISA_NS {
namespace {

// Panels of dy and x share L2; so many steps pass between two visits to a block of sums.
constexpr int64_t kPanelBytes = 1 << 20, kSteps = 40, kFewSteps = 24;
// The images' reduction is split where the sums are few against the pixels.
constexpr int64_t kSplitPixels = 16384, kMostSplits = 8;

// Unpacking pairs of rows leaves channels in the order 0-3, 8-11, 16-19, 24-27 and 4-7, 12-15, ...
inline int64_t unpacked_channel(int64_t half, int64_t i) { return i / 4 * 8 + half * 4 + i % 4; }

struct Cut {
    Frame frame;
    int64_t row_blocks, column_blocks;  // of 32 output and input channels
    int64_t band, bands;                // output rows of a unit
    int64_t units, chunk, chunks;       // units in all, units that are reduced at once
    int64_t unit_steps;
    int64_t splits;

    explicit Cut(const Bf16Wgrad& g) : frame(g) {
        row_blocks = ceil_div(g.width, 32);
        column_blocks = ceil_div(g.run * g.depth, 32);
        band = g.rows;
        while (band > 1 && (unit_bytes(g) > kPanelBytes || steps_of(g) > kSteps)) band = (band + 1) / 2;
        bands = ceil_div(g.rows, band);
        band = ceil_div(g.rows, bands);
        bands = ceil_div(g.rows, band);
        unit_steps = steps_of(g);
        units = g.n * bands;
        chunk = least(ceil_div(kFewSteps, unit_steps), most(1, kPanelBytes / unit_bytes(g)));
        chunk = most(1, least(chunk, units));
        chunks = ceil_div(units, chunk);
        splits = least(chunks, most(1, least(kMostSplits, g.n * g.rows * g.cols / kSplitPixels)));
    }
    int64_t steps_of(const Bf16Wgrad& g) const { return ceil_div((band - 1) * frame.pitch + g.cols, 32); }
    // Positions of x that the steps reach, in whole tiles.
    int64_t positions(const Bf16Wgrad& g) const {
        return ceil_div(steps_of(g) * 32 + frame.halo() * frame.pitch + frame.horizontal.high -
                            frame.horizontal.low + 2,
                        32) *
               32;
    }
    int64_t x_plane(const Bf16Wgrad& g) const { return positions(g) * 32; }  // bytes of 16 channels
    int64_t x_bytes(const Bf16Wgrad& g) const { return frame.planes * 2 * column_blocks * 2 * x_plane(g); }
    int64_t dy_bytes(const Bf16Wgrad& g) const { return row_blocks * 2 * steps_of(g) * kTileBytes; }
    int64_t unit_bytes(const Bf16Wgrad& g) const { return x_bytes(g) + dy_bytes(g); }
    int64_t partial_floats(const Bf16Wgrad& g) const {
        return g.groups * (g.tap_count / g.run) * row_blocks * column_blocks * 1024;
    }
};

struct Scratch {
    size_t x, dy, patches, pointers, zeros, offsets, total;
    Scratch(const Bf16Wgrad& g, const Cut& cut) {
        size_t at = 0;
        x = at, at += lines(cut.x_bytes(g) * cut.chunk);
        dy = at, at += lines(cut.dy_bytes(g) * cut.chunk);
        patches = at, at += lines(cut.frame.patches ? (cut.positions(g) + 2) * cut.column_blocks * 64 : 0);
        pointers = at, at += lines((cut.positions(g) + 2) * 8);
        zeros = at, at += lines(most(cut.row_blocks, cut.column_blocks) * 64);
        offsets = at, at += lines(cut.chunk * cut.unit_steps * 8);
        total = at;
    }
};

inline __m512i load_channels(const uint16_t* p, int64_t count) {
    if (count >= 32) return _mm512_loadu_si512(p);
    return _mm512_maskz_loadu_epi16(static_cast<__mmask32>((uint64_t{1} << count) - 1), p);
}

// One unit's x: [plane][parity][block of 32 channels][half][pair of positions][16 channels][2].
void fill_x(const Bf16Wgrad& g, const Cut& cut, const uint16_t* image, int64_t row0, char* panel,
            uint16_t* patches, const uint16_t** pointers, const uint16_t* zeros) {
    const Frame& f = cut.frame;
    const int64_t positions = cut.positions(g), half = cut.x_plane(g), length = g.run * g.depth;
    for (int64_t p = 0; p < f.planes; ++p) {
        const int64_t phase_h = f.plane_phase[p] / g.step_w, phase_w = f.plane_phase[p] % g.step_w;
        const int64_t present = least(f.used, ceil_div(g.w - phase_w, g.step_w) - f.first);
        for (int64_t at = 0, r = 0; at < positions + 2; ++r) {
            const int64_t row = (row0 + r + f.vertical.low) * g.step_h + phase_h;
            const bool inside = row >= 0 && row < g.h && r < cut.band + f.halo();
            if (f.patches) {
                for (int64_t j = 0; j < f.pitch && at < positions + 2; ++j, ++at) {
                    pointers[at] = zeros;
                    if (!inside) continue;
                    const int64_t start = (j * g.step_w + g.taps[0].dw) * g.depth;
                    uint16_t* patch = patches + at * cut.column_blocks * 32;
                    for (int64_t b = 0; b < cut.column_blocks; ++b) {
                        const __mmask32 mask = run_mask(start, b, length, g.w * g.depth);
                        const uint16_t* from = image + row * g.in_h + start + b * 32;
                        _mm512_storeu_si512(patch + b * 32, _mm512_maskz_loadu_epi16(mask, from));
                    }
                    pointers[at] = patch;
                }
                continue;
            }
            const uint16_t* from = image + row * g.in_h + (f.first * g.step_w + phase_w) * g.in_w;
            for (int64_t j = 0; j < f.pitch && at < positions + 2; ++j, ++at)
                pointers[at] = inside && j >= f.left && j < f.left + present
                                   ? from + (j - f.left) * g.step_w * g.in_w
                                   : zeros;
        }
        char* even = panel + p * 2 * cut.column_blocks * 2 * half;
        char* odd = even + cut.column_blocks * 2 * half;
        for (int64_t at = 0; at < positions; at += 2) {
            const uint16_t *p0 = pointers[at], *p1 = pointers[at + 1], *p2 = pointers[at + 2];
            for (int64_t b = 0; b < cut.column_blocks; ++b) {
                const int64_t count = length - b * 32;
                const __m512i v0 = load_channels(p0 + b * 32, count), v1 = load_channels(p1 + b * 32, count),
                              v2 = load_channels(p2 + b * 32, count);
                char* e = even + b * 2 * half + at * 32;
                char* o = odd + b * 2 * half + at * 32;
                _mm512_storeu_si512(e, _mm512_unpacklo_epi16(v0, v1));
                _mm512_storeu_si512(e + half, _mm512_unpackhi_epi16(v0, v1));
                _mm512_storeu_si512(o, _mm512_unpacklo_epi16(v1, v2));
                _mm512_storeu_si512(o + half, _mm512_unpackhi_epi16(v1, v2));
            }
        }
    }
}

// 16 x 16 dwords: row i of the result, over the lane order of unpacking, is column i.
inline void transpose_dwords(__m512i r[16]) {
    __m512i t[16];
    for (int i = 0; i < 8; ++i) {
        t[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
    }
    for (int i = 0; i < 4; ++i) {
        r[4 * i + 0] = _mm512_unpacklo_epi64(t[4 * i + 0], t[4 * i + 2]);
        r[4 * i + 1] = _mm512_unpackhi_epi64(t[4 * i + 0], t[4 * i + 2]);
        r[4 * i + 2] = _mm512_unpacklo_epi64(t[4 * i + 1], t[4 * i + 3]);
        r[4 * i + 3] = _mm512_unpackhi_epi64(t[4 * i + 1], t[4 * i + 3]);
    }
    for (int i = 0; i < 4; ++i) {
        t[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
        t[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd);
        t[i + 8] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
        t[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
    }
    for (int i = 0; i < 4; ++i) {
        r[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
        r[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
        r[i + 4] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0x88);
        r[i + 12] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0xdd);
    }
}

// One unit's dy: [block of 16 channels][step][16 channels][32 positions].
void fill_dy(const Bf16Wgrad& g, const Cut& cut, const uint16_t* image, int64_t row0, int64_t block0,
             int64_t block1, char* panel, int64_t block_bytes, const uint16_t** pointers,
             const uint16_t* zeros) {
    const int64_t pitch = cut.frame.pitch, channels = g.groups * g.width, steps = cut.unit_steps;
    for (int64_t at = 0, r = 0; at < steps * 32; ++r) {
        const bool inside = r < cut.band && row0 + r < g.rows;
        const uint16_t* from = image + (row0 + r) * g.cols * channels;
        for (int64_t j = 0; j < pitch && at < steps * 32; ++j, ++at)
            pointers[at] = inside && j < g.cols ? from + j * channels : zeros;
    }
    for (int64_t s = 0; s < steps; ++s)
        for (int64_t b = block0; b < block1; ++b) {
            const int64_t count = g.width - b * 32;
            __m512i low[16], high[16];
            for (int64_t i = 0; i < 16; ++i) {
                const __m512i v0 = load_channels(pointers[s * 32 + 2 * i] + b * 32, count),
                              v1 = load_channels(pointers[s * 32 + 2 * i + 1] + b * 32, count);
                low[i] = _mm512_unpacklo_epi16(v0, v1);
                high[i] = _mm512_unpackhi_epi16(v0, v1);
            }
            transpose_dwords(low);
            transpose_dwords(high);
            char* to = panel + (b - block0) * 2 * block_bytes + s * kTileBytes;
            for (int64_t i = 0; i < 16; ++i) {
                const int64_t c0 = unpacked_channel(0, i), c1 = unpacked_channel(1, i);
                _mm512_storeu_si512(to + c0 / 16 * block_bytes + c0 % 16 * 64, low[i]);
                _mm512_storeu_si512(to + c1 / 16 * block_bytes + c1 % 16 * 64, high[i]);
            }
        }
}

// Adds the units [unit0, unit1) to the sums of one group and the output channel blocks [block0, block1).
void reduce_chunk(const Bf16Wgrad& g, const Cut& cut, const Scratch& layout, int64_t group, int64_t unit0,
                  int64_t unit1, int64_t block0, int64_t block1, bool first, float* sums, char* scratch) {
    char *x = scratch + layout.x, *dy = scratch + layout.dy;
    uint16_t* patches = reinterpret_cast<uint16_t*>(scratch + layout.patches);
    const uint16_t** pointers = reinterpret_cast<const uint16_t**>(scratch + layout.pointers);
    const uint16_t* zeros = reinterpret_cast<const uint16_t*>(scratch + layout.zeros);
    int64_t* offsets = reinterpret_cast<int64_t*>(scratch + layout.offsets);
    const int64_t steps = (unit1 - unit0) * cut.unit_steps, block_bytes = steps * kTileBytes;
    const int64_t unit_x = cut.x_bytes(g), half = cut.x_plane(g);
    for (int64_t u = unit0; u < unit1; ++u) {
        const int64_t image = u / cut.bands, row0 = u % cut.bands * cut.band, at = u - unit0;
        fill_x(g, cut, g.in + image * g.in_n + group * g.depth, row0, x + at * unit_x, patches, pointers,
               zeros);
        fill_dy(g, cut, g.dy + image * g.rows * g.cols * g.groups * g.width + group * g.width, row0, block0,
                block1, dy + at * cut.unit_steps * kTileBytes, block_bytes, pointers, zeros);
        for (int64_t s = 0; s < cut.unit_steps; ++s)
            offsets[at * cut.unit_steps + s] = at * unit_x + s * kTileBytes;
    }
    for (int64_t b = block0; b < block1; ++b)
        for (int64_t t = 0; t < g.tap_count / g.run; ++t) {
            const Bf16Tap& tap = g.taps[t * g.run];
            const int64_t shift = cut.frame.shift(tap), plane = cut.frame.plane_of(cut.frame.phase_of(tap));
            const char* shifted = x + (plane * 2 + shift % 2) * cut.column_blocks * 2 * half + shift / 2 * 64;
            for (int64_t c = 0; c < cut.column_blocks; ++c) {
                GradBlock block;
                block.a[0] = dy + (b - block0) * 2 * block_bytes;
                block.a[1] = block.a[0] + block_bytes;
                block.b[0] = shifted + c * 2 * half;
                block.b[1] = block.b[0] + half;
                block.b_offsets = offsets;
                block.steps = steps;
                block.a_tiles = g.width - b * 32 > 16 ? 2 : 1;
                block.accumulate = !first;
                block.c = sums + ((t * cut.row_blocks + b) * cut.column_blocks + c) * 1024;
                g.amx ? amx_grad_block(block) : dot_grad_block(block);
            }
        }
}

// Adds the splits of one output channel in order and writes its filter.
void finish_channel(const Bf16Wgrad& g, const Cut& cut, int64_t group, int64_t o, const float* partial,
                    void* dweight, bool dweight_f32) {
    alignas(64) float row[32];
    const int64_t split_floats = cut.partial_floats(g);
    const int64_t filter = (group * g.width + o) * g.depth * g.weight_taps;
    for (int64_t b = 0; b < cut.column_blocks; ++b)
        for (int64_t t = 0; t < g.tap_count / g.run; ++t) {
            const float* from = partial + group * (split_floats / g.groups) +
                                ((t * cut.row_blocks + o / 32) * cut.column_blocks + b) * 1024 + o % 32 * 32;
            __m512 low = _mm512_loadu_ps(from), high = _mm512_loadu_ps(from + 16);
            for (int64_t s = 1; s < cut.splits; ++s) {
                low = _mm512_add_ps(low, _mm512_loadu_ps(from + s * split_floats));
                high = _mm512_add_ps(high, _mm512_loadu_ps(from + s * split_floats + 16));
            }
            // Back into the order of the channels.
            const __m512i first = _mm512_setr_epi32(0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23);
            const __m512i second = _mm512_add_epi32(first, _mm512_set1_epi32(8));
            const __m512 v0 = _mm512_permutex2var_ps(low, first, high),
                         v1 = _mm512_permutex2var_ps(low, second, high);
            if (g.run > 1) {
                _mm512_store_ps(row, v0);
                _mm512_store_ps(row + 16, v1);
                for (int64_t e = b * 32; e < least(g.run * g.depth, b * 32 + 32); ++e) {
                    const int64_t to =
                        filter + e % g.depth * g.weight_taps + g.taps[t * g.run + e / g.depth].index;
                    if (dweight_f32)
                        static_cast<float*>(dweight)[to] = row[e - b * 32];
                    else
                        static_cast<uint16_t*>(dweight)[to] = to_bfloat16(row[e - b * 32]).bits;
                }
                continue;
            }
            const int64_t count = least(32, g.depth - b * 32),
                          at = filter + b * 32 * g.weight_taps + g.taps[t].index;
            if (dweight_f32) {
                float* to = static_cast<float*>(dweight) + at;
                _mm512_store_ps(row, v0);
                _mm512_store_ps(row + 16, v1);
                for (int64_t c = 0; c < count; ++c) to[c * g.weight_taps] = row[c];
            } else {
                uint16_t* to = static_cast<uint16_t*>(dweight) + at;
                const __m512i rounded = reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(v1, v0));
                if (g.weight_taps == 1) {
                    _mm512_mask_storeu_epi16(to, static_cast<__mmask32>((uint64_t{1} << count) - 1), rounded);
                    continue;
                }
                uint16_t* half = reinterpret_cast<uint16_t*>(row);
                _mm512_store_si512(half, rounded);
                for (int64_t c = 0; c < count; ++c) to[c * g.weight_taps] = half[c];
            }
        }
}

}  // namespace

bool bf16_wgrad_fits(const Bf16Wgrad& g) {
    return Frame(g).fits(g) && Cut(g).unit_bytes(g) <= 8 * kPanelBytes;
}

Bf16Sizes bf16_wgrad_sizes(const Bf16Wgrad& g) {
    const Cut cut(g);
    return {static_cast<size_t>(cut.splits * cut.partial_floats(g)) * sizeof(float), Scratch(g, cut).total};
}

void bf16_wgrad_run(const Bf16Wgrad& g, char* partial, char* scratch, void* dweight, bool dweight_f32,
                    int team) {
    const Cut cut(g);
    const Scratch layout(g, cut);
    float* sums = reinterpret_cast<float*>(partial);
    const int64_t split_floats = cut.partial_floats(g);
    // Parts of the output channels change nothing in any sum: only as many as the threads need.
    const int64_t parts = team == 1 ? 1 : least(cut.row_blocks, ceil_div(2 * team, cut.splits * g.groups));
    parallel_for(
        cut.splits * g.groups * parts, 1,
        [&](int64_t begin, int64_t end, int worker) {
            char* mine = scratch + static_cast<size_t>(worker) * layout.total;
            __builtin_memset(mine + layout.zeros, 0, layout.offsets - layout.zeros);
            if (g.amx) amx_begin(16);
            for (int64_t item = begin; item < end; ++item) {
                const int64_t part = item % parts, group = item / parts % g.groups,
                              split = item / parts / g.groups;
                float* to = sums + split * split_floats + group * (split_floats / g.groups);
                const int64_t first = split * cut.chunks / cut.splits,
                              last = (split + 1) * cut.chunks / cut.splits;
                for (int64_t c = first; c < last; ++c)
                    reduce_chunk(g, cut, layout, group, c * cut.chunk, least(cut.units, (c + 1) * cut.chunk),
                                 part * cut.row_blocks / parts, (part + 1) * cut.row_blocks / parts,
                                 c == first, to, mine);
            }
            if (g.amx) amx_end();
        },
        team);
    parallel_for(
        g.groups * g.width, 65536 / (g.depth * g.tap_count) + 1,
        [&](int64_t begin, int64_t end, int) {
            for (int64_t o = begin; o < end; ++o)
                finish_channel(g, cut, o / g.width, o % g.width, sums, dweight, dweight_f32);
        },
        team);
}

}  // namespace fastconv::FC_ISA_NS
