// wgrad of few input channels on vdpbf16ps: the rows of a tile are elements of a patch (tap and channel), its
// lanes output channels, and two neighbouring pixels of an output row are a pair. A dword of x's panel holds
// an element of one pixel's patch and the same element of the next pixel's, so that any element of any pair
// is one broadcast.
#include "ops/conv2d/cpu/bf16/patch_wgrad.h"

#include "core/bfloat16.h"
#include "cpu/parallel.h"
#include "cpu/simd/unrolled.h"
#include "ops/conv2d/cpu/bf16/transpose.h"

namespace fastconv::FC_ISA_NS {
namespace {

// The reduction is split where there are pixels enough for several threads.
constexpr int64_t kSplitPixels = 16384, kMostSplits = 8;
// Output rows between two visits to the sums, by bytes of dy and of patches of x: both stream from L2.
constexpr int64_t kPanelBytes = 64 << 10, kPatchBytes = 256 << 10;

struct Cut {
    int64_t filters, length;  // rows of the filter, elements of a row's run
    int64_t elements, vectors;
    int64_t step;         // elements from a pixel's run to the next one's
    int64_t pairs;        // of two pixels, in an output row; an odd last pixel has a run of its own
    int64_t tail, pitch;  // dwords: where that run lies in a row of x's panel, such a row
    int64_t lines;        // output rows of all images
    int64_t batch;        // of them at a time
    int64_t splits;

    explicit Cut(const Bf16Wgrad& g) {
        filters = g.tap_count / g.run, length = g.run * g.depth;
        elements = filters * length, vectors = ceil_div(g.width, 16);
        step = g.step_w * g.depth;
        pairs = g.cols / 2;
        tail = ceil_div(most(0, 2 * pairs - 2) * step + length, 16) * 16;
        pitch = tail + ceil_div(length, 16) * 16;
        lines = g.n * g.rows;
        batch = most(1, least(lines, least(kPanelBytes / dy_bytes(g), kPatchBytes / x_bytes())));
        splits = least(lines, most(1, least(kMostSplits, lines * g.cols / kSplitPixels)));
    }
    int64_t x_bytes() const { return filters * pitch * 4; }  // of a line
    int64_t dy_bytes(const Bf16Wgrad& g) const { return (g.cols + 1) / 2 * vectors * 64; }
    int64_t sums() const { return elements * vectors * 16; }
};

struct Scratch {
    size_t x, dy, total;
    Scratch(const Bf16Wgrad& g, const Cut& cut) {
        x = 0;
        dy = x + lines(cut.batch * cut.x_bytes());
        total = dy + lines(cut.batch * cut.dy_bytes(g));
    }
};

// Elements [at, at + 16) of a row of `length`, of those before `end`; zeros elsewhere.
inline __m512i load_16(const uint16_t* row, int64_t at, int64_t end, int64_t length) {
    const int64_t from = most(0, -at), to = least(least(16, end), length - at);
    if (to - from == 16)
        return _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(row + at)));
    if (to <= from) return _mm512_setzero_si512();
    const __mmask16 mask = static_cast<__mmask16>((1u << to) - (1u << from));
    return _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, row + at));
}

// Patches of an output row: [filter's row][element].
void fill_x(const Bf16Wgrad& g, const Cut& cut, const uint16_t* image, int64_t i, uint32_t* to) {
    const int64_t length = g.w * g.depth, start = g.taps[0].dw * g.depth;
    for (int64_t f = 0; f < cut.filters; ++f, to += cut.pitch) {
        const int64_t row = i * g.step_h + g.taps[f * g.run].dh;
        if (row < 0 || row >= g.h) {
            for (int64_t m = 0; m < cut.pitch; m += 16) _mm512_storeu_si512(to + m, _mm512_setzero_si512());
            continue;
        }
        const uint16_t* from = image + row * g.in_h;
        for (int64_t m = 0; m < cut.tail; m += 16) {
            const __m512i even = load_16(from, start + m, 16, length),
                          odd = load_16(from, start + m + cut.step, 16, length);
            _mm512_storeu_si512(to + m, _mm512_or_si512(even, _mm512_slli_epi32(odd, 16)));
        }
        for (int64_t e = 0; e < cut.length; e += 16)
            _mm512_storeu_si512(to + cut.tail + e,
                                load_16(from, start + (g.cols - 1) * cut.step + e, cut.length - e, length));
    }
}

