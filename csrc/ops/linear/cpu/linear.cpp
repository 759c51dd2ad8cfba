// The three products of a linear layer on the shared microkernel. Only the forward pass may pack anything:
// its reduction runs along the weights' rows, where the others find unit-stride columns as they are.
#include "ops/linear/linear.h"

#include "cpu/gemm/dot.h"
#include "cpu/layout/transpose.h"
#include "cpu/parallel.h"
#include "cpu/simd/unrolled.h"
#include "ops/linear/kernels.h"

namespace fastconv::FC_ISA_NS {
namespace {

constexpr int64_t kRowBlock = 48;     // rows of a work item
constexpr int64_t kPanelItem = 192;   // the same where each item copies its weights
constexpr int64_t kDepthBlock = 256;  // reduction length between two visits to the result

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

// A width cut into blocks of about equally many vectors.
struct Blocks {
    int64_t width, vectors, count;
    explicit Blocks(int64_t width_)
        : width(width_), vectors(ceil_div(width, VL)), count(ceil_div(vectors, kMaxNV)) {}
    int64_t first(int64_t b) const { return b * vectors / count * VL; }
    int nv(int64_t b) const { return static_cast<int>((b + 1) * vectors / count - b * vectors / count); }
    int64_t columns(int64_t b) const { return least(width, first(b + 1)) - first(b); }
};

// y[o] = x . w[o] for outputs [o0, o1), one after the other: weights that pass by once are one stream through
// memory, and x comes from L2. (Four rows at a time were four streams, at a third of the bandwidth.)
template <class T>
void dot_rows(const LinearProblem& p, const T* x, const T* w, const T* bias, T* y, int64_t o0, int64_t o1) {
    constexpr int kSums = 4;
    constexpr int64_t kAhead = 12288 / sizeof(T), kLine = 64 / sizeof(T);
    for (int64_t o = o0; o < o1; ++o) {
        const T* const row = w + o * p.in;
        vf acc[kSums];
        unrolled<kSums>([&](auto e) FC_INLINE { acc[e] = zero(); });
        int64_t i = 0;
        for (; i + kSums * VL <= p.in; i += kSums * VL)
            unrolled<kSums>([&](auto e) FC_INLINE {
                const int64_t at = i + e * VL;
                if (e * VL % kLine == 0) __builtin_prefetch(row + at + kAhead, 0, 3);
                accumulate(acc[e], load(x + at), load(row + at));
            });
        for (; i + VL <= p.in; i += VL) accumulate(acc[0], load(x + i), load(row + i));
        if (i < p.in) {
            const Tail t = tail(p.in - i);
            accumulate(acc[1], load(x + i, t), load(row + i, t));
        }
        y[o] = narrow<T>(sum((acc[0] + acc[1]) + (acc[2] + acc[3])) + (bias ? widen(bias[o]) : 0.0f));
    }
}

// With few rows the weights are read once and dot products beat packing them.
template <class T>
void few_rows(const LinearProblem& p, const T* x, const T* w, const T* bias, T* y) {
    parallel_for(p.out, 65536 / (p.in + 1) + 4, [&](int64_t begin, int64_t end, int) {
        for (int64_t n = 0; n < p.rows; ++n) dot_rows(p, x + n * p.in, w, bias, y + n * p.out, begin, end);
    });
}

// Weights of long rows are read as they lie: lanes along the inputs, tiles of four outputs. A stretch of the
// inputs is done for all outputs of a worker before the next, so that x's part of it stays in L2 while the
// weights pass by once. What a row has beyond whole vectors is copied, with zeros behind it.
constexpr int64_t kStretch = 1024;
constexpr int kDots = 4;
// With more rows packing is a small part, and tiles of 6 by 4 vectors add up fewer lanes (128 rows of 2048 to
// 1000: 4.9 against 6.5 ms; 32 rows of 9216 to 4096: 97 against 28).
constexpr int64_t kDotRows = 64;
constexpr int64_t kLongRow = 12;  // vectors
inline bool as_it_lies(const LinearProblem& p) {
    if (p.rows == 1 || p.rows > kDotRows) return false;
    return p.in % VL == 0 || (p.rows > kLinearFewRows && p.in >= kLongRow * VL);
}

void dot_tiles(const LinearProblem& p, const float* x, const float* w, const float* bias, float* ends,
               float* y) {
    const int64_t rest = p.in % VL, whole = p.in - rest;
    const int64_t blocks = ceil_div(p.out, kDots), mr = dot_rows_for(kDots);
    parallel_for(blocks, 100000 / (p.rows * p.in * kDots) + 1, [&](int64_t begin, int64_t end, int) {
        for (int64_t o = begin * kDots; rest && o < least(p.out, end * kDots); ++o)
            store(ends + o * VL, load(w + o * p.in + whole, tail(rest)));
        for (int64_t k = 0; k < p.in; k += kStretch)
            for (int64_t block = begin; block < end; ++block) {
                const int64_t o = block * kDots, columns = least(kDots, p.out - o);
                for (int64_t r = 0; r < p.rows; r += mr) {
                    const int64_t count = least(mr, p.rows - r);
                    const float* from[kMaxMR];
                    float* to[kMaxMR];
                    for (int64_t i = 0; i < count; ++i) {
                        from[i] = x + (r + i) * p.in + k;
                        to[i] = y + (r + i) * p.out + o;
                    }
                    const DotKernel kernel = dot_kernel(static_cast<int>(count), static_cast<int>(columns));
                    TileOut out{to, columns, bias && k == 0 ? bias + o : nullptr, nullptr, k != 0};
                    const int64_t depth = least(kStretch, whole - k);
                    if (depth > 0) {
                        RowTile tile{from, mr, 1, depth, w + o * p.in + k, 0};
                        tile.column = p.in;
                        // Rows of weights lie pages apart: the next block's are asked for meanwhile.
                        if (r == 0 && o + 2 * kDots <= p.out) tile.next_b = tile.b + kDots * p.in;
                        kernel(tile, out);
                        out = {to, columns, nullptr, nullptr, true};
                    }
                    if (!rest || k + kStretch < p.in) continue;
                    for (int64_t i = 0; i < count; ++i) from[i] += depth;
                    kernel({from, mr, 1, rest, ends + o * VL, 0}, out);
                }
            }
    });
}

// out = a b + bias for a (rows x depth) and out (rows x blocks.width) contiguous. b_of(block) is the first
// row of a block of b's columns, ld_of(block) the distance between its rows.
template <class BOf, class LdOf>
void multiply(int64_t rows, int64_t depth, const float* a, const Blocks& blocks, const BOf& b_of,
              const LdOf& ld_of, const float* bias, float* out) {
    const int64_t items = ceil_div(rows, kRowBlock), work = kRowBlock * depth * kMaxNR;
    parallel_for(items * blocks.count, 100000 / work + 1, [&](int64_t begin, int64_t end, int) {
        for (int64_t item = begin; item < end; ++item) {
            const int64_t block = item % blocks.count, r0 = item / blocks.count * kRowBlock;
            const int64_t r1 = least(rows, r0 + kRowBlock), column = blocks.first(block);
            const int nv = blocks.nv(block);
            const int64_t mr = rows_for(nv);
            for (int64_t r = r0; r < r1; r += mr) {
                const int64_t count = least(mr, r1 - r);
                const float* from[kMaxMR];
                float* to[kMaxMR];
                for (int64_t i = 0; i < count; ++i) {
                    from[i] = a + (r + i) * depth;
                    to[i] = out + (r + i) * blocks.width + column;
                }
                row_kernel(static_cast<int>(count), nv)(
                    {from, mr, 1, depth, b_of(block), ld_of(block)},
                    {to, blocks.columns(block), bias ? bias + column : nullptr, nullptr, false});
            }
        }
    });
}

// Weights that L2 does not hold are copied panel by panel: rows of a block's columns often lie a multiple of
// 4 KB apart, where a few sets of the caches would have to hold them all (32 rows, 4096 by 4096: 44 against
// 14 ms).
constexpr int64_t kSmallWeights = 65536;
// A panel is as wide as several blocks: pieces of 1 KB of a row come from memory at a better pace than of 256
// bytes.
constexpr int64_t kPanelRows = 64;
constexpr int64_t kPanelBlocks = 4;

void multiply_panels(int64_t rows, int64_t depth, const float* a, const Blocks& blocks, const float* b,
                     float* out) {
    const int64_t items = ceil_div(rows, kPanelItem), groups = ceil_div(blocks.count, kPanelBlocks);
    const int64_t work = kPanelItem * depth * kMaxNR;
    parallel_for(items * groups, 100000 / work + 1, [&](int64_t begin, int64_t end, int) {
        alignas(64) float panel[kPanelBlocks * kPanelRows * kMaxNR];
        for (int64_t item = begin; item < end; ++item) {
            const int64_t group = item % groups, r0 = item / groups * kPanelItem;
            const int64_t r1 = least(rows, r0 + kPanelItem);
            const int64_t block0 = group * kPanelBlocks, block1 = least(blocks.count, block0 + kPanelBlocks);
            for (int64_t k = 0; k < depth; k += kPanelRows) {
                const int64_t steps = least(kPanelRows, depth - k);
                for (int64_t e = 0; e < steps; ++e) {
                    const float* row = b + (k + e) * blocks.width;
                    for (int64_t block = block0; block < block1; ++block) {
                        const int64_t ld = blocks.nv(block) * VL, columns = blocks.columns(block);
                        float* to = panel + (block - block0) * kPanelRows * kMaxNR + e * ld;
                        for (int64_t c = 0; c < columns; c += VL)
                            store(to + c, load(row + blocks.first(block) + c, tail(columns - c)));
                    }
                }
                for (int64_t block = block0; block < block1; ++block) {
                    const int64_t column = blocks.first(block), columns = blocks.columns(block);
                    const int nv = blocks.nv(block);
                    const int64_t mr = rows_for(nv);
                    const float* from_b = panel + (block - block0) * kPanelRows * kMaxNR;
                    for (int64_t r = r0; r < r1; r += mr) {
                        const int64_t count = least(mr, r1 - r);
                        const float* from[kMaxMR];
                        float* to[kMaxMR];
                        for (int64_t i = 0; i < count; ++i) {
                            from[i] = a + (r + i) * depth + k;
                            to[i] = out + (r + i) * blocks.width + column;
                        }
                        row_kernel(static_cast<int>(count), nv)({from, mr, 1, steps, from_b, nv * VL},
                                                                {to, columns, nullptr, nullptr, k != 0});
                    }
                }
            }
        }
    });
}

}  // namespace

int64_t linear_packed_floats(const LinearProblem& p) {
    if (as_it_lies(p)) return p.in % VL ? p.out * VL : 0;
    return p.rows <= kLinearFewRows ? 0 : Blocks(p.out).vectors * VL * p.in;
}

void linear_forward_run(const LinearProblem& p, const float* x, const float* w, const float* bias,
                        float* packed, float* y) {
    if (as_it_lies(p)) return dot_tiles(p, x, w, bias, packed, y);
    if (p.rows <= kLinearFewRows) return few_rows(p, x, w, bias, y);
    const Blocks blocks(p.out);
    parallel_for(blocks.count, 65536 / (p.in * kMaxNR) + 1, [&](int64_t begin, int64_t end, int) {
        for (int64_t b = begin; b < end; ++b)
            transpose_f32(w + blocks.first(b) * p.in, p.in, packed + blocks.first(b) * p.in,
                          blocks.nv(b) * VL, blocks.columns(b), p.in);
    });
    multiply(
        p.rows, p.in, x, blocks, [&](int64_t block) { return packed + blocks.first(block) * p.in; },
        [&](int64_t block) { return blocks.nv(block) * VL; }, bias, y);
}

void linear_few_rows_bf16(const LinearProblem& p, const bfloat16* x, const bfloat16* w, const bfloat16* bias,
                          bfloat16* y) {
    few_rows(p, x, w, bias, y);
}

void linear_input_grad_run(const LinearProblem& p, const float* w, const float* dy, float* dx) {
    const Blocks blocks(p.in);
    if (p.in * p.out > kSmallWeights) return multiply_panels(p.rows, p.out, dy, blocks, w, dx);
    multiply(
        p.rows, p.out, dy, blocks, [&](int64_t block) { return w + blocks.first(block); },
        [&](int64_t) { return p.in; }, nullptr, dx);
}

int64_t linear_splits(const LinearProblem& p) {
    // Work items are tiles of the result; where there are few, the rows are shared out as well.
    const int64_t items = ceil_div(p.out, kRowBlock) * Blocks(p.in).count;
    const int64_t wanted = ceil_div(8, items), most = ceil_div(p.rows, kDepthBlock);
    return wanted < most ? wanted : most;
}

void linear_weight_grad_run(const LinearProblem& p, const float* x, const float* dy, float* partial,
                            float* dw) {
    const Blocks blocks(p.in);
    const int64_t splits = linear_splits(p), parts = ceil_div(p.out, kRowBlock);
    float* result = splits == 1 ? dw : partial;
    const int64_t work = p.rows / splits * kRowBlock * kMaxNR + 1;
    parallel_for(splits * parts * blocks.count, 100000 / work + 1, [&](int64_t begin, int64_t end, int) {
        for (int64_t item = begin; item < end; ++item) {
            const int64_t b = item % blocks.count, part = item / blocks.count % parts;
            const int64_t split = item / (blocks.count * parts);
            const int64_t r0 = split * p.rows / splits, r1 = (split + 1) * p.rows / splits;
            const int64_t o1 = least(p.out, (part + 1) * kRowBlock);
            const int nv = blocks.nv(b);
            const int64_t column = blocks.first(b), mr = rows_for(nv);
            for (int64_t r = r0; r < r1; r += kDepthBlock) {
                const Segment rows{r * p.out, r * p.in, least(kDepthBlock, r1 - r)};
                for (int64_t o = part * kRowBlock; o < o1; o += mr) {
                    const int64_t count = least(mr, o1 - o);
                    float* to[kMaxMR];
                    for (int64_t i = 0; i < count; ++i)
                        to[i] = result + (split * p.out + o + i) * p.in + column;
                    column_kernel(static_cast<int>(count), nv)(
                        {dy + o, p.out, x + column, p.in, &rows, 1},
                        {to, blocks.columns(b), nullptr, nullptr, r != r0});
                }
            }
        }
    });
    if (splits == 1) return;
    const int64_t size = p.out * p.in;
    parallel_for(size, 16384, [&](int64_t begin, int64_t end, int) {
        for (int64_t i = begin; i < end; ++i) {
            float total = partial[i];
            for (int64_t split = 1; split < splits; ++split) total += partial[split * size + i];
            dw[i] = total;
        }
    });
}

}  // namespace fastconv::FC_ISA_NS
