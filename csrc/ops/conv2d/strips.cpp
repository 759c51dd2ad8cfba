// Brings the three directions into the form of strips.h.
#include "ops/conv2d/strips.h"

#include <algorithm>
#include <vector>

#include "ops/conv2d/bands.h"
#include "ops/conv2d/gather.h"
#include "ops/conv2d/kernels.h"

namespace fastconv {
namespace {

// Floats of a band, and of a chunk's input and output.
constexpr int64_t kBand = 48 << 10, kWideBand = 96 << 10, kChunk = 128 << 10;
// From here on a band is no longer in L2 as a whole, or mostly not.
constexpr int64_t kFarBand = 64 << 10, kNoBand = 256 << 10;
// Depthwise channels up to which a vector of them, pixel by pixel, is still a stream that caches follow.
constexpr int64_t kFewPlanes = 320;
constexpr int64_t kMostStride = 4;
// wgrad: parts of the reduction are made until there are this many work items.
constexpr int64_t kWgradItems = 16;

struct Class : BandClass<StripClass, StripVector> {
    std::vector<StripRun> runs;
    // Taps of a phase of the stride one after the other: those are neighbours in the band.
    void sort_by_phase(int64_t phases) {
        const auto phase = [&](const AxisTap& t) { return (t.offset % phases + phases) % phases; };
        std::stable_sort(horizontal.begin(), horizontal.end(), [&](const AxisTap& a, const AxisTap& b) {
            return phase(a) != phase(b) ? phase(a) < phase(b) : a.offset < b.offset;
        });
    }
    // Cuts the offsets into runs of neighbouring columns, long ones into even parts.
    void set_runs(int64_t column) {
        const int64_t row = static_cast<int64_t>(horizontal.size());
        for (int64_t begin = 0, end; begin < view.steps; begin = end) {
            for (end = begin + 1; end % row && offsets[end] == offsets[end - 1] + column;) ++end;
            const int64_t parts = ceil_div(end - begin, kMostRun);
            for (int64_t i = 0, at = begin; i < parts; ++i) {
                const int64_t next = begin + (end - begin) * (i + 1) / parts;
                runs.push_back({offsets[at], next - at});
                at = next;
            }
        }
        view.runs = runs.data();
        view.run_count = static_cast<int64_t>(runs.size());
    }
};

struct Setup {
    StripConv g{};
    std::vector<Class> classes;
    std::vector<StripClass> views;
    BandWeight weight;