// An output row of dy: [pair][output channel][2].
void fill_dy(const Bf16Wgrad& g, const uint16_t* row, char* to) {
    const __m512i first = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11),
                  second = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
    for (int64_t j = 0; j < g.cols; j += 2, row += 2 * g.width)
        for (int64_t c = 0; c < g.width; c += 32) {
            const __m512i v0 = load_channels(row + c, g.width - c),
                          v1 = j + 1 < g.cols ? load_channels(row + g.width + c, g.width - c)
                                              : _mm512_setzero_si512(),
                          low = _mm512_unpacklo_epi16(v0, v1), high = _mm512_unpackhi_epi16(v0, v1);
            _mm512_storeu_si512(to, _mm512_permutex2var_epi64(low, first, high));
            to += 64;
            if (c + 16 >= g.width) break;
            _mm512_storeu_si512(to, _mm512_permutex2var_epi64(low, second, high));
            to += 64;
        }
}

struct Tile {
    const char* x[9];  // of each of its elements
    int64_t step;      // bytes from pair to pair in x
    const char* dy;
    int64_t dy_step;
    int64_t pairs;
    int64_t lines, x_line, dy_line;  // output rows, bytes from one to the next
    float* sums;
    int64_t sums_step;  // floats
    int rows;           // of R those that exist
};

template <int R, int NV>
void tile_of(const Tile& t) {
    __m512 sum[R][NV];
    unrolled<R, NV>([&](auto r, auto v) FC_INLINE {
        sum[r][v] = r < t.rows ? _mm512_loadu_ps(t.sums + r * t.sums_step + v * 16) : _mm512_setzero_ps();
    });
    const char* x[R];
    unrolled<R>([&](auto r) FC_INLINE { x[r] = t.x[r]; });
    for (int64_t line = 0; line < t.lines; ++line) {
        const char* dy = t.dy + line * t.dy_line;
        int64_t at = line * t.x_line;
        for (int64_t pair = 0; pair < t.pairs; ++pair, at += t.step, dy += t.dy_step) {
            // With 28 sums and a broadcast there are three registers left.
            __m512i w[3];
            unrolled<(NV < 3 ? NV : 3)>([&](auto v) FC_INLINE {
                w[v] = _mm512_loadu_si512(dy + v * 64);
                asm("" : "+v"(w[v]));
            });
            unrolled<R>([&](auto r) FC_INLINE {
                int32_t dword;
                __builtin_memcpy(&dword, x[r] + at, 4);
                const __m512i b = _mm512_set1_epi32(dword);
                unrolled<NV>([&](auto v) FC_INLINE {
                    if constexpr (v < 3)
                        asm("vdpbf16ps %2, %1, %0" : "+v"(sum[r][v]) : "v"(b), "v"(w[v]));
                    else
                        asm("vdpbf16ps %2, %1, %0"
                            : "+v"(sum[r][v])
                            : "v"(b), "m"(*reinterpret_cast<const __m512i_u*>(dy + v * 64)));
                });
            });
        }
    }
    unrolled<R, NV>([&](auto r, auto v) FC_INLINE {
        if (r < t.rows) _mm512_storeu_ps(t.sums + r * t.sums_step + v * 16, sum[r][v]);
    });
}

