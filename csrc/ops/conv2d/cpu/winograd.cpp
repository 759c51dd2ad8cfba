// Winograd convolution, fused for each block of tiles: input transform, one GEMM for each component, output
// transform, all within L2.
#include "cpu/parallel.h"
#include "cpu/simd/unrolled.h"
#include "ops/conv2d/cpu/winograd_filter.h"

namespace fastconv::FC_ISA_NS {
namespace {

// What the microkernel fetches into L2 while it computes: the next panel of U, `step` floats each step of the
// reduction, and V for the next call.
struct Ahead {
    const float* from;
    int64_t step;
    const float* v;  // of the next call
};
constexpr int64_t kVDistance = 4;  // vectors of channels from the fetch of V to its use

// m[i][j] (+)= sum over c < depth of v(c)[i] * u[c][j]; v and m as TileBlock has them, u with rows of NV
// vectors.
template <int MR, int NV>
void gemm_tile(const float* v, int64_t depth, const float* u, float* m, bool add, Ahead ahead) {
    vf acc[MR][NV];
    unrolled<MR, NV>([&](auto i, auto j)
                         FC_INLINE { acc[i][j] = add ? load(m + i * kNR + j * VL) : zero(); });
    const auto step = [&](auto c) FC_INLINE {
        vf b[NV];
        unrolled<NV>([&](auto j) FC_INLINE { b[j] = load(u + j * VL); });
        unrolled<MR>([&](auto i) FC_INLINE {
            const vf x = set1(v[i * VL + c]);
            unrolled<NV>([&](auto j) FC_INLINE { accumulate(acc[i][j], x, b[j]); });
        });
        u += NV * VL;
        // One at a time: a burst would keep the loads waiting.
        __builtin_prefetch(ahead.from, 0, 2);
        ahead.from += ahead.step;
    };
    const int64_t chunks = depth / VL, distance = least(kVDistance, chunks);
    const float* fetch = v + distance * kVChunk;
    for (int64_t at = chunks; at > 0; --at) {
        if (at == distance) fetch = ahead.v;
        unrolled<MR>([&](auto i) FC_INLINE { __builtin_prefetch(fetch + i * VL, 0, 3); });
        fetch += kVChunk;
        const float* const next = v + kVChunk;
        for (int k = 0; k < VL; k += 4, v += 4) unrolled<4>(step);
        v = next;
    }
    for (int64_t c = depth % VL; c > 0; --c, ++v) step(Index<0>{});
    unrolled<MR, NV>([&](auto i, auto j) FC_INLINE { store(m + i * kNR + j * VL, acc[i][j]); });
}

using GemmTile = void (*)(const float*, int64_t, const float*, float*, bool, Ahead);

template <int NV>
inline GemmTile gemm_of_rows(int64_t rows) {
    switch (rows) {
        case 1:
            return &gemm_tile<1, NV>;
        case 2:
            return &gemm_tile<2, NV>;
        case 3:
            return &gemm_tile<3, NV>;
        case 4:
            return &gemm_tile<4, NV>;
        case 5:
            return &gemm_tile<(kMR < 5 ? kMR : 5), NV>;
        default:
            return &gemm_tile<kMR, NV>;
    }
}
inline GemmTile gemm_for(int64_t rows, int nv) {
    switch (nv) {
        case 1:
            return gemm_of_rows<1>(rows);
#if defined(FC_ISA_AVX512)
        case 3:
            return gemm_of_rows<3>(rows);
        case 4:
            return gemm_of_rows<4>(rows);
#endif
        default:
            return gemm_of_rows<2>(rows);
    }
}

// Channels [first, first + count) of the reduction.
struct Depth {
    int64_t all, first, count;
};

// M (+)= V U for output blocks [first, last) of one block of tiles. `u` is U of block `first`.
void multiply(const TileBlock& block, const float* v, Depth depth, const float* u, int64_t component,
              const WidthBlocks& widths, int64_t first, int64_t last, float* m, LineWalk* next_in,
              LineWalk* out) {
    const int64_t v_tile = vectors_of(depth.all) * kVChunk, row_tiles = ceil_div(block.count, kMR);
    const int64_t end = kWinogradComponents * (last - first);
    v += depth.first / VL * kVChunk;
    // U that stays in L2 from block to block needs no prefetch.
    const bool far = kWinogradComponents * component > kL2Floats;
    const int64_t calls = end * row_tiles;
    const int64_t in_lines = next_in ? ceil_div(next_in->lines(), calls) : 0;
    const int64_t out_lines = out ? ceil_div(out->lines(), calls) : 0;
    const auto panel = [&](int64_t i) {
        return u + i / (last - first) * component +
               (widths.first(first + i % (last - first)) - widths.first(first)) * VL * depth.count;
    };
    for (int64_t i = 0; i < end; ++i) {
        const int xi = static_cast<int>(i / (last - first));
        const int64_t b = i % (last - first), rows = block.rows(xi), tiles = ceil_div(rows, kMR);
        const int nv = widths.nv(first + b);
        const float* const now = panel(i);
        const float* const next = i + 1 < end ? panel(i + 1) : now;
        // Of the next panel each row tile fetches its part, the same number of floats each step.
        const int64_t floats =
            far && i + 1 < end ? widths.nv(first + (i + 1) % (last - first)) * VL * depth.count : 0;
        const int64_t part = ceil_div(ceil_div(floats, most(1, tiles)), depth.count);
        for (int64_t r = 0; r < tiles; ++r) {
            if (in_lines) next_in->fetch<false>(in_lines);
            if (out_lines) out->fetch<true>(out_lines);
            const float* const mine = v + r * v_tile + xi * kVStep;
            const float* after = mine + v_tile;
            if (r + 1 == tiles) after = v + static_cast<int>((i + 1) / (last - first)) * kVStep;
            gemm_for(least(kMR, rows - r * kMR), nv)(
                mine, depth.count, now, m + (b * row_tiles + r) * kMChunk + xi * kMStep, depth.first > 0,
                {next + r * part * depth.count, part, after});
        }
    }
}

// Writes strips of rows of VL channels to planes.
void write_planar(const float* strip, int64_t h, int64_t w, int64_t lanes, float* out, int64_t step_h,
                  int64_t step_c) {
    for (int64_t i = 0; i < h; ++i, strip += w * VL, out += step_h) {
        int64_t j = 0;
        if (lanes == VL)
            for (; j + VL <= w; j += VL) transpose_tile(strip + j * VL, VL, out + j, step_c);
        if (j == w) continue;
        if (lanes == VL && w >= VL) {
            transpose_tile(strip + (w - VL) * VL, VL, out + w - VL, step_c);
            continue;
        }
        for (; j < w; j += VL) {
            const int64_t pixels = least(VL, w - j);
            float to[VL * VL];
            float from[VL * VL];
            for (int64_t q = 0; q < VL; ++q)
                store(from + q * VL, q < pixels ? load(strip + (j + q) * VL) : zero());
            transpose_tile(from, VL, to, VL);
            for (int64_t c = 0; c < lanes; ++c) store(out + c * step_c + j, load(to + c * VL), tail(pixels));
        }
    }
}

// y = A'MA for output blocks [first, last); `out` and `bias` are the group's.
void finish_block(const WinogradConv& p, const TileGrid& g, const TileBlock& block, const float* m,
                  const WidthBlocks& widths, int64_t first, int64_t last, float* out, const float* bias,
                  float* strip) {
    using Pick = OutputTile<kMStep>;
    const int64_t row_tiles = ceil_div(block.count, kMR);
    const bool planar = p.output.step_c != 1;
    Pick::Function tiles[4];
    for (int kind = 0; kind < 4; ++kind)
        tiles[kind] = pick_tile<Pick>(kind & 2 ? g.last_h : 4, kind & 1 ? g.last_w : 4);
    TileWalk walk(g, block.begin);
    for (int64_t t = 0; t < block.count;) {
        const int64_t run = least(block.count - t, g.across - walk.tx);
        const int low = g.height(walk.ty) < 4 ? 2 : 0;
        const auto kind_of = [&](int64_t i) { return low + (g.width(walk.tx + i) < 4 ? 1 : 0); };
        float* const at_run =
            out + walk.n * p.output.step_n + walk.ty * 4 * p.output.step_h + walk.tx * 4 * p.output.step_w;
        const auto one = [&](int64_t i, int64_t b, int64_t j, float* y, int64_t step_h, int64_t step_w,
                             bool masked) {
            const int kind = kind_of(i);
            const int64_t row = block.place[t + i], late = block.late_row(t + i, kind);
            const float* from = m + (b - first) * row_tiles * kMChunk + j * VL;
            const int64_t k = (widths.first(b) + j) * VL;
            const Tail lanes = tail(p.width - k);
            tiles[kind]({from + row / kMR * kMChunk + row % kMR * kNR,
                         from + late / kMR * kMChunk + late % kMR * kNR, block.split_w},
                        bias ? load(bias + k, lanes) : zero(), y, step_h, step_w, lanes,
                        !masked || k + VL <= p.width);
        };
        if (planar) {
            const int64_t w = (run - 1) * 4 + g.width(walk.tx + run - 1), h = g.height(walk.ty);
            for (int64_t b = first; b < last; ++b)
                for (int64_t j = 0; j < widths.nv(b); ++j) {
                    const int64_t k = (widths.first(b) + j) * VL;
                    for (int64_t i = 0; i < run; ++i) one(i, b, j, strip + i * 4 * VL, w * VL, VL, false);
                    write_planar(strip, h, w, least(VL, p.width - k), at_run + k * p.output.step_c,
                                 p.output.step_h, p.output.step_c);
                }
        } else {
            for (int64_t i = 0; i < run; ++i)
                for (int64_t b = first; b < last; ++b)
                    for (int64_t j = 0; j < widths.nv(b); ++j)
                        one(i, b, j, at_run + i * 4 * p.output.step_w + (widths.first(b) + j) * VL,
                            p.output.step_h, p.output.step_w, true);
        }
        t += run;
        walk.tx += run - 1;
        walk.next();
    }
}

// Channels of the reduction whose U, for one block of outputs, stays in L2 until it is used.
constexpr int64_t kStationaryDepth = kL2Floats / (kWinogradComponents * kNR) / VL * VL;

// Floats of the parts of a worker's scratch and of the shared memory.
struct Sizes {
    int64_t v, m, u, patch, strip, places;
    Sizes(const WinogradConv& p, const WinogradPlan& plan) {
        const TileGrid g(p.n, p.output.h, p.output.w);
        const WidthBlocks widths(p.width);
        v = v_floats(plan.tiles, p.depth);
        m = ceil_div(widths.count, plan.passes) * ceil_div(plan.tiles, kMR) * kMChunk;
        if (plan.stationary) m *= ceil_div(g.count, plan.tiles);
        u = plan.stationary && !p.packed
                ? kWinogradComponents * u_component(kNV, least(p.depth, kStationaryDepth))
                : 0;
        patch = patch_floats(g, p.input.step_c != 1);
        strip = p.output.step_c != 1 ? 4 * g.across * 4 * VL : 0;
        places = ceil_div(plan.tiles, 16) * 16;
    }
    // One block's part of shared memory.
    int64_t shared() const { return v + places; }
    int64_t worker() const { return m + u + patch + strip; }
};

// The parts themselves.
struct Scratch {
    float *m, *u, *patch, *strip, *own;
    Scratch(const Sizes& s, char* scratch) {
        m = reinterpret_cast<float*>(scratch);
        u = m + s.m;
        patch = u + s.u;
        strip = patch + s.patch;
        own = strip + s.strip;
    }
};
struct Shared {
    float* v;
    int32_t* places;
    Shared(const Sizes& s, float* base) : v(base), places(reinterpret_cast<int32_t*>(base + s.v)) {}
};

struct Run {
    const WinogradConv& p;
    const WinogradPlan& plan;
    TileGrid g;
    WidthBlocks widths;
    Sizes sizes;
    int64_t blocks;
    Run(const WinogradConv& conv, const WinogradPlan& how)
        : p(conv),
          plan(how),
          g(conv.n, conv.output.h, conv.output.w),
          widths(conv.width),
          sizes(conv, how),
          blocks(ceil_div(g.count, how.tiles)) {}

