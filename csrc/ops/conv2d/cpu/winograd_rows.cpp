// fprop and dgrad of winograd_rows.h.
#include "cpu/parallel.h"
#include "ops/conv2d/cpu/winograd_rows_tiles.h"

namespace fastconv::FC_ISA_NS {
namespace {

// A tile of sums is at most so many of a row's tiles by so many channels; the sums fit registers.
constexpr int kMaxTiles = VL == 16 ? 4 : 3, kMaxChannels = 8, kMaxSums = VL == 16 ? 24 : 12;

// What the kernel sums: `rows` rows of a filter by `depth` channels. x is the first row's first channel.
struct Terms {
    const float* x;
    int64_t rows, row_step, depth, plane;
    const float* weight;  // [row][channel][KB]
};

// sums[k][t] = sum of weight[k] * x[t].
template <int KB, int TB>
void sum_products(const Terms& g, float* sums, int64_t step) {
    vf acc[KB][TB];
    unrolled<KB, TB>([&](auto k, auto t) FC_INLINE { acc[k][t] = zero(); });
    const float* weight = g.weight;
    const float* row = g.x;
    for (int64_t r = 0; r < g.rows; ++r, row += g.row_step) {
        const float* x = row;
        for (int64_t d = 0; d < g.depth; ++d, x += g.plane, weight += KB) {
            vf v[TB];
            unrolled<TB>([&](auto t) FC_INLINE { v[t] = load(x + t * VL); });
            if constexpr (TB == 1) {
                unrolled<KB>([&](auto k) FC_INLINE { accumulate_from(acc[k][0], weight + k, v[0]); });
            } else {
                unrolled<KB>([&](auto k) FC_INLINE {
                    const vf w = set1(weight[k]);
                    unrolled<TB>([&](auto t) FC_INLINE { accumulate(acc[k][t], w, v[t]); });
                });
            }
        }
    }
    unrolled<KB, TB>([&](auto k, auto t) FC_INLINE { store(sums + k * step + t * VL, acc[k][t]); });
}

using Kernel = void (*)(const Terms&, float*, int64_t);
template <int KB, int TB>
constexpr Kernel kernel_of() {
    if constexpr (KB * TB <= kMaxSums)
        return &sum_products<KB, TB>;
    else
        return nullptr;
}
template <int... I>
Kernel kernel_at(int64_t index, std::integer_sequence<int, I...>) {
    static constexpr Kernel table[] = {kernel_of<I / kMaxTiles + 1, I % kMaxTiles + 1>()...};
    return table[index];
}
Kernel kernel(int64_t channels, int64_t tiles) {
    return kernel_at((channels - 1) * kMaxTiles + tiles - 1,
                     std::make_integer_sequence<int, kMaxChannels * kMaxTiles>{});
}

// How a row's tiles and the channels of the result are cut.
struct Blocks {
    int64_t tiles, channels;  // blocks of channels
    Blocks(const WinogradRows& g, int64_t width) {
        const int64_t all = g.tiles();
        tiles = ceil_div(all, ceil_div(all, kMaxTiles));
        channels = ceil_div(width, least(kMaxChannels, kMaxSums / tiles));
    }
};

// The sums of one row of the result for all points: sums[point][channel][tile].
struct RowSums {
    const WinogradRows& g;
    int64_t width, depth;  // channels of the result and of what is summed
    Blocks blocks;
    RowSums(const WinogradRows& g_, bool dgrad)
        : g(g_), width(dgrad ? g.c : g.k), depth(dgrad ? g.k : g.c), blocks(g, width) {}
    // Filter rows [begin, end), of which the first reads row `row` of the `rows` there are, each next one
    // `step` rows further on.
    void run(const float* points, int64_t rows, int64_t begin, int64_t end, int64_t row, int64_t step,
             float* sums) const {
        const int64_t all = depth * rows, filter = g.r * depth;
        for (int64_t point = 0; point < g.points(); ++point) {
            const int64_t tiles = g.tiles_with(point);
            const float* const x = points + (g.before(point) * all + row * tiles) * VL;
            const float* const weight = g.packed + point * filter * width;
            const int64_t cuts = ceil_div(tiles, blocks.tiles);
            for (int64_t b = 0; b < blocks.channels; ++b) {
                const int64_t k0 = b * width / blocks.channels, k1 = (b + 1) * width / blocks.channels;
                Terms terms{x,     end - begin,       step * tiles * VL,
                            depth, rows * tiles * VL, weight + k0 * filter + begin * depth * (k1 - k0)};
                float* const to = sums + (point * width + k0) * g.tiles() * VL;
                for (int64_t cut = 0; cut < cuts; ++cut) {
                    const int64_t t0 = cut * tiles / cuts, t1 = (cut + 1) * tiles / cuts;
                    terms.x = x + t0 * VL;
                    kernel(k1 - k0, t1 - t0)(terms, to + t0 * VL, g.tiles() * VL);
                }
            }
        }
    }
    template <int N, int P>
    FC_INLINE void load_points(const float* sums, int64_t channel, int64_t tile, vf (&m)[P]) const {
        unrolled<N>([&](auto i)
                        FC_INLINE { m[i] = load(sums + ((i * width + channel) * g.tiles() + tile) * VL); });
    }
};

int64_t sums_floats(const WinogradRows& g) { return g.points() * most(g.c, g.k) * g.tiles() * VL; }

// Row `row` of y, k planes of `plane` floats.
template <class F>
void output_row(const RowSums& all, const float* sums, float* row, int64_t plane) {
    const WinogradRows& g = all.g;
    for (int64_t k = 0; k < g.k; ++k) {
        float* const to = row + k * plane;
        const vf bias = set1(g.bias ? g.bias[k] : 0.0f);
        each_size(g, [&](int64_t begin, int64_t end, auto m) {
            constexpr int M = m, N = M + F::kTaps - 1;
            for (int64_t t = begin; t < end; ++t) {
                vf v[F::kPoints], out[F::kTile];
                all.load_points<N>(sums, k, t, v);
                output_1d<F, M>(v, out);
                unrolled<M>([&](auto i) FC_INLINE { store(to + (t * g.kTile + i) * VL, out[i] + bias); });
            }
        });
    }
}

// A row of dx. Tiles overlap by a filter less one tap: what one has beyond its first four columns waits for
// the next.
template <class F>
void input_gradient_row(const RowSums& all, const float* sums, float* row, int64_t plane) {
    constexpr int kMore = F::kTaps - 1;
    const WinogradRows& g = all.g;
    for (int64_t c = 0; c < g.c; ++c) {
        float* const to = row + c * plane;
        const vf bias = set1(g.bias ? g.bias[c] : 0.0f);
        vf rest[kMore];
        unrolled<kMore>([&](auto i) FC_INLINE { rest[i] = zero(); });
        const auto put = [&](int64_t column, vf v) FC_INLINE {
            if (column >= 0 && column < g.w) store(to + column * VL, v + bias);
        };
        each_size(g, [&](int64_t begin, int64_t end, auto m) {
            constexpr int M = m, N = M + kMore;
            for (int64_t t = begin; t < end; ++t) {
                vf v[F::kPoints], d[F::kPoints];
                all.load_points<N>(sums, c, t, v);
                input_transposed_1d<F::kPoints, N>(v, d);
                unrolled<kMore>([&](auto i) FC_INLINE { d[i] = d[i] + rest[i]; });
                const int64_t column = t * g.kTile - g.left;
                unrolled<M>([&](auto i) FC_INLINE { put(column + i, d[i]); });
                unrolled<kMore>([&](auto i) FC_INLINE { rest[i] = d[M + i]; });
            }
        });
        unrolled<kMore>([&](auto i) FC_INLINE { put(g.q - g.left + i, rest[i]); });
    }
}

// What follows a row of y: the activation,
void activate_row(const WinogradRows& g, float* row, int64_t plane) {
    with_activation(g.activation, g.slope, [&](const auto& f) {
        for (int64_t k = 0; k < g.k; ++k)
            for (float *v = row + k * plane, *end = v + g.q * VL; v < end; v += VL) store(v, f(load(v)));
    });
}
// and averages of it and the row before.
void average_rows(const WinogradRows& g, const float* row, int64_t plane, float* to, int64_t to_plane) {
    const vf quarter = set1(0.25f);
    for (int64_t k = 0; k < g.k; ++k) {
        const float* v = row + k * plane;
        const float* before = v - g.q * VL;
        float* average = to + k * to_plane;
        for (int64_t j = 0; j < g.averages_q(); ++j, v += 2 * VL, before += 2 * VL, average += VL) {
            const vf sum = (load(before) + load(v)) + (load(before + VL) + load(v + VL));
            store(average, sum * quarter);
        }
    }
}

// One direction: what it reads and what it writes.
template <bool kDgrad>
struct Direction {
    const WinogradRows& g;
    int64_t depth, in_rows, in_cols, width, out_rows, out_cols;
    explicit Direction(const WinogradRows& g_)
        : g(g_),
          depth(kDgrad ? g.k : g.c),
          in_rows(kDgrad ? g.p : g.h),
          in_cols(kDgrad ? g.q : g.w),
          width(kDgrad ? g.c : g.k),
          out_rows(kDgrad ? g.h : g.p),
          out_cols(kDgrad ? g.w : g.q) {}
    // The row that the filter's first one reads for row i of the result; the next read `step` further on.
    int64_t first(int64_t i) const { return kDgrad ? i + g.top : i * g.stride - g.top; }
    int64_t step() const { return kDgrad ? -g.dilation : g.dilation; }
    // Rows of the filter that read what there is.
    int64_t begin(int64_t first) const {
        const int64_t missing = kDgrad ? first - in_rows + 1 : -first;
        return missing > 0 ? least(g.r, ceil_div(missing, g.dilation)) : 0;
    }
    int64_t end(int64_t first) const {
        const int64_t there = kDgrad ? first + 1 : in_rows - first;
        return there > 0 ? least(g.r, ceil_div(there, g.dilation)) : 0;
    }
    // More than the images' groups where they do not share out evenly.
    int64_t bands(int64_t groups, int team) const {
        if (groups % team == 0 || groups >= 4 * team) return 1;
        return least(ceil_div(out_rows, 4), groups < team ? ceil_div(team, groups) : 2);
    }

