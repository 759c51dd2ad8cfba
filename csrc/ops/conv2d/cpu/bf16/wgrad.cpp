// wgrad in bfloat16: blocks of 32 output by 32 input channels, reduced over positions of the frame.
//
// dy is transposed to [output channel][position] (for vdpbf16ps to pairs, as x), zero where a position is no
// output pixel; x lies as pairs of positions, [pair][channel][2], so that a tap's shift is a whole number of
// rows of a tile. A second copy, one position on, serves the odd shifts.
#include "core/bfloat16.h"
#include "cpu/parallel.h"
#include "ops/conv2d/cpu/bf16/frame.h"
#include "ops/conv2d/cpu/bf16/patch_wgrad.h"
#include "ops/conv2d/cpu/bf16/tile.h"
#include "ops/conv2d/cpu/bf16/transpose.h"

namespace fastconv::FC_ISA_NS {
namespace {

// Panels of dy and x share L2, and so do the sums where they are visited more than once.
constexpr int64_t kPanelBytes = 1 << 20, kWholeBytes = 1400 << 10, kSumBytes = 640 << 10;
// Steps between two visits to a block of sums: their part of dy, 2 KB a step, stays in L1 from tap to tap.
// vdpbf16ps reads its other operand four times, which is to stay there as well.
constexpr int64_t kAmxSteps = 16, kDotSteps = 8;
// The images' reduction is split where the sums are few against the pixels, or where threads would find
// nothing else to share: into products worth half a millisecond and more.
constexpr int64_t kSplitPixels = 16384, kSplitWork = 1 << 27, kMostSplits = 8;

// Unpacking pairs of rows leaves channels in the order 0-3, 8-11, 16-19, 24-27 and 4-7, 12-15, ...
inline int64_t unpacked_channel(int64_t half, int64_t i) { return i / 4 * 8 + half * 4 + i % 4; }

struct Cut {
    Frame frame;
    int64_t row_blocks, column_blocks;  // of 32 output and input channels
    int64_t filters;                    // taps, or runs of taps
    int64_t band, bands;                // output rows of a unit
    int64_t units, chunk, chunks;       // units in all, units that are reduced at once
    int64_t unit_steps;
    int64_t parts, part_blocks;  // parts of the input channels
    int64_t splits;
    int64_t parities;  // copies of x: both, or only that of the even shifts
    bool once;         // a block's sum is finished in one visit and needs no memory of its own