    // Blocks as even as can be.
    int64_t first_tile(int64_t at) const { return g.count * at / blocks; }
    TileBlock block(int64_t at, int32_t* places) const {
        return TileBlock(g, first_tile(at), first_tile(at + 1) - first_tile(at), places);
    }
    void transform(int64_t group, const TileBlock& b, float* patch, float* v) const {
        const TileReader reader{p.in + group * p.depth * p.input.step_c, p.input, p.depth, 2, patch};
        transform_block<InputTile<kVStep>>(reader, g, b, p.top, p.left, v);
    }
    void finish(int64_t group, const TileBlock& b, int64_t first, int64_t last, const float* m,
                float* strip) const {
        finish_block(p, g, b, m, widths, first, last, p.out + group * p.width * p.output.step_c,
                     p.bias ? p.bias + group * p.width : nullptr, strip);
    }
};

void run_blocks(const Run& r, char* scratch, int team) {
    const int64_t component = u_component(r.widths.vectors, r.p.depth);
    parallel_for(
        r.p.groups * r.blocks, 1,
        [&](int64_t begin, int64_t end, int worker) {
            const Scratch s(r.sizes, scratch + r.plan.scratch * static_cast<size_t>(worker));
            const Shared own(r.sizes, s.own);
            for (int64_t item = begin; item < end; ++item) {
                const int64_t group = item / r.blocks;
                const TileBlock block = r.block(item % r.blocks, own.places);
                r.transform(group, block, s.patch, own.v);
                const int64_t tile = r.first_tile(item % r.blocks),
                              next = r.first_tile((item + 1) % r.blocks);
                LineWalk next_in(r.p.in + (item + 1) / r.blocks * r.p.depth * r.p.input.step_c, r.p.input,
                                 r.p.depth, r.g, next, r.first_tile((item + 1) % r.blocks + 1) - next, 2,
                                 r.p.top, r.p.left);
                LineWalk out(r.p.out + group * r.p.width * r.p.output.step_c, r.p.output, r.p.width, r.g,
                             tile, block.count, 0, 0, 0);
                for (int64_t pass = 0; pass < r.plan.passes; ++pass) {
                    const int64_t first = r.widths.count * pass / r.plan.passes,
                                  last = r.widths.count * (pass + 1) / r.plan.passes;
                    const float* u = r.p.packed + group * kWinogradComponents * component +
                                     r.widths.first(first) * VL * r.p.depth;
                    multiply(block, own.v, {r.p.depth, 0, r.p.depth}, u, component, r.widths, first, last,
                             s.m, pass == 0 && item + 1 < end ? &next_in : nullptr,
                             pass == 0 ? &out : nullptr);
                    r.finish(group, block, first, last, s.m, s.strip);
                }
            }
        },
        team);
}

void run_stationary(const Run& r, char* shared, char* scratch, int team) {
    const auto of_block = [&](int64_t at) {
        return Shared(r.sizes, reinterpret_cast<float*>(shared) + at * r.sizes.shared());
    };
    const int64_t all = u_component(r.widths.vectors, r.p.depth);
    const int64_t piece = r.p.packed ? r.p.depth : least(r.p.depth, kStationaryDepth);
    const int64_t component = r.p.packed ? all : u_component(kNV, piece);
    const int64_t m_block = ceil_div(r.plan.tiles, kMR) * kMChunk;
    for (int64_t group = 0; group < r.p.groups; ++group) {
        parallel_for(
            r.blocks, 1,
            [&](int64_t begin, int64_t end, int worker) {
                const Scratch s(r.sizes, scratch + r.plan.scratch * static_cast<size_t>(worker));
                for (int64_t at = begin; at < end; ++at) {
                    const Shared mine = of_block(at);
                    r.transform(group, r.block(at, mine.places), s.patch, mine.v);
                }
            },
            team);
        parallel_for(
            r.widths.count, 1,
            [&](int64_t begin, int64_t end, int worker) {
                const Scratch s(r.sizes, scratch + r.plan.scratch * static_cast<size_t>(worker));
                int32_t* const places = reinterpret_cast<int32_t*>(s.own);
                for (int64_t b = begin; b < end; ++b) {
                    for (int64_t c = 0; c < r.p.depth; c += piece) {
                        const Depth depth{r.p.depth, c, least(piece, r.p.depth - c)};
                        const float* u = s.u;
                        if (r.p.packed)
                            u = r.p.packed + group * kWinogradComponents * all +
                                r.widths.first(b) * VL * r.p.depth;
                        else
                            pack_filters<false>(r.p.filter, r.widths, b, c, c + depth.count,
                                                r.p.weight + group * r.p.filter.step_g, s.u, component);
                        for (int64_t at = 0; at < r.blocks; ++at)
                            multiply(r.block(at, places), of_block(at).v, depth, u, component, r.widths, b,
                                     b + 1, s.m + at * m_block, nullptr, nullptr);
                    }
                    for (int64_t at = 0; at < r.blocks; ++at)
                        r.finish(group, r.block(at, places), b, b + 1, s.m + at * m_block, s.strip);
                }
            },
            team);
    }
}

}  // namespace

WinogradPlan winograd_plan(const WinogradConv& p, int team) {
    const TileGrid g(p.n, p.output.h, p.output.w);
    const WidthBlocks widths(p.width);
    WinogradPlan plan{};
    // More tiles use each panel of U more often, but V and M should stay in L2 (24 tiles of 64 channels: 0.2
    // MB each). Where U is tens of megabytes and comes from L3, its reuse counts more.
    plan.tiles = p.depth <= 160 ? 24 : p.depth <= 320 ? 48 : 96;
    const int64_t u_floats = kWinogradComponents * p.depth * p.width;
    const int64_t share = ceil_div(g.count * p.groups, 2 * team);
    const bool few = team > 1 && share < plan.tiles;
    plan.stationary =
        g.count <= 64 && widths.count > 1 && (p.packed ? few && share < 12 : u_floats > kL2Floats);
    if (few) plan.tiles = most(kMR, ceil_div(share, kMR) * kMR);
    plan.tiles = least(plan.tiles, most(1, g.count));
    // Passes over the output channels keep M small; but V must not leave L2 between them.
    plan.passes = 1;
    if (plan.stationary)
        plan.passes = widths.count;
    else if (p.depth <= 160)
        plan.passes =
            least(widths.count, ceil_div(plan.tiles * kWinogradComponents * p.width, kL2Floats / 4));
    const Sizes sizes(p, plan);
    const int64_t own = plan.stationary ? sizes.places : sizes.shared();
    const size_t block = static_cast<size_t>(sizes.shared()) * sizeof(float);
    plan.shared = plan.stationary ? static_cast<size_t>(ceil_div(g.count, plan.tiles)) * block : 0;
    plan.scratch = static_cast<size_t>(sizes.worker() + own) * sizeof(float);
    return plan;
}

void winograd_run(const WinogradConv& p, const WinogradPlan& plan, char* shared, char* scratch, int team) {
    const Run run(p, plan);
    if (plan.stationary)
        run_stationary(run, shared, scratch, team);
    else
        run_blocks(run, scratch, team);
}

}  // namespace fastconv::FC_ISA_NS
