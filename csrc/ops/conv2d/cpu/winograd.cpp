// Winograd convolution, fused for each block of tiles: input transform, one GEMM for each component, output
// transform, all within L2.
#include "cpu/parallel.h"
#include "ops/conv2d/cpu/epilogue.h"
#include "ops/conv2d/cpu/winograd_filter.h"
#include "ops/conv2d/cpu/winograd_gemm.h"

namespace fastconv::FC_ISA_NS {
namespace {

// Writes strips of rows of VL channels to planes.
template <class E>
void write_planar(const float* strip, int64_t h, int64_t w, int64_t lanes, E* out, int64_t step_h,
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

// The same with an epilogue before the values are rounded.
template <class E>
void finish_planar(const FinishOf<E>& f, const float* strip, int64_t h, int64_t w, int64_t lanes, E* out,
                   int64_t step_h, int64_t step_c) {
    with_finish(f, [&](const auto& function) {
        for (int64_t i = 0; i < h; ++i, strip += w * VL, out += step_h)
            for (int64_t j = 0; j < w; j += VL) {
                const int64_t pixels = least(VL, w - j);
                float from[VL * VL], to[VL * VL];
                for (int64_t q = 0; q < VL; ++q)
                    store(from + q * VL, q < pixels ? load(strip + (j + q) * VL) : zero());
                transpose_tile(from, VL, to, VL);
                for (int64_t c = 0; c < lanes; ++c) {
                    E* const y = out + c * step_c + j;
                    store(y, function(y, load(to + c * VL), tail(pixels)), tail(pixels));
                }
            }
    });
}

// A strip to channels-last pixels, with an epilogue before the values are rounded.
template <class E>
void finish_pixels(const FinishOf<E>& f, const float* strip, int64_t h, int64_t w, Tail lanes, E* out,
                   int64_t step_h, int64_t step_w) {
    with_finish(f, [&](const auto& function) {
        for (int64_t i = 0; i < h; ++i, out += step_h)
            for (int64_t j = 0; j < w; ++j, strip += VL) {
                E* const y = out + j * step_w;
                store(y, function(y, load(strip), lanes), lanes);
            }
    });
}

// Floats from a pixel's first to a block of outputs, their first channel and how many there are from it on.
struct Outputs {
    int64_t at, channel, left;
};

// y = A'MA and its epilogue for output blocks [first, last); `out` and `bias` are the group's.
template <class F, class E>
void finish_block(const WinogradConv& p, const FinishOf<E>& f, const TileGrid<F>& g,
                  const TileBlock<F>& block, const float* m, const WidthBlocks& widths, int64_t first,
                  int64_t last, E* out, const E* bias, float* strip) {
    using Pick = OutputTile<F, kMStep<F::kPoints>>;
    constexpr int T = F::kTile;
    const int64_t row_tiles = ceil_div(block.count, kMR);
    const bool planar = p.output.step_c != 1;
    const WinogradPhases& phases = p.filter.phases;
    // Where a block of outputs lies in a pixel, and how many channels are behind that.
    const auto place = [&](int64_t b) {
        const int64_t k = widths.first(b) * VL;
        if (!writes_phases(phases)) return Outputs{k, k, p.width - k};
        const int64_t phase = b / widths.of_phase, c = k - phase * phases.channels;
        return Outputs{c + phase / phases.across * p.whole.step_h + phase % phases.across * p.whole.step_w, c,
                       p.filter.of_phase - c};
    };
    typename Pick::template Function<float> tiles[4];
    for (int kind = 0; kind < 4; ++kind)
        tiles[kind] = pick_tile<Pick>(kind & 2 ? g.last_h : T, kind & 1 ? g.last_w : T);
    TileWalk<F> walk(g, block.begin);
    for (int64_t t = 0; t < block.count;) {
        const int64_t run = least(block.count - t, g.across - walk.tx);
        const int low = g.height(walk.ty) < T ? 2 : 0;
        const auto kind_of = [&](int64_t i) { return low + (g.width(walk.tx + i) < T ? 1 : 0); };
        E* const at_run =
            out + walk.n * p.output.step_n + walk.ty * T * p.output.step_h + walk.tx * T * p.output.step_w;
        const auto one = [&](const auto tile, int64_t i, int64_t b, int64_t j, const Outputs& to, auto* y,
                             int64_t step_h, int64_t step_w, bool masked) {
            const int kind = kind_of(i);
            const int64_t row = block.place[t + i], late = block.late_row(t + i, kind);
            const float* from = m + (b - first) * row_tiles * kMChunk<F::kPoints> + j * VL;
            const int64_t left = to.left - j * VL;
            const Tail lanes = tail(left);
            tile({from + row / kMR * kMChunk<F::kPoints> + row % kMR * kNR,
                  from + late / kMR * kMChunk<F::kPoints> + late % kMR * kNR, block.split_w},
                 bias ? load(bias + to.channel + j * VL, lanes) : zero(), y, step_h, step_w, lanes,
                 !masked || left >= VL);
        };
        if (planar) {
            const int64_t w = (run - 1) * T + g.width(walk.tx + run - 1), h = g.height(walk.ty);
            for (int64_t b = first; b < last; ++b)
                for (int64_t j = 0; j < widths.nv(b); ++j) {
                    const int64_t k = (widths.first(b) + j) * VL;
                    for (int64_t i = 0; i < run; ++i)
                        one(tiles[kind_of(i)], i, b, j, place(b), strip + i * T * VL, w * VL, VL, false);
                    const int64_t lanes = least(VL, p.width - k);
                    E* const to = at_run + k * p.output.step_c;
                    if (kNarrow<E> && !f.nothing()) {
                        finish_planar(f, strip, h, w, lanes, to, p.output.step_h, p.output.step_c);
                        continue;
                    }
                    write_planar(strip, h, w, lanes, to, p.output.step_h, p.output.step_c);
                    if constexpr (!kNarrow<E>) {
                        if (f.nothing()) continue;
                        for (int64_t c = 0; c < lanes; ++c)
                            for (int64_t i = 0; i < h; ++i)
                                finish(f, to + c * p.output.step_c + i * p.output.step_h, w);
                    }
                }
        } else {
            const int64_t h = g.height(walk.ty);
            for (int64_t i = 0; i < run; ++i) {
                const int64_t w = g.width(walk.tx + i);
                E* const at_tile = at_run + i * T * p.output.step_w;
                const auto finish_from = [&](int64_t b, int64_t end) {
                    if constexpr (!kNarrow<E>) {
                        const Outputs to = place(b);
                        const int64_t count = least(to.left, (widths.first(end) - widths.first(b)) * VL);
                        for (int64_t r = 0; r < h; ++r)
                            for (int64_t c = 0; c < w; ++c)
                                finish(f, at_tile + r * p.output.step_h + c * p.output.step_w + to.at, count);
                    }
                };
                for (int64_t b = first; b < last; ++b) {
                    const Outputs to = place(b);
                    for (int64_t j = 0; j < widths.nv(b); ++j) {
                        E* const y = at_tile + to.at + j * VL;
                        if constexpr (!kNarrow<E>) {
                            one(tiles[kind_of(i)], i, b, j, to, y, p.output.step_h, p.output.step_w, true);
                        } else if (kind_of(i) == 0 && f.nothing()) {
                            one(whole_tile<Pick, E>(), i, b, j, to, y, p.output.step_h, p.output.step_w,
                                true);
                        } else {
                            one(tiles[kind_of(i)], i, b, j, to, strip, w * VL, VL, false);
                            finish_pixels(f, strip, h, w, tail(to.left - j * VL), y, p.output.step_h,
                                          p.output.step_w);
                        }
                    }
                    if (writes_phases(phases) && !f.nothing()) finish_from(b, b + 1);
                }
                if (!writes_phases(phases) && !f.nothing()) finish_from(first, last);
            }
        }
        t += run;
        walk.tx += run - 1;
        walk.next();
    }
}

// Floats of the parts of a worker's scratch and of the shared memory.
template <class F>
struct Sizes {
    int64_t v, m, u, patch, strip, places;
    Sizes(const WinogradConv& p, const WinogradPlan& plan) {
        const TileGrid<F> g(p.n, p.output.h, p.output.w);
        const WidthBlocks widths(p.filter);
        v = v_floats<F>(plan.tiles, p.depth);
        m = ceil_div(widths.count, plan.passes) * ceil_div(plan.tiles, kMR) * kMChunk<F::kPoints>;
        if (plan.stationary) m *= ceil_div(g.count, plan.tiles);
        u = plan.stationary ? F::kComponents * u_component(kNV, least(p.depth, kStationaryDepth<F::kPoints>))
                            : 0;
        patch = reads_phases(p.filter.phases) ? phase_patch_floats(g, plan.tiles, p.depth)
                                              : patch_floats(g, p.input.step_c != 1);
        strip = p.output.step_c != 1            ? F::kTile * g.across * F::kTile * VL
                : p.filter.dtype == DType::bf16 ? F::kTile * F::kTile * VL
                                                : 0;
        places = ceil_div(plan.tiles, 16) * 16;
    }
    // One block's part of shared memory.
    int64_t shared() const { return v + places; }
    int64_t worker() const { return m + u + patch + strip; }
};

// The parts themselves.
template <class F>
struct Scratch {
    float *m, *u, *patch, *strip, *own;
    Scratch(const Sizes<F>& s, char* scratch) {
        m = reinterpret_cast<float*>(scratch);
        u = m + s.m;
        patch = u + s.u;
        strip = patch + s.patch;
        own = strip + s.strip;
    }
};
template <class F>
struct Shared {
    float* v;
    int32_t* places;
    Shared(const Sizes<F>& s, float* base) : v(base), places(reinterpret_cast<int32_t*>(base + s.v)) {}
};

template <class F_, class E_>
struct Run {
    using F = F_;
    using E = E_;
    const WinogradConv& p;
    const WinogradPlan& plan;
    const E* in;
    E* out;
    const E* bias;  // of the whole width, or null
    FinishOf<E> f;
    TileGrid<F> g;
    WidthBlocks widths;
    Sizes<F> sizes;
    int64_t blocks;
    Run(const WinogradConv& conv, const WinogradPlan& how)
        : p(conv),
          plan(how),
          in(static_cast<const E*>(p.in)),
          out(static_cast<E*>(p.out)),
          bias(static_cast<const E*>(p.epilogue.bias)),
          f(p.epilogue, p.out),
          g(conv.n, conv.output.h, conv.output.w),
          widths(conv.filter),
          sizes(conv, how),
          blocks(ceil_div(g.count, how.tiles)) {}

    // Of a group.
    int64_t in_channels() const {
        return writes_phases(p.filter.phases) ? p.depth : p.filter.phases.channels;
    }
    int64_t out_channels() const { return writes_phases(p.filter.phases) ? p.filter.of_phase : p.width; }
    // Blocks as even as can be.
    int64_t first_tile(int64_t at) const { return g.count * at / blocks; }
    TileBlock<F> block(int64_t at, int32_t* places) const {
        return TileBlock<F>(g, first_tile(at), first_tile(at + 1) - first_tile(at), places);
    }
    void transform(int64_t group, const TileBlock<F>& b, float* patch, float* v) const {
        const E* const from = in + group * in_channels() * p.input.step_c;
        if (reads_phases(p.filter.phases)) {
            const PhaseReader<E> reader{from,  p.input, p.filter.phases,
                                        p.top, p.left,  vectors_of(p.depth) * VL};
            return transform_phases<InputTile<F, kVStep>>(reader, g, b, patch, v);
        }
        const TileReader<E> reader{from, p.input, p.depth, patch};
        transform_block<InputTile<F, kVStep>>(reader, g, b, p.top, p.left, v);
    }
    void finish(int64_t group, const TileBlock<F>& b, int64_t first, int64_t last, const float* m,
                float* strip) const {
        finish_block(p, f, g, b, m, widths, first, last, out + group * out_channels() * p.output.step_c,
                     bias ? bias + group * out_channels() : nullptr, strip);
    }
};

template <class R, class F = typename R::F, class E = typename R::E>
void run_blocks(const R& r, char* scratch, int team) {
    const int64_t component = u_component(r.widths.vectors, r.p.depth);
    parallel_for(
        r.p.groups * r.blocks * r.plan.parts, 1,
        [&](int64_t begin, int64_t end, int worker) {
            const Scratch<F> s(r.sizes, scratch + r.plan.scratch * static_cast<size_t>(worker));
            const Shared<F> own(r.sizes, s.own);
            for (int64_t at = begin; at < end; ++at) {
                const int64_t item = at / r.plan.parts, part = at % r.plan.parts;
                const int64_t group = item / r.blocks;
                const TileBlock<F> block = r.block(item % r.blocks, own.places);
                r.transform(group, block, s.patch, own.v);
                const int64_t tile = r.first_tile(item % r.blocks),
                              next = r.first_tile((item + 1) % r.blocks);
                const WinogradPhases& phases = r.p.filter.phases;
                const bool of_out = writes_phases(phases);
                LineWalk<F, E> next_in(r.in + (item + 1) / r.blocks * r.in_channels() * r.p.input.step_c,
                                       r.p.input, r.in_channels(), r.g, next,
                                       r.first_tile((item + 1) % r.blocks + 1) - next, F::kTaps - 1, r.p.top,
                                       r.p.left, of_out ? 1 : phases.down, of_out ? 1 : phases.across);
                LineWalk<F, E> out(r.out + group * r.out_channels() * r.p.output.step_c,
                                   of_out ? r.p.whole : r.p.output, r.out_channels(), r.g, tile, block.count,
                                   0, 0, 0, of_out ? phases.down : 1, of_out ? phases.across : 1);
                out.with(r.f.out, r.f.residual, r.f.saved);
                const int64_t passes = r.plan.passes / r.plan.parts, begin_pass = part * passes;
                for (int64_t pass = begin_pass; pass < begin_pass + passes; ++pass) {
                    const int64_t first = r.widths.count * pass / r.plan.passes,
                                  last = r.widths.count * (pass + 1) / r.plan.passes;
                    const float* u = r.p.packed + group * F::kComponents * component +
                                     r.widths.first(first) * VL * r.p.depth;
                    const bool ahead = pass == begin_pass && r.plan.parts == 1;
                    multiply(phases, block, own.v, {r.p.depth, 0, r.p.depth}, u, component, r.widths, first,
                             last, s.m, ahead && item + 1 < end ? &next_in : nullptr, ahead ? &out : nullptr);
                    r.finish(group, block, first, last, s.m, s.strip);
                }
            }
        },
        team);
}

template <class R, class F = typename R::F, class E = typename R::E>
void run_stationary(const R& r, char* shared, char* scratch, int team) {
    const auto of_block = [&](int64_t at) {
        return Shared<F>(r.sizes, reinterpret_cast<float*>(shared) + at * r.sizes.shared());
    };
    const int64_t piece = least(r.p.depth, kStationaryDepth<F::kPoints>);
    const int64_t component = u_component(kNV, piece);
    const int64_t m_block = ceil_div(r.plan.tiles, kMR) * kMChunk<F::kPoints>;
    for (int64_t group = 0; group < r.p.groups; ++group) {
        parallel_for(
            r.blocks, 1,
            [&](int64_t begin, int64_t end, int worker) {
                const Scratch<F> s(r.sizes, scratch + r.plan.scratch * static_cast<size_t>(worker));
                for (int64_t at = begin; at < end; ++at) {
                    const Shared<F> mine = of_block(at);
                    r.transform(group, r.block(at, mine.places), s.patch, mine.v);
                }
            },
            team);
        parallel_for(
            r.widths.count, 1,
            [&](int64_t begin, int64_t end, int worker) {
                const Scratch<F> s(r.sizes, scratch + r.plan.scratch * static_cast<size_t>(worker));
                int32_t* const places = reinterpret_cast<int32_t*>(s.own);
                for (int64_t b = begin; b < end; ++b) {
                    for (int64_t c = 0; c < r.p.depth; c += piece) {
                        const Depth depth{r.p.depth, c, least(piece, r.p.depth - c)};
                        pack_filters<F, false>(r.p.filter, r.widths, b, c, c + depth.count,
                                               static_cast<const E*>(r.p.weight) + group * r.p.filter.step_g,
                                               s.u, component);
                        for (int64_t at = 0; at < r.blocks; ++at)
                            multiply<F, E>(r.p.filter.phases, r.block(at, places), of_block(at).v, depth, s.u,
                                           component, r.widths, b, b + 1, s.m + at * m_block, nullptr,
                                           nullptr);
                    }
                    for (int64_t at = 0; at < r.blocks; ++at)
                        r.finish(group, r.block(at, places), b, b + 1, s.m + at * m_block, s.strip);
                }
            },
            team);
    }
}

// Fewer tiles take less time than reading U from L3, which then each thread should read a part of.
constexpr int64_t kTilesOfU = 16;

template <class F>
WinogradPlan plan_for(const WinogradConv& p, int team) {
    const TileGrid<F> g(p.n, p.output.h, p.output.w);
    const WidthBlocks widths(p.filter);
    WinogradPlan plan{};
    // More tiles use each panel of U more often, but V and M should stay in L2 (24 tiles of 64 channels: 0.2
    // MB each). Where U is tens of megabytes and comes from L3, its reuse counts more.
    if (F::kPoints == 6)
        plan.tiles = p.depth <= 160 ? 24 : p.depth <= 320 ? 48 : 96;
    else
        plan.tiles = p.depth <= 80 ? 12 : p.depth <= 160 ? 24 : 36;
    const int64_t u_floats = F::kComponents * p.depth * p.width;
    plan.tiles = least(plan.tiles, most(1, g.count));
    plan.stationary = !p.packed && g.count <= 64 && u_floats > kL2Floats && (widths.count > 1 || team == 1) &&
                      !several(p.filter.phases);
    plan.parts = 1;
    if (team > 1 && plan.stationary) {
        const int64_t share = ceil_div(g.count * p.groups, 2 * team);
        plan.tiles = least(most(kMR, ceil_div(share, kMR) * kMR), plan.tiles);
    } else if ((team > 1 || u_floats > kL2Floats) && p.groups < 4 * team) {
        const int64_t blocks = most(1, g.count / plan.tiles);
        if (g.count < kTilesOfU * team && u_floats > kL2Floats)
            plan.parts = least(widths.count, ceil_div(team, blocks * p.groups));
        // As many blocks for each thread, rather somewhat larger ones.
        const int64_t others = ceil_div(team, plan.parts);
        int64_t rounds = most(1, blocks / others);
        if (4 * ceil_div(g.count, rounds * others) > 5 * plan.tiles) ++rounds;
        plan.tiles = most(1, ceil_div(g.count, rounds * others));
    }
    // Passes over the output channels keep M small; but V must not leave L2 between them.
    plan.passes = 1;
    if (plan.stationary)
        plan.passes = widths.count;
    else if (p.depth <= 160)
        plan.passes = least(widths.count, ceil_div(plan.tiles * F::kComponents * p.width, kL2Floats / 4));
    plan.passes = ceil_div(plan.passes, plan.parts) * plan.parts;
    const Sizes<F> sizes(p, plan);
    const int64_t own = plan.stationary ? sizes.places : sizes.shared();
    const size_t block = static_cast<size_t>(sizes.shared()) * sizeof(float);
    plan.shared = plan.stationary ? static_cast<size_t>(ceil_div(g.count, plan.tiles)) * block : 0;
    plan.scratch = static_cast<size_t>(sizes.worker() + own) * sizeof(float);
    return plan;
}

template <class F, class E>
void run(const WinogradConv& p, const WinogradPlan& plan, char* shared, char* scratch, int team) {
    const Run<F, E> r(p, plan);
    if (plan.stationary)
        run_stationary(r, shared, scratch, team);
    else
        run_blocks(r, scratch, team);
}

}  // namespace

WinogradPlan winograd_plan(const WinogradConv& p, int team) {
    return visit_form(p.filter.form, [&](auto form) { return plan_for<decltype(form)>(p, team); });
}

void winograd_run(const WinogradConv& p, const WinogradPlan& plan, char* shared, char* scratch, int team) {
    visit_form(p.filter.form, p.filter.dtype, [&](auto form, auto element) {
        run<decltype(form), decltype(element)>(p, plan, shared, scratch, team);
    });
}

}  // namespace fastconv::FC_ISA_NS