    struct Scratch {
        float *in, *out, *points, *sums;
    };
    int64_t out_floats() const { return width * (out_rows + (!kDgrad && g.pools ? 2 : 0)) * out_cols * VL; }
    // The points of `rows` rows from `low` on.
    template <class F>
    void to_points(int64_t image, int64_t images, int64_t low, int64_t rows, const Scratch& at) const {
        const RowPoints<F> to{g, depth * rows};
        if (kDgrad && g.pools) return averages_to_points(to, image, low, rows, at);
        const int64_t in_plane = in_rows * in_cols;
        const float* from = at.in;
        int64_t plane = rows * in_cols * VL;
        if (!kDgrad && g.x_lanes) {
            from = g.x + (image * in_plane * depth) + low * in_cols * VL, plane = in_plane * VL;
        } else {
            planes_to_lanes((kDgrad ? g.dy : g.x) + image * depth * in_plane + low * in_cols,
                            depth * in_plane, images, depth, in_plane, rows * in_cols, at.in);
        }
        for (int64_t d = 0, to_row = 0; d < depth; ++d)
            for (int64_t row = 0; row < rows; ++row, ++to_row)
                if constexpr (kDgrad)
                    to.gradient(from + d * plane + row * in_cols * VL, at.points, to_row);
                else
                    to.input(from + d * plane + row * in_cols * VL, at.points, to_row);
    }
    template <class F>
    void averages_to_points(const RowPoints<F>& to, int64_t image, int64_t low, int64_t rows,
                            const Scratch& at) const {
        const int64_t ap = g.averages_p(), aq = g.averages_q();
        const int64_t first = least(low / 2, ap), count = least(ap, (low + rows + 1) / 2) - first;
        const float* from = at.in;
        int64_t plane = count * aq * VL;
        if (g.y_lanes) {
            from = g.dy + image * depth * ap * aq + first * aq * VL, plane = ap * aq * VL;
        } else {
            planes_to_lanes(g.dy + image * depth * ap * aq + first * aq, depth * ap * aq, VL, depth, ap * aq,
                            count * aq, at.in);
        }
        float* const row_of_dy = at.in + depth * ap * aq * VL;
        for (int64_t d = 0, to_row = 0; d < depth; ++d)
            for (int64_t row = low; row < low + rows; ++row, ++to_row) {
                const float* const y =
                    g.kept + image * depth * in_rows * in_cols + (d * in_rows + row) * in_cols * VL;
                const int64_t average = row / 2 - first;
                pooled_gradient_row(g, y, average < count ? from + d * plane + average * aq * VL : nullptr,
                                    row_of_dy);
                to.gradient(row_of_dy, at.points, to_row);
            }
    }
    // Rows [i0, i1) of the result of images [image, image + images).
    template <class F>
    void run(const RowSums& all, int64_t image, int64_t images, int64_t i0, int64_t i1,
             const Scratch& at) const {
        const int64_t more = (g.r - 1) * g.dilation;
        const int64_t low = most(0, kDgrad ? first(i0) - more : first(i0));
        const int64_t rows =
            most(0, least(in_rows, (kDgrad ? first(i1 - 1) : first(i1 - 1) + more) + 1) - low);
        to_points<F>(image, images, low, rows, at);
        const int64_t out_plane = out_rows * out_cols, out_rows_here = i1 - i0;
        const bool pools = !kDgrad && g.pools;
        // Rows of the result in lanes: all those here, all there are where they stay so, or the last two.
        float* out = at.out - i0 * out_cols * VL;
        int64_t plane = out_rows_here * out_cols * VL;
        const bool stays = pools ? g.kept != nullptr : kDgrad && g.x_lanes;
        if (stays) out = (pools ? g.kept : g.out) + image * width * out_plane, plane = out_plane * VL;
        if (pools && !stays) out = at.out, plane = 2 * out_cols * VL;
        // Averages.
        const int64_t ap = g.averages_p(), aq = g.averages_q(), a0 = i0 / 2, a_rows = i1 / 2 - a0;
        float* averages = at.out + 2 * width * out_cols * VL - a0 * aq * VL;
        int64_t averages_plane = a_rows * aq * VL;
        if (g.y_lanes) averages = g.out + image * width * ap * aq, averages_plane = ap * aq * VL;
        for (int64_t i = i0; i < i1; ++i) {
            const int64_t r0 = begin(first(i)), r1 = most(r0, end(first(i)));
            all.run(at.points, rows, r0, r1, first(i) + r0 * step() - low, step(), at.sums);
            float* const row = out + (pools && !stays ? i % 2 : i) * out_cols * VL;
            if constexpr (kDgrad) {
                input_gradient_row<F>(all, at.sums, row, plane);
            } else {
                output_row<F>(all, at.sums, row, plane);
                if (g.activate) activate_row(g, row, plane);
                if (pools && i % 2) average_rows(g, row, plane, averages + i / 2 * aq * VL, averages_plane);
            }
        }
        if (pools) {
            if (!g.y_lanes)
                lanes_to_planes(averages + a0 * aq * VL, width, ap * aq, a_rows * aq,
                                g.out + image * width * ap * aq + a0 * aq, width * ap * aq, images);
            return;
        }
        if (stays) return;
        lanes_to_planes(at.out, width, out_plane, out_rows_here * out_cols,
                        g.out + image * width * out_plane + i0 * out_cols, width * out_plane, images);
    }
};

template <bool kDgrad>
void run_all(const WinogradRows& g, float* scratch, int team) {
    const Direction<kDgrad> direction(g);
    const RowSums all(g, kDgrad);
    const int64_t size = winograd_rows_scratch(g), groups = ceil_div(g.n, VL),
                  bands = direction.bands(groups, team);
    with_form(g, [&](auto form) {
        using F = decltype(form);
        parallel_for(
            groups * bands, 1,
            [&](int64_t item, int64_t end, int worker) {
                float* const in = scratch + worker * size;
                float* const out = in + direction.depth * direction.in_rows * direction.in_cols * VL;
                float* const points = out + direction.out_floats();
                float* const sums = points + direction.depth * direction.in_rows * g.row_points() * VL;
                for (; item < end; ++item) {
                    const int64_t image = item / bands * VL, band = item % bands;
                    const int64_t unit = !kDgrad && g.pools ? 2 : 1;  // rows that stay together
                    const int64_t units = ceil_div(direction.out_rows, unit);
                    direction.template run<F>(all, image, least(VL, g.n - image), band * units / bands * unit,
                                              least(direction.out_rows, (band + 1) * units / bands * unit),
                                              {in, out, points, sums});
                }
            },
            team);
    });
}

}  // namespace

int64_t winograd_rows_lanes() { return VL; }

int64_t winograd_rows_packed(const WinogradRows& g) { return g.points() * g.k * g.c * g.r; }

void winograd_rows_pack(const WinogradRows& g, bool dgrad, const float* weight, float* packed) {
    const int64_t width = dgrad ? g.c : g.k, depth = dgrad ? g.k : g.c, filter = g.r * depth;
    const int64_t step_width = dgrad ? g.r * g.s : g.c * g.r * g.s;
    const int64_t step_depth = dgrad ? g.c * g.r * g.s : g.r * g.s;
    const Blocks blocks(g, width);
    with_form(g, [&](auto form) {
        using F = decltype(form);
        constexpr int S = F::kTaps, P = F::kPoints;
        for (int64_t b = 0; b < blocks.channels; ++b) {
            const int64_t k0 = b * width / blocks.channels, k1 = (b + 1) * width / blocks.channels;
            const int64_t count = filter * (k1 - k0);
            float* const to = packed + k0 * filter;
            // Where the lanes' filters lie: (row, channel of the sum, channel of the result).
            int64_t r = 0, d = 0, k = k0;
            for (int64_t i = 0; i < count; i += VL) {
                alignas(64) float taps[S][VL] = {};
                for (int64_t e = 0; e < VL && i + e < count; ++e) {
                    const float* from = weight + k * step_width + d * step_depth + r * S;
                    for (int j = 0; j < S; ++j) taps[j][e] = from[j];
                    if (++k < k1) continue;
                    k = k0;
                    if (++d < depth) continue;
                    d = 0, ++r;
                }
                vf v[S], u[P];
                unrolled<S>([&](auto j) FC_INLINE { v[j] = load(taps[j]); });
                filter_1d<F>(v, 1, u);
                const Tail some = tail(count - i);
                unrolled<P>([&](auto p) FC_INLINE { store(to + p * filter * width + i, u[p], some); });
            }
        }
    });
}

// The images in lanes, their points, a row's sums and the result in lanes.
int64_t winograd_rows_scratch(const WinogradRows& g) {
    const int64_t x = g.c * g.h, y = g.k * g.p;
    const int64_t pairs = g.pools ? 2 * g.k * g.q : 0;
    return (x * g.w + y * g.q + pairs + most(x, y) * g.row_points()) * VL + sums_floats(g);
}

void winograd_rows_fprop(const WinogradRows& g, float* scratch, int team) {
    run_all<false>(g, scratch, team);
}
void winograd_rows_dgrad(const WinogradRows& g, float* scratch, int team) { run_all<true>(g, scratch, team); }

}  // namespace fastconv::FC_ISA_NS