    explicit Cut(const Bf16Wgrad& g) : frame(g) {
        row_blocks = ceil_div(g.width, 32);
        column_blocks = ceil_div(g.run * g.depth, 32);
        filters = g.tap_count / g.run;
        parities = 1;
        for (int64_t t = 0; t < g.tap_count; t += g.run)
            if (frame.shift(g.taps[t]) % 2) parities = 2;
        const int64_t sum_bytes = filters * row_blocks * 4096;  // of 32 input channels

        // All images at once, as many input channels at a time as L2 holds; or few sums, many chunks.
        band = g.rows, bands = 1, units = g.n;
        const int64_t room = kWholeBytes - g.n * dy_bytes(g), block = g.n * block_bytes(g);
        once = sum_bytes * column_blocks > kSumBytes && room >= block;
        if (once) {
            part_blocks = least(column_blocks, room / block);
            chunk = units;
        } else {
            part_blocks = most(1, least(column_blocks, kSumBytes / sum_bytes));
            while (band > 1 && unit_bytes(g) > kPanelBytes) band = (band + 1) / 2;
            bands = ceil_div(g.rows, band);
            band = ceil_div(g.rows, bands);
            bands = ceil_div(g.rows, band);
            units = g.n * bands;
            chunk = most(1, least(units, kPanelBytes / unit_bytes(g)));
        }
        parts = ceil_div(column_blocks, part_blocks);
        part_blocks = ceil_div(column_blocks, parts);
        parts = ceil_div(column_blocks, part_blocks);
        unit_steps = steps_of(g);
        chunks = ceil_div(units, chunk);
        const int64_t pixels = g.n * g.rows * g.cols, items = g.groups * parts;
        const int64_t shares =
            least(kMostSplits / items, pixels * g.width * g.depth * g.tap_count / parts / kSplitWork);
        splits = least(chunks, most(1, most(shares, least(kMostSplits, pixels / kSplitPixels))));
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
    int64_t block_bytes(const Bf16Wgrad& g) const { return frame.planes * parities * 2 * x_plane(g); }
    int64_t x_bytes(const Bf16Wgrad& g) const { return part_blocks * block_bytes(g); }
    int64_t dy_bytes(const Bf16Wgrad& g) const { return row_blocks * 2 * steps_of(g) * kTileBytes; }
    int64_t unit_bytes(const Bf16Wgrad& g) const { return x_bytes(g) + dy_bytes(g); }
    int64_t group_floats() const { return once ? 0 : filters * row_blocks * column_blocks * 1024; }
    // Sums of all filters for 32 output and 32 input channels.
    int64_t sums_at(int64_t b, int64_t c) const { return (b * column_blocks + c) * filters * 1024; }
};

struct Scratch {
    size_t x, dy, sums, patches, pointers, zeros, offsets, pairs, total;
    Scratch(const Bf16Wgrad& g, const Cut& cut) {
        size_t at = 0;
        x = at, at += lines(cut.x_bytes(g) * cut.chunk);
        dy = at, at += lines(cut.dy_bytes(g) * cut.chunk);
        sums = at, at += cut.once ? lines(cut.filters * 4096) : 0;
        patches = at, at += lines(cut.frame.patches ? (cut.positions(g) + 2) * cut.column_blocks * 64 : 0);
        pointers = at, at += lines((cut.positions(g) + 2) * 8);
        zeros = at, at += lines(most(cut.row_blocks, cut.column_blocks) * 64);
        offsets = at, at += lines(cut.chunk * cut.unit_steps * 8);
        pairs = at, at += lines(cut.chunk * cut.unit_steps);
        total = at;
    }
};

// Positions of x that are fetched ahead.
constexpr int64_t kAhead = 16;

// One unit's x: [plane][parity][block of 32 channels][half][pair of positions][16 channels][2].
void fill_x(const Bf16Wgrad& g, const Cut& cut, const uint16_t* image, int64_t row0, int64_t block0,
            int64_t block1, char* panel, uint16_t* patches, const uint16_t** pointers,
            const uint16_t* zeros) {
    const Frame& f = cut.frame;
    const int64_t positions = cut.positions(g), half = cut.x_plane(g), length = g.run * g.depth;
    for (int64_t p = 0; p < f.planes; ++p) {
        const int64_t phase_h = f.plane_phase[p] / g.step_w, phase_w = f.plane_phase[p] % g.step_w;
        const int64_t present = least(f.used, ceil_div(g.w - phase_w, g.step_w) - f.first);
        for (int64_t at = 0, r = 0; at < positions + 2; ++r) {
            const int64_t row = (row0 + r + f.vertical.low) * g.step_h + phase_h;
            const bool inside = row >= 0 && row < g.h && r < least(cut.band, g.rows - row0) + f.halo();
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
        char* even = panel + p * cut.parities * cut.part_blocks * 2 * half;
        char* odd = even + cut.part_blocks * 2 * half;
        for (int64_t at = 0; at < positions; at += 2) {
            const uint16_t *p0 = pointers[at], *p1 = pointers[at + 1], *p2 = pointers[at + 2];
            const int64_t later = least(at + kAhead, positions);
            const uint16_t *next0 = pointers[later], *next1 = pointers[later + 1];
            for (int64_t b = block0; b < block1; ++b) {
                _mm_prefetch(next0 + b * 32, _MM_HINT_T0);
                _mm_prefetch(next1 + b * 32, _MM_HINT_T0);
                const int64_t count = length - b * 32;
                const __m512i v0 = load_channels(p0 + b * 32, count), v1 = load_channels(p1 + b * 32, count);
                char* e = even + (b - block0) * 2 * half + at * 32;
                _mm512_storeu_si512(e, _mm512_unpacklo_epi16(v0, v1));
                _mm512_storeu_si512(e + half, _mm512_unpackhi_epi16(v0, v1));
                if (cut.parities == 1) continue;
                const __m512i v2 = load_channels(p2 + b * 32, count);
                char* o = odd + (b - block0) * 2 * half + at * 32;
                _mm512_storeu_si512(o, _mm512_unpacklo_epi16(v1, v2));
                _mm512_storeu_si512(o + half, _mm512_unpackhi_epi16(v1, v2));
            }
        }
    }
}

// One unit's dy: [block of 16 channels][step][16 channels][32 positions]; for vdpbf16ps, which broadcasts
// pairs of positions, [block of 16 channels][step][pair of positions][16 channels][2].
void fill_dy(const Bf16Wgrad& g, const Cut& cut, const uint16_t* image, int64_t row0, char* panel,
             int64_t block_bytes, const uint16_t** pointers, const uint16_t* zeros) {
    const int64_t pitch = cut.frame.pitch, channels = g.groups * g.width, steps = cut.unit_steps;
    for (int64_t at = 0, r = 0; at < steps * 32; ++r) {
        const bool inside = r < cut.band && row0 + r < g.rows;
        const uint16_t* from = image + (row0 + r) * g.cols * channels;
        for (int64_t j = 0; j < pitch && at < steps * 32; ++j, ++at)
            pointers[at] = inside && j < g.cols ? from + j * channels : zeros;
    }
    const __m512i first = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11),
                  second = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
    for (int64_t s = 0; s < steps; ++s)
        for (int64_t b = 0; b < cut.row_blocks; ++b) {
            const int64_t count = g.width - b * 32;
            char* to = panel + b * 2 * block_bytes + s * kTileBytes;
            __m512i low[16], high[16];
            for (int64_t i = 0; i < 16; ++i) {
                const uint16_t* const* at = pointers + s * 32 + 2 * i;
                if (s + 1 < steps) {
                    _mm_prefetch(at[32] + b * 32, _MM_HINT_T0);
                    _mm_prefetch(at[33] + b * 32, _MM_HINT_T0);
                }
                const __m512i v0 = load_channels(at[0] + b * 32, count),
                              v1 = load_channels(at[1] + b * 32, count);
                low[i] = _mm512_unpacklo_epi16(v0, v1);
                high[i] = _mm512_unpackhi_epi16(v0, v1);
                if (g.amx) continue;
                _mm512_storeu_si512(to + i * 64, _mm512_permutex2var_epi64(low[i], first, high[i]));
                _mm512_storeu_si512(to + block_bytes + i * 64,
                                    _mm512_permutex2var_epi64(low[i], second, high[i]));
            }
            if (!g.amx) continue;
            transpose_dwords(low);
            transpose_dwords(high);
            for (int64_t i = 0; i < 16; ++i) {
                const int64_t c0 = unpacked_channel(0, i), c1 = unpacked_channel(1, i);
                _mm512_storeu_si512(to + c0 / 16 * block_bytes + c0 % 16 * 64, low[i]);
                _mm512_storeu_si512(to + c1 / 16 * block_bytes + c1 % 16 * 64, high[i]);
            }
        }
}

// Where a filter's weights go, in either element type.
struct Target {
    void* weights;
    bool f32;
    bool* nan;  // set where a sum is NaN
    void set(int64_t at, float value) const {
        if (f32)
            static_cast<float*>(weights)[at] = value;
        else
            static_cast<uint16_t*>(weights)[at] = to_bfloat16(value).bits;
    }
};

// 3x3 filters of 32 input channels: rows[t] are tap t's weights, in the order of unpacking by 16 bits.
inline void store_3x3(const __m512i rows[9], uint16_t* to) {
    __m512i a[8], b[8];
    for (int i = 0; i < 4; ++i) {
        a[i] = _mm512_unpacklo_epi16(rows[2 * i], rows[2 * i + 1]);
        a[i + 4] = _mm512_unpackhi_epi16(rows[2 * i], rows[2 * i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {  // b[i]: channels 0, 1 of a lane (i = 4: 4, 5), b[i + 1]: the next two
        b[i] = _mm512_unpacklo_epi32(a[i], a[i + 1]);
        b[i + 1] = _mm512_unpackhi_epi32(a[i], a[i + 1]);
        b[i + 2] = _mm512_unpacklo_epi32(a[i + 2], a[i + 3]);
        b[i + 3] = _mm512_unpackhi_epi32(a[i + 2], a[i + 3]);
    }
    for (int i = 0; i < 8; i += 4)
        for (int q = 0; q < 2; ++q) {
            a[i + 2 * q] = _mm512_unpacklo_epi64(b[i + q], b[i + q + 2]);
            a[i + 2 * q + 1] = _mm512_unpackhi_epi64(b[i + q], b[i + q + 2]);
        }
    alignas(64) uint16_t last[32];
    _mm512_store_si512(last, rows[8]);
    const auto put = [&](int c, __m128i taps) {
        _mm_storeu_si128(reinterpret_cast<__m128i*>(to + c * 9), taps);
        to[c * 9 + 8] = last[c];
    };
    for (int i = 0; i < 8; ++i) {  // a[i]: channel i of each lane of eight
        put(i, _mm512_castsi512_si128(a[i]));
        put(8 + i, _mm512_extracti32x4_epi32(a[i], 1));
        put(16 + i, _mm512_extracti32x4_epi32(a[i], 2));
        put(24 + i, _mm512_extracti32x4_epi32(a[i], 3));
    }
}

// Adds the splits of 32 x 32 channels in order and writes their filters.
void finish_block(const Bf16Wgrad& g, const Cut& cut, int64_t group, int64_t b, int64_t c, const float* sums,
                  int64_t splits, int64_t split_floats, const Target& target) {
    // Back into the order of the channels.
    const __m512i first = _mm512_setr_epi32(0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23);
    const __m512i second = _mm512_add_epi32(first, _mm512_set1_epi32(8));
    const int64_t count = least(32, g.run * g.depth - c * 32), outputs = least(32, g.width - b * 32);
    bool in_order = g.weight_taps == 9 && g.tap_count == 9 && g.run == 1 && count == 32 && !target.f32;
    for (int64_t t = 0; t < g.tap_count; ++t) in_order = in_order && g.taps[t].index == t;
    alignas(64) float row[32];
    __m512i rounded[9];
    for (int64_t o = 0; o < outputs; ++o) {
        const int64_t filter = (group * g.width + b * 32 + o) * g.depth * g.weight_taps;
        for (int64_t t = 0; t < cut.filters; ++t) {
            const float* from = sums + t * 1024 + o * 32;
            __m512 low = _mm512_loadu_ps(from), high = _mm512_loadu_ps(from + 16);
            for (int64_t s = 1; s < splits; ++s) {
                low = _mm512_add_ps(low, _mm512_loadu_ps(from + s * split_floats));
                high = _mm512_add_ps(high, _mm512_loadu_ps(from + s * split_floats + 16));
            }
            if (_mm512_cmp_ps_mask(low, high, _CMP_UNORD_Q))
                __atomic_store_n(target.nan, true, __ATOMIC_RELAXED);
            const __m512 v0 = _mm512_permutex2var_ps(low, first, high),
                         v1 = _mm512_permutex2var_ps(low, second, high);
            if (in_order) {
                rounded[t] = reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(v1, v0));
            } else if (g.weight_taps == 1 && !target.f32) {
                _mm512_mask_storeu_epi16(static_cast<uint16_t*>(target.weights) + filter + c * 32,
                                         static_cast<__mmask32>((uint64_t{1} << count) - 1),
                                         reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(v1, v0)));
            } else {
                _mm512_store_ps(row, v0);
                _mm512_store_ps(row + 16, v1);
                for (int64_t e = 0; e < count; ++e) {
                    const int64_t channel = c * 32 + e, tap = t * g.run + channel / g.depth * (g.run > 1);
                    const int64_t place = g.run > 1 ? channel % g.depth : channel;
                    target.set(filter + place * g.weight_taps + g.taps[tap].index, row[e]);
                }
            }
        }
        if (in_order) store_3x3(rounded, static_cast<uint16_t*>(target.weights) + filter + c * 32 * 9);
    }
}

// The sums of 32 x 32 channels over a chunk's steps, a few of them for all taps before the next few.
void reduce_block(const Bf16Wgrad& g, const Cut& cut, const char* x, const char* dy, int64_t block_bytes,
                  const int64_t* offsets, const uint8_t* pairs, int64_t steps, int64_t outputs, bool first,
                  float* sums) {
    const int64_t half = cut.x_plane(g);
    const int64_t visits = cut.filters == 1 && g.amx ? 1 : ceil_div(steps, g.amx ? kAmxSteps : kDotSteps);
    for (int64_t v = 0; v < visits; ++v) {
        const int64_t begin = v * steps / visits, end = (v + 1) * steps / visits;
        for (int64_t t = 0; t < cut.filters; ++t) {
            const Bf16Tap& tap = g.taps[t * g.run];
            const int64_t shift = cut.frame.shift(tap), plane = cut.frame.plane_of(cut.frame.phase_of(tap));
            GradBlock block;
            block.a[0] = dy + begin * kTileBytes;
            block.a[1] = block.a[0] + block_bytes;
            block.b[0] = x + (plane * cut.parities + shift % 2) * cut.part_blocks * 2 * half + shift / 2 * 64;
            block.b[1] = block.b[0] + half;
            block.b_offsets = offsets + begin;
            block.pairs = pairs + begin;
            block.steps = end - begin;
            block.a_tiles = outputs > 16 ? 2 : 1;
            block.accumulate = !first || v > 0;
            block.c = sums + t * 1024;
            g.amx ? amx_grad_block(block) : dot_grad_block(block);
        }
    }
}

// Reduces the units [unit0, unit1) for one group and one part of the input channels.
void reduce_chunk(const Bf16Wgrad& g, const Cut& cut, const Scratch& layout, int64_t group, int64_t part,
                  int64_t unit0, int64_t unit1, bool first, float* sums, char* scratch,
                  const Target& target) {
    char *x = scratch + layout.x, *dy = scratch + layout.dy;
    uint16_t* patches = reinterpret_cast<uint16_t*>(scratch + layout.patches);
    const uint16_t** pointers = reinterpret_cast<const uint16_t**>(scratch + layout.pointers);
    const uint16_t* zeros = reinterpret_cast<const uint16_t*>(scratch + layout.zeros);
    int64_t* offsets = reinterpret_cast<int64_t*>(scratch + layout.offsets);
    uint8_t* pairs = reinterpret_cast<uint8_t*>(scratch + layout.pairs);
    const int64_t steps = (unit1 - unit0) * cut.unit_steps, block_bytes = steps * kTileBytes;
    const int64_t unit_x = cut.x_bytes(g), half = cut.x_plane(g);
    const int64_t block0 = part * cut.part_blocks,
                  block1 = least(cut.column_blocks, block0 + cut.part_blocks);
    for (int64_t u = unit0; u < unit1; ++u) {
        const int64_t image = u / cut.bands, row0 = u % cut.bands * cut.band, at = u - unit0;
        fill_x(g, cut, g.in + image * g.in_n + group * g.depth, row0, block0, block1, x + at * unit_x,
               patches, pointers, zeros);
        fill_dy(g, cut, g.dy + image * g.rows * g.cols * g.groups * g.width + group * g.width, row0,
                dy + at * cut.unit_steps * kTileBytes, block_bytes, pointers, zeros);
        const int64_t used = (least(cut.band, g.rows - row0) - 1) * cut.frame.pitch + g.cols;
        for (int64_t s = 0; s < cut.unit_steps; ++s) {
            offsets[at * cut.unit_steps + s] = at * unit_x + s * kTileBytes;
            pairs[at * cut.unit_steps + s] =
                static_cast<uint8_t>(most(0, least(16, ceil_div(used - s * 32, 2))));
        }
    }
    float* local = reinterpret_cast<float*>(scratch + layout.sums);
    for (int64_t b = 0; b < cut.row_blocks; ++b)
        for (int64_t c = block0; c < block1; ++c) {
            float* to = cut.once ? local : sums + cut.sums_at(b, c);
            reduce_block(g, cut, x + (c - block0) * 2 * half, dy + b * 2 * block_bytes, block_bytes, offsets,
                         pairs, steps, g.width - b * 32, first, to);
            if (cut.once) finish_block(g, cut, group, b, c, to, 1, 0, target);
        }
}

// The same of the t-th tap, or run of taps, alone.
Bf16Wgrad one_filter(const Bf16Wgrad& g, int64_t t) {
    Bf16Wgrad one = g;
    one.taps = g.taps + t * g.run;
    one.tap_count = g.run;
    return one;
}

Bf16Sizes sizes_of(const Bf16Wgrad& g) {
    const Cut cut(g);
    return {static_cast<size_t>(cut.splits * g.groups * cut.group_floats()) * sizeof(float),
            Scratch(g, cut).total};
}

// Returns whether a sum is NaN.
bool run(const Bf16Wgrad& g, char* partial, char* scratch, size_t scratch_step, void* dweight,
         bool dweight_f32, int team) {
    const Cut cut(g);
    const Scratch layout(g, cut);
    float* sums = reinterpret_cast<float*>(partial);
    const int64_t split_floats = g.groups * cut.group_floats();
    bool nan = false;
    const Target target{dweight, dweight_f32, &nan};
    parallel_for(
        cut.splits * g.groups * cut.parts, 1,
        [&](int64_t begin, int64_t end, int worker) {
            char* mine = scratch + static_cast<size_t>(worker) * scratch_step;
            __builtin_memset(mine + layout.zeros, 0, layout.offsets - layout.zeros);
            if (g.amx) amx_begin(16);
            for (int64_t item = begin; item < end; ++item) {
                const int64_t part = item % cut.parts, group = item / cut.parts % g.groups,
                              split = item / cut.parts / g.groups;
                float* to = sums + split * split_floats + group * cut.group_floats();
                const int64_t first = split * cut.chunks / cut.splits,
                              last = (split + 1) * cut.chunks / cut.splits;
                for (int64_t c = first; c < last; ++c)
                    reduce_chunk(g, cut, layout, group, part, c * cut.chunk,
                                 least(cut.units, (c + 1) * cut.chunk), c == first, to, mine, target);
            }
            if (g.amx) amx_end();
        },
        team);
    if (cut.once) return nan;
    const int64_t blocks = cut.row_blocks * cut.column_blocks;
    parallel_for(
        g.groups * blocks, 65536 / (1024 * cut.filters) + 1,
        [&](int64_t begin, int64_t end, int) {
            for (int64_t i = begin; i < end; ++i) {
                const int64_t group = i / blocks, b = i % blocks / cut.column_blocks,
                              c = i % cut.column_blocks;
                finish_block(g, cut, group, b, c, sums + group * cut.group_floats() + cut.sums_at(b, c),
                             cut.splits, split_floats, target);
            }
        },
        team);
    return nan;
}

}  // namespace

bool bf16_wgrad_fits(const Bf16Wgrad& g) {
    if (takes_patches(g)) return Frame(g).fits(g) && patch_wgrad_fits(g);
    return Frame(g).fits(g) && Cut(g).unit_bytes(g) <= 8 * kPanelBytes;
}

Bf16Sizes bf16_wgrad_sizes(const Bf16Wgrad& g) {
    if (takes_patches(g)) return patch_wgrad_sizes(g);
    Bf16Sizes sizes = sizes_of(g);
    for (int64_t t = 0; t < g.tap_count / g.run; ++t) {
        const Bf16Sizes one = sizes_of(one_filter(g, t));
        if (one.shared > sizes.shared) sizes.shared = one.shared;
        if (one.scratch > sizes.scratch) sizes.scratch = one.scratch;
    }
    return sizes;
}

// What separates the rows of dy is zero, but x at a tap's distance from there may be a pixel that the tap
// does not reach: an infinity would become NaN. A tap alone has a frame of what it reaches.
void bf16_wgrad_run(const Bf16Wgrad& g, char* partial, char* scratch, void* dweight, bool dweight_f32,
                    int team) {
    if (takes_patches(g)) return patch_wgrad_run(g, partial, scratch, dweight, dweight_f32, team);
    const size_t step = bf16_wgrad_sizes(g).scratch;
    if (!run(g, partial, scratch, step, dweight, dweight_f32, team) || g.tap_count == g.run) return;
    for (int64_t t = 0; t < g.tap_count / g.run; ++t)
        run(one_filter(g, t), partial, scratch, step, dweight, dweight_f32, team);
}

}  // namespace fastconv::FC_ISA_NS