    Setup(const Conv2dProblem& p, ConvDirection direction) : weight(p, direction) {
        set_classes(p, direction, g, classes);
        for (Class& c : classes) c.sort_by_phase(g.phases);
        const bool dgrad = direction == ConvDirection::dgrad;
        g.out_h = dgrad ? p.h : p.p, g.out_w = dgrad ? p.w : p.q;
        g.lanes = FC_ISA_PICK(strip_lanes)();
        const int64_t channels = g.channels_out();
        g.column = g.flat() ? channels : g.lanes;
        g.step = g.flat() ? g.lanes / channels * channels : g.lanes;
        const int64_t reach = set_frame(g, classes);
        mark_used();
        // Rows that two bands need are moved: no more of them than new ones where L2 has the room.
        const int64_t moved = ceil_div(reach - g.row_step, g.row_step);
        const int64_t band =
            std::max(band_rows_in(g, reach, kBand), std::min(moved, band_rows_in(g, reach, kWideBand)));
        set_band(g, reach, std::min(band, ceil_div(g.rows * g.n * g.blocks(), 16)));
        // Long enough that few rows are copied twice, short enough that the blocks find it in L2; sixteen
        // items for the threads.
        const int64_t near =
            kChunk / (g.w * g.channels_in() * g.row_step + g.out_w * g.channels_out() * g.stride_h);
        const int64_t rows = std::min(std::max(rows_of_little_overlap(g, reach), near),
                                      ceil_div(g.rows * g.n * g.blocks(), 16));
        g.chunk = std::clamp<int64_t>(rows / g.band, 1, g.bands());
    }
    // What a stride larger than the filter steps over is not copied.
    void mark_used() {
        g.used_rows = g.row_step > 64 ? ~uint64_t{0} : 0;
        for (const Class& c : classes) {
            for (const AxisTap& v : c.vertical)
                g.used_rows |= uint64_t{1} << (v.offset - g.low_h) % g.row_step % 64;
            for (const AxisTap& u : c.horizontal)
                g.used_phases |= uint64_t{1} << (u.offset - g.low_w) % g.phases;
        }
    }
    int64_t floats(const Class& c) const { return g.blocks() * g.lanes * c.steps(g.depth); }
    int64_t packed() const {
        int64_t count = 0;
        for (const Class& c : classes) count += floats(c);
        return count;
    }
    // Offsets and vectors of the classes, once the pointers are known.
    void settle(const float* packed) {
        for (Class& c : classes) {
            set_offsets(g, c, g.column);
            c.set_runs(g.column);
            const int64_t row = c.view.cols * g.column, channels = g.channels_out();
            // Where the vectors of a row of the result start, and how far apart its rows are.
            const int64_t pixel = g.flat() ? 0 : g.stride_w * channels;
            const int64_t out_row = g.stride_h * g.out_w * channels;
            for (int64_t i = 0; i < g.band; ++i)
                for (int64_t at = 0; at < row; at += g.step)
                    c.vectors.push_back(
                        {i * g.row_step * g.band_row() + at,
                         g.scattered() ? at : i * out_row + (g.flat() ? at : at / g.step * pixel),
                         std::min(g.step, row - at)});
            c.view.vectors = c.vectors.data();
            c.view.row_vectors = ceil_div(row, g.step);
            c.view.weight = packed;
            if (packed) packed += floats(c);
        }
        for (const Class& c : classes) views.push_back(c.view);
        g.classes = views.data();
        g.class_count = static_cast<int64_t>(views.size());
    }
};

void pack(const Conv2dProblem& p, ConvDirection direction, const void* weight, void* packed) {
    const Setup setup(p, direction);
    const StripConv& g = setup.g;
    const float* from = static_cast<const float*>(weight);
    float* to = static_cast<float*>(packed);
    const int64_t channels = g.channels_out();
    for (const Class& c : setup.classes)
        for (int64_t b = 0; b < g.blocks(); ++b)
            c.each_step(g.depth, p.s, [&](int64_t d, int64_t tap) {
                for (int64_t l = 0; l < g.lanes; ++l) {
                    const int64_t o = g.flat() ? l % channels : b * g.lanes + l;
                    *to++ = o < channels ? from[setup.weight.at(o / g.width, o % g.width, d, tap)] : 0.0f;
                }
            });
}

size_t packed_bytes(const Conv2dProblem& p, ConvDirection direction) {
    return static_cast<size_t>(Setup(p, direction).packed()) * sizeof(float);
}

void run(const Conv2dProblem& p, ConvDirection direction, const ConvArgs& args, Arena& arena) {
    Setup setup(p, direction);
    StripConv& g = setup.g;
    setup.g.class_count = static_cast<int64_t>(setup.classes.size());
    std::vector<StripClass> sizes;
    for (const Class& c : setup.classes) sizes.push_back(c.view);
    g.classes = sizes.data();
    float* scratch = arena.take<float>(static_cast<size_t>((g.band_floats() + g.piece_floats()) * args.team));
    if (arena.counting()) return;
    g.in = static_cast<const float*>(args.in);
    g.out = static_cast<float*>(args.out);
    g.bias = static_cast<const float*>(args.epilogue.bias);
    setup.settle(static_cast<const float*>(args.packed));
    FC_ISA_PICK(strip_run)(g, scratch, args.team);
}

// What a step costs, in multiply-adds of a vector: neighbouring columns share loads (strip_run).
double step_cost(const StripConv& g, Class& c) {
    if (g.step != g.column) return 1.25 * static_cast<double>(c.steps(g.depth));
    set_offsets(g, c, g.column);
    c.set_runs(g.column);
    double cost = 0;
    for (const StripRun& run : c.runs)
        cost += static_cast<double>(run.count) * (run.count == 1 ? 2.1 : run.count == 2 ? 1.25 : 0.9);
    return cost;
}

// Multiply-adds of vectors, a pixel of the result, that this and the GEMM on single groups come to. Copying
// an input vector costs as much as ten of them, or 25 where its lanes come from more than two vectors; a
// vector's start and store 12 (4 where a vector holds several columns), starting a tile of one group and
// storing it 20. (Fitted to 300 random geometries on Zen 5: within 4 % of the better of the two in geometric
// mean.)
bool cheaper_than_gemm(const Conv2dProblem& p, ConvDirection direction) {
    Setup setup(p, direction);
    const StripConv& g = setup.g;
    const double vectors = g.flat() ? static_cast<double>(g.column) / static_cast<double>(g.step)
                                    : static_cast<double>(g.blocks());
    const double classes = static_cast<double>(setup.classes.size());
    double steps = 0, cost = 0;
    for (Class& c : setup.classes) {
        steps += static_cast<double>(c.steps(g.depth)) / classes;
        cost += step_cost(g, c) / classes;
    }
    // Input pixels an output pixel, of those that some tap reads.
    const double pixels = static_cast<double>(std::min(g.row_step, p.r) * std::min(g.phases, p.s)) / classes;
    const int64_t groups = g.flat() ? g.groups : (g.lanes + g.width - 1) / g.width;
    const int64_t span =
        groups * g.depth + (g.flat() ? (g.step / g.column - 1) * g.channels_in() * g.phases : 0);
    const double copies = static_cast<double>(g.depth) * pixels * (span <= 2 * g.lanes ? 10 : 25);
    // A band beyond L2's share is read from further away at each tap.
    const double far = g.band_floats() > kNoBand ? 6 : g.band_floats() > kFarBand ? 1.5 : 1;
    const int64_t across = ceil_div(g.width, g.lanes);  // vectors of a group
    const bool few = p.taps() == 1 && g.depth <= g.lanes;
    const double start =
        few ? 3.0 * static_cast<double>(across) : 20.0 * static_cast<double>(ceil_div(across, 4));
    // Lanes along the inputs, where outputs are few (cpu/gemm/dot.h): every tap starts anew.
    const double reads = static_cast<double>(ceil_div(g.depth, g.lanes) + 1);
    const double dots = (reads * steps / static_cast<double>(g.depth) + 4) * static_cast<double>(g.width);
    const double each = g.width <= kFewDots ? std::min(static_cast<double>(across) * steps, dots)
                                            : static_cast<double>(across) * steps;
    const double gemm = static_cast<double>(g.groups) * (each + start);
    const double store = g.flat() ? 4 : 12;
    return vectors * (far * cost + copies + store) < gemm;
}

// Depthwise without a multiplier, against the kernels that read arrays in place: those want lanes full of
// channels, and for dgrad of a stride and for wgrad filters that they know.
const char* depthwise_unwanted(const Conv2dProblem& p, ConvDirection direction) {
    const int64_t strides = p.vertical.stride * p.horizontal.stride;
    if (p.c < FC_ISA_PICK(strip_lanes)()) {
        const bool many =
            direction == ConvDirection::wgrad ? p.taps() >= 4 : direction == ConvDirection::dgrad;
        return many || p.horizontal.stride == 1 || p.taps() >= 9 ? nullptr : "too few taps";
    }
    if (direction == ConvDirection::fprop) return "as many channels as lanes";
    if (direction == ConvDirection::wgrad)
        return p.s == 3 || p.s == 5 || p.taps() < 9 * strides ? "filters of 3 or 5, or too few taps"
                                                              : nullptr;
    if (strides == 1 || (p.horizontal.stride == 2 && p.horizontal.dilation == 1 && p.s <= 7))
        return "a geometry that the depthwise kernels tile";
    return p.taps() >= 6 * strides && p.c <= kFewPlanes ? nullptr : "too few taps or too many channels";
}

}  // namespace

const char* strip_fprop_declines(const Conv2dProblem& p) {
    if (p.dtype != DType::f32) return "element type is not float32";
    if (p.layout != Layout::nhwc) return "layout is not NHWC";
    if (p.horizontal.stride > kMostStride) return "stride along the row is above 4";
    if (!band_fits(p.vertical, p.horizontal, p.group_c() * 16, p.q, p.horizontal.stride))
        return "rows are too long";
    return nullptr;
}

const char* strip_dgrad_declines(const Conv2dProblem& p) {
    if (p.dtype != DType::f32) return "element type is not float32";
    if (p.layout != Layout::nhwc) return "layout is not NHWC";
    if (p.horizontal.stride > kMostStride || p.vertical.stride > kMostStride) return "a stride is above 4";
    if (!band_fits(p.vertical, p.horizontal, p.group_k() * 16, p.w, 1)) return "rows are too long";
    return nullptr;
}

const char* strip_wgrad_declines(const Conv2dProblem& p) { return strip_fprop_declines(p); }

const char* strip_fprop_unwanted(const Conv2dProblem& p) {
    if (p.groups == 1) return "one group";
    if (p.depthwise() && p.k == p.c) return depthwise_unwanted(p, ConvDirection::fprop);
    return cheaper_than_gemm(p, ConvDirection::fprop) ? nullptr : "costs more";
}
const char* strip_dgrad_unwanted(const Conv2dProblem& p) {
    if (p.groups == 1) return "one group";
    if (p.depthwise() && p.k == p.c) return depthwise_unwanted(p, ConvDirection::dgrad);
    return cheaper_than_gemm(p, ConvDirection::dgrad) ? nullptr : "costs more";
}
const char* strip_wgrad_unwanted(const Conv2dProblem& p) {
    if (p.groups == 1) return "one group";
    if (p.depthwise() && p.k == p.c) return depthwise_unwanted(p, ConvDirection::wgrad);
    const bool few = p.group_c() <= 12 && p.group_k() <= 3 * FC_ISA_PICK(strip_lanes)();
    return few && p.taps() >= 4 ? nullptr : "too many channels or too few taps";
}

size_t strip_fprop_packed_bytes(const Conv2dProblem& p) { return packed_bytes(p, ConvDirection::fprop); }
void strip_fprop_pack(const Conv2dProblem& p, const void* weight, void* packed) {
    pack(p, ConvDirection::fprop, weight, packed);
}
void strip_fprop(const Conv2dProblem& p, const ConvArgs& args, Arena& arena) {
    run(p, ConvDirection::fprop, args, arena);
}
size_t strip_dgrad_packed_bytes(const Conv2dProblem& p) { return packed_bytes(p, ConvDirection::dgrad); }
void strip_dgrad_pack(const Conv2dProblem& p, const void* weight, void* packed) {
    pack(p, ConvDirection::dgrad, weight, packed);
}
void strip_dgrad(const Conv2dProblem& p, const ConvArgs& args, Arena& arena) {
    run(p, ConvDirection::dgrad, args, arena);
}

void strip_wgrad(const Conv2dProblem& p, const WgradArgs& args, Arena& arena) {
    Setup setup(p, ConvDirection::fprop);
    StripConv& g = setup.g;
    // Partial sums that stay small against what is read.
    g.items = kWgradItems;
    g.splits = std::clamp<int64_t>(g.n * g.h * g.w * g.channels_in() / (4 * setup.packed()), 1,
                                   std::min(kWgradItems, g.n * g.chunks()));
    const int64_t size = setup.packed();
    float* partial = arena.take<float>(static_cast<size_t>(size * g.splits));
    const int64_t row_vectors = ceil_div(p.q * g.column, g.step);
    float* scratch = arena.take<float>(
        static_cast<size_t>((g.band_floats() + g.band * row_vectors * g.lanes) * args.team));
    if (arena.counting()) return;
    g.in = static_cast<const float*>(args.x);
    g.dy = static_cast<const float*>(args.dy);
    setup.settle(nullptr);
    FC_ISA_PICK(strip_wgrad_run)(g, partial, scratch, args.team);
    // [block][step][lane] to the weight's order; lanes of one channel are added.
    float* to = static_cast<float*>(args.dweight);
    const int64_t channels = g.channels_out();
    for (int64_t b = 0; b < g.blocks(); ++b)
        setup.classes[0].each_step(g.depth, p.s, [&](int64_t d, int64_t tap) {
            const int64_t last = g.flat() ? channels : std::min(g.lanes, channels - b * g.lanes);
            for (int64_t l = 0; l < last; ++l) {
                const int64_t o = b * g.lanes + l;
                float sum = partial[l];
                for (int64_t more = l + channels; g.flat() && more < g.step; more += channels)
                    sum += partial[more];
                to[setup.weight.at(o / g.width, o % g.width, d, tap)] = sum;
            }
            partial += g.lanes;
        });
}

}  // namespace fastconv