// Adds the products of some output rows to sums[element][output channel]. `ahead` are bytes of dy that come
// next.
void add_lines(const Bf16Wgrad& g, const Cut& cut, const uint32_t* x, const char* dy, int64_t count_lines,
               float* sums, const char* ahead, int64_t ahead_bytes) {
    Tile t;
    t.lines = count_lines, t.x_line = cut.x_bytes(), t.dy_line = cut.dy_bytes(g);
    t.step = 2 * cut.step * 4;
    t.dy_step = cut.vectors * 64;
    t.sums_step = cut.vectors * 16;
    for (int64_t v = 0; v < cut.vectors; v += 4) {
        const int64_t count = least(4, cut.vectors - v), rows = count == 4 ? 7 : 9;
        const int64_t slice = ahead_bytes / ceil_div(cut.elements, rows) + 64;
        for (int64_t e = 0; e < cut.elements; e += rows) {
            for (int64_t i = 0; v == 0 && i < slice && ahead_bytes > 0;
                 i += 64, ahead += 64, ahead_bytes -= 64)
                _mm_prefetch(ahead, _MM_HINT_T1);
            t.rows = static_cast<int>(least(rows, cut.elements - e));
            t.sums = sums + e * t.sums_step + v * 16;
            for (int odd = 0; odd < 2; ++odd) {
                t.pairs = odd ? g.cols % 2 : cut.pairs;
                if (!t.pairs) continue;
                t.dy = dy + v * 64 + (odd ? cut.pairs * t.dy_step : 0);
                for (int64_t r = 0; r < rows; ++r) {
                    const int64_t element = e + (r < t.rows ? r : 0);
                    t.x[r] = reinterpret_cast<const char*>(x + element / cut.length * cut.pitch +
                                                           element % cut.length + (odd ? cut.tail : 0));
                }
                static constexpr void (*kTiles[])(const Tile&) = {tile_of<9, 1>, tile_of<9, 2>, tile_of<9, 3>,
                                                                  tile_of<7, 4>};
                kTiles[count - 1](t);
            }
        }
    }
}

}  // namespace

bool takes_patches(const Bf16Wgrad& g) { return !g.amx && g.run > 1 && g.groups == 1; }

bool patch_wgrad_fits(const Bf16Wgrad& g) { return Cut(g).x_bytes() <= 8 * kPanelBytes; }

Bf16Sizes patch_wgrad_sizes(const Bf16Wgrad& g) {
    const Cut cut(g);
    return {static_cast<size_t>(cut.splits * cut.sums()) * sizeof(float), Scratch(g, cut).total};
}

void patch_wgrad_run(const Bf16Wgrad& g, char* partial, char* scratch, void* dweight, bool dweight_f32,
                     int team) {
    const Cut cut(g);
    const Scratch layout(g, cut);
    float* sums = reinterpret_cast<float*>(partial);
    parallel_for(
        cut.splits, 1,
        [&](int64_t begin, int64_t end, int worker) {
            char* mine = scratch + static_cast<size_t>(worker) * layout.total;
            uint32_t* x = reinterpret_cast<uint32_t*>(mine + layout.x);
            for (int64_t split = begin; split < end; ++split) {
                float* to = sums + split * cut.sums();
                __builtin_memset(to, 0, static_cast<size_t>(cut.sums()) * sizeof(float));
                const int64_t last = (split + 1) * cut.lines / cut.splits;
                for (int64_t line = split * cut.lines / cut.splits; line < last; line += cut.batch) {
                    const int64_t count = least(cut.batch, last - line), size = g.cols * g.width;
                    for (int64_t i = 0; i < count; ++i) {
                        fill_x(g, cut, g.in + (line + i) / g.rows * g.in_n, (line + i) % g.rows,
                               x + i * cut.x_bytes() / 4);
                        fill_dy(g, g.dy + (line + i) * size, mine + layout.dy + i * cut.dy_bytes(g));
                    }
                    const int64_t next = least(cut.batch, last - line - count);
                    add_lines(g, cut, x, mine + layout.dy, count, to,
                              reinterpret_cast<const char*>(g.dy + (line + count) * size), next * size * 2);
                }
            }
        },
        team);
    for (int64_t o = 0; o < g.width; ++o)
        for (int64_t e = 0; e < cut.elements; ++e) {
            float sum = sums[e * cut.vectors * 16 + o];
            for (int64_t s = 1; s < cut.splits; ++s) sum += sums[s * cut.sums() + e * cut.vectors * 16 + o];
            const int64_t channel = e % g.depth, tap = e / g.depth;
            const int64_t at = (o * g.depth + channel) * g.weight_taps + g.taps[tap].index;
            if (dweight_f32)
                static_cast<float*>(dweight)[at] = sum;
            else
                static_cast<uint16_t*>(dweight)[at] = to_bfloat16(sum).bits;
        }
}

}  // namespace fastconv::FC_ISA_NS
