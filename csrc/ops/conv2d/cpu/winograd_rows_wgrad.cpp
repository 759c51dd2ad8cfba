// wgrad of winograd_rows.h.
#include "cpu/parallel.h"
#include "ops/conv2d/cpu/winograd_rows_tiles.h"

namespace fastconv::FC_ISA_NS {
namespace {

// A tile of sums is at most so many filter rows by so many output channels.
constexpr int kMaxRows = VL == 16 ? 5 : 3, kMaxChannels = 4;

// One point's: rows and columns of tiles to go over, floats between rows and what lies beside one another in
// a tile of sums.
struct Terms {
    const float *x, *dy;
    int64_t rows, tiles, x_row, dy_row, x_tap, dy_plane;
};

// sums[k][r] += x[r] * dy[k], or = where there are none yet.
template <int RB, int KB>
void sum_gradients(const Terms& g, float* sums, int64_t step, bool first) {
    vf acc[KB][RB];
    if (first)
        unrolled<KB, RB>([&](auto k, auto r) FC_INLINE { acc[k][r] = zero(); });
    else
        unrolled<KB, RB>([&](auto k, auto r) FC_INLINE { acc[k][r] = load(sums + k * step + r * VL); });
    for (int64_t i = 0; i < g.rows; ++i) {
        const float* x = g.x + i * g.x_row;
        const float* dy = g.dy + i * g.dy_row;
        for (int64_t t = 0; t < g.tiles; ++t, x += VL, dy += VL) {
            vf v[RB];
            unrolled<RB>([&](auto r) FC_INLINE { v[r] = load(x + r * g.x_tap); });
            unrolled<KB>([&](auto k) FC_INLINE {
                const vf w = load(dy + k * g.dy_plane);
                unrolled<RB>([&](auto r) FC_INLINE { accumulate(acc[k][r], w, v[r]); });
            });
        }
    }
    unrolled<KB, RB>([&](auto k, auto r) FC_INLINE { store(sums + k * step + r * VL, acc[k][r]); });
}

using Kernel = void (*)(const Terms&, float*, int64_t, bool);
template <int... I>
Kernel kernel_at(int64_t index, std::integer_sequence<int, I...>) {
    static constexpr Kernel table[] = {&sum_gradients<I / kMaxChannels + 1, I % kMaxChannels + 1>...};
    return table[index];
}
Kernel kernel(int64_t rows, int64_t channels) {
    return kernel_at((rows - 1) * kMaxChannels + channels - 1,
                     std::make_integer_sequence<int, kMaxRows * kMaxChannels>{});
}

// sums[point][k][c][r] of `width` output channels, of `rows` rows of dy from row `from` on.
void add_products(const WinogradRows& g, int64_t width, const float* x, const float* dy, int64_t from,
                  int64_t rows, float* sums, bool first) {
    const int64_t frame = g.reach(g.p);
    const int64_t row_blocks = ceil_div(g.r, kMaxRows), blocks = ceil_div(width, kMaxChannels);
    for (int64_t point = 0; point < g.points(); ++point) {
        const int64_t tiles = g.tiles_with(point), before = g.before(point);
        const float* const x0 = x + (before * g.c * frame + from * g.stride * tiles) * VL;
        const float* const dy0 = dy + before * width * rows * VL;
        Terms terms{x0,
                    dy0,
                    rows,
                    tiles,
                    g.stride * tiles * VL,
                    tiles * VL,
                    g.dilation * tiles * VL,
                    rows * tiles * VL};
        if (g.stride == 1) terms.tiles *= terms.rows, terms.rows = 1;
        for (int64_t b = 0; b < blocks; ++b) {
            const int64_t k0 = b * width / blocks, k1 = (b + 1) * width / blocks;
            terms.dy = dy0 + k0 * terms.dy_plane;
            for (int64_t c = 0; c < g.c; ++c)
                for (int64_t rb = 0; rb < row_blocks; ++rb) {
                    const int64_t r0 = rb * g.r / row_blocks, r1 = (rb + 1) * g.r / row_blocks;
                    terms.x = x0 + c * frame * tiles * VL + r0 * terms.x_tap;
                    float* const to = sums + (((point * width + k0) * g.c + c) * g.r + r0) * VL;
                    kernel(r1 - r0, k1 - k0)(terms, to, g.c * g.r * VL, first);
                }
        }
    }
}

// Sums of the lanes of VL vectors.
inline void add_lanes(vf* v, float* to, Tail some) {
    for (int count = VL / 2; count > 0; count /= 2)
        for (int i = 0; i < count; ++i) v[i] = add_pairs(v[2 * i], v[2 * i + 1]);
    store(to, v[0], some);
}

template <class F>
void finish(const WinogradRows& g, int64_t filters, const float* sums, float* dw) {
    constexpr int kRoom = VL + F::kTaps;
    vf waiting[kRoom];
    for (int i = 0; i < kRoom; ++i) waiting[i] = zero();
    int64_t count = 0, done = 0;
    for (int64_t filter = 0; filter < filters; ++filter) {
        vf m[F::kPoints], y[F::kTaps];
        unrolled<F::kPoints>([&](auto p) FC_INLINE {
            m[p] = g.tiles_with(p) ? load(sums + (p * filters + filter) * VL) : zero();
        });
        weight_1d<F>(m, y);
        unrolled<F::kTaps>([&](auto i) FC_INLINE { waiting[count + i] = y[i]; });
        for (count += F::kTaps; count >= VL; count -= VL, done += VL) {
            add_lanes(waiting, dw + done, tail(VL));
            for (int i = 0; i < F::kTaps; ++i) waiting[i] = waiting[VL + i];
        }
    }
    if (count > 0) add_lanes(waiting, dw + done, tail(count));
}

void finish_bias(int64_t width, const float* sums, float* db) {
    for (int64_t k = 0; k < width; k += VL) {
        vf v[VL];
        for (int64_t e = 0; e < VL; ++e) v[e] = k + e < width ? load(sums + (k + e) * VL) : zero();
        add_lanes(v, db + k, tail(width - k));
    }
}

void add_parts(const float* partial, int64_t parts, int64_t count, float* to) {
    for (int64_t i = 0; i < count; i += VL) {
        const Tail some = tail(count - i);
        vf sum = load(partial + i, some);
        for (int64_t part = 1; part < parts; ++part) sum = sum + load(partial + part * count + i, some);
        store(to + i, sum, some);
    }
}

struct Sizes {
    int64_t lanes, x, dy, sums;
    explicit Sizes(const WinogradRows& g)
        : lanes((most(g.c * g.h * g.w, g.k * g.band * g.q) + (g.pools ? g.q : 0)) * VL),
          x(g.c * g.reach(g.p) * g.row_points() * VL),
          dy(g.k * g.band * g.row_points() * VL),
          sums((g.points() * g.c * g.r + (g.pools ? 1 : 0)) * g.k * VL) {}
    int64_t all() const { return lanes + x + dy + sums; }
};

}  // namespace

int64_t winograd_rows_wgrad_scratch(const WinogradRows& g) { return Sizes(g).all(); }

void winograd_rows_wgrad(const WinogradRows& g, float* partial, float* scratch, int team) {
    const int64_t x_size = g.c * g.h * g.w, y_size = g.k * g.p * g.q, groups = ceil_div(g.n, VL);
    const int64_t frame = g.reach(g.p), filter = g.c * g.r * g.s, weights = g.k * filter;
    const int64_t ap = g.averages_p(), aq = g.averages_q();
    const Sizes sizes(g);
    float* const to = g.parts == 1 ? g.out : partial;
    float* const to_bias = g.parts == 1 ? g.dbias : partial + g.parts * weights;
    // Where the parts do not share out evenly, output channels are cut besides: x is transformed for each
    // cut.
    const int64_t cuts =
        g.parts % team == 0 || g.parts >= 4 * team
            ? 1
            : least(ceil_div(g.k, kMaxChannels), g.parts < team ? ceil_div(team, g.parts) : 2);
    const auto run = [&](auto form, int64_t part, int64_t k0, int64_t width, float* lanes) {
        using F = decltype(form);
        float* const x = lanes + sizes.lanes;
        float* const dy = x + sizes.x;
        float* const sums = dy + sizes.dy;
        float* const bias_sums = sums + g.points() * width * g.c * g.r * VL;
        if (g.pools) zero_floats(bias_sums, width * VL);
        bool first = true;
        const int64_t last = (part + 1) * groups / g.parts;
        for (int64_t group = part * groups / g.parts; group < last; ++group) {
            const int64_t images = least(VL, g.n - group * VL);
            const float* const x_rows = g.x_lanes ? g.x + group * VL * x_size : lanes;
            if (!g.x_lanes) images_to_lanes(g.x + group * VL * x_size, x_size, images, x_size, lanes);
            const RowPoints<F> of_x{g, g.c * frame};
            for (int64_t c = 0; c < g.c; ++c)
                for (int64_t f = 0; f < frame; ++f) {
                    const int64_t row = f - g.top;
                    if (row >= 0 && row < g.h)
                        of_x.input(x_rows + (c * g.h + row) * g.w * VL, x, c * frame + f);
                    else
                        for (int64_t p = 0; p < g.points(); ++p)
                            zero_floats(of_x.at(x, p, c * frame + f, 0), g.tiles_with(p) * VL);
                }
            for (int64_t from = 0; from < g.p; from += g.band) {
                const int64_t rows = least(g.band, g.p - from), plane = g.p * g.q;
                const RowPoints<F> of_dy{g, width * rows};
                if (g.pools) {
                    const int64_t a0 = least(from / 2, ap), count = least(ap, (from + rows + 1) / 2) - a0;
                    const float* averages = lanes;
                    int64_t averages_plane = count * aq * VL;
                    if (g.y_lanes) {
                        averages = g.dy + ((group * g.k + k0) * ap + a0) * aq * VL;
                        averages_plane = ap * aq * VL;
                    } else {
                        planes_to_lanes(g.dy + (group * VL * g.k + k0) * ap * aq + a0 * aq, g.k * ap * aq,
                                        images, width, ap * aq, count * aq, lanes);
                    }
                    float* const row_of_dy = lanes + width * count * aq * VL;
                    for (int64_t k = 0; k < width; ++k) {
                        vf sum = load(bias_sums + k * VL);
                        for (int64_t row = from; row < from + rows; ++row) {
                            const float* y = g.kept + ((group * g.k + k0 + k) * g.p + row) * g.q * VL;
                            const int64_t at = row / 2 - a0;
                            const float* average =
                                at < count ? averages + k * averages_plane + at * aq * VL : nullptr;
                            sum = sum + pooled_gradient_row(g, y, average, row_of_dy);
                            of_dy.gradient(row_of_dy, dy, k * rows + row - from);
                        }
                        store(bias_sums + k * VL, sum);
                    }
                } else {
                    planes_to_lanes(g.dy + group * VL * y_size + k0 * plane + from * g.q, y_size, images,
                                    width, plane, rows * g.q, lanes);
                    for (int64_t row = 0; row < width * rows; ++row)
                        of_dy.gradient(lanes + row * g.q * VL, dy, row);
                }
                add_products(g, width, x, dy, from, rows, sums, first);
                first = false;
            }
        }
        finish<F>(g, width * g.c * g.r, sums, to + part * weights + k0 * filter);
        if (g.dbias) finish_bias(width, bias_sums, to_bias + part * g.k + k0);
    };
    with_form(g, [&](auto form) {
        parallel_for(
            g.parts * cuts, 1,
            [&](int64_t item, int64_t end, int worker) {
                for (; item < end; ++item) {
                    const int64_t cut = item % cuts, k0 = cut * g.k / cuts, k1 = (cut + 1) * g.k / cuts;
                    run(form, item / cuts, k0, k1 - k0, scratch + worker * sizes.all());
                }
            },
            team);
    });
    if (g.parts == 1) return;
    add_parts(partial, g.parts, weights, g.out);
    if (g.dbias) add_parts(to_bias, g.parts, g.k, g.dbias);
}

}  // namespace fastconv::FC_ISA_NS
