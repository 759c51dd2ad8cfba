// The candidates of each direction, best first, and the choice among them.
#include "ops/conv2d/conv2d.h"

#include <algorithm>
#include <cstring>

#include "core/checks.h"
#include "cpu/threads.h"
#include "ops/conv2d/candidate.h"
#include "ops/conv2d/kernels.h"
#include "ops/conv2d/taps.h"
#include "ops/elementwise/elementwise.h"

namespace fastconv {
namespace {

const char* takes_all(const Conv2dProblem&) { return nullptr; }

const char* copies_channels(const Conv2dProblem& p) {
    return p.k == p.c || p.layout == Layout::nchw ? nullptr : "a depth multiplier copies channels";
}

bool always(const Conv2dProblem&) { return true; }
bool any_activation(const Conv2dProblem&, Activation) { return true; }

const char* only_f32(const Conv2dProblem& p) {
    return p.dtype == DType::f32 ? nullptr : "element type is not float32";
}

const char* only_bf16(const Conv2dProblem& p) {
    return p.dtype == DType::bf16 ? nullptr : "element type is not bfloat16";
}

const char* only_depthwise(const Conv2dProblem& p) {
    if (const char* reason = only_f32(p)) return reason;
    return p.depthwise() ? nullptr : "not depthwise (groups = C)";
}

const char* only_pointwise_nchw(const Conv2dProblem& p) {
    if (const char* reason = only_f32(p)) return reason;
    if (p.layout != Layout::nchw) return "layout is not NCHW";
    return p.unpadded_1x1() ? nullptr : "not a 1x1 convolution without padding";
}

const char* only_unit_stride_pointwise_nchw(const Conv2dProblem& p) {
    if (const char* reason = only_pointwise_nchw(p)) return reason;
    return p.vertical.stride == 1 && p.horizontal.stride == 1 ? nullptr : "stride is not 1";
}

// Lanes along `width` channels would be mostly empty, lanes along rows of `cols` pixels mostly full, and the
// frame of zeros is not much larger than the image.
const char* few_channels_nchw(const Conv2dProblem& p, int64_t width, int64_t cols, int64_t most = 8) {
    if (const char* reason = only_f32(p)) return reason;
    if (p.layout != Layout::nchw) return "layout is not NCHW";
    if (p.horizontal.stride != 1) return "stride along the row is not 1";
    if (width > most) return "too many channels per group";
    if (cols < 10) return "rows of fewer than 10 pixels";
    const bool framed = 2 * p.vertical.extent() <= p.h + 16 && 2 * p.horizontal.extent() <= p.w + 16 &&
                        2 * p.vertical.pad_end <= p.h + 16 && 2 * p.horizontal.pad_end <= p.w + 16;
    const auto size = [](const WindowAxis& a) {
        return a.input + std::max(a.pad_begin + a.pad_end, a.extent() - 1);
    };
    const int64_t planes = std::max<int64_t>(1, p.n * std::max(p.c, p.k));
    if (!framed || !frame_fits(planes, p.pixels_in(), size(p.vertical) * size(p.horizontal)))
        return "padding or extent is large against the image";
    return nullptr;
}

const char* shift_fprop_declines(const Conv2dProblem& p) { return few_channels_nchw(p, p.group_k(), p.q); }

const char* shift_dgrad_declines(const Conv2dProblem& p) {
    if (p.vertical.stride != 1) return "stride is not 1";
    return few_channels_nchw(p, p.group_c(), p.w);
}

const char* shift_wgrad_declines(const Conv2dProblem& p) {
    Conv2dProblem planes = p;
    if (p.c == 1 && p.k < 12) planes.layout = Layout::nchw;
    return few_channels_nchw(planes, p.group_c(), p.q, 4);
}

// Where sums gather that would be rounded at every step in the result itself.
template <class T>
Wide<T>* sums_for(T* result, int64_t count, Arena& arena) {
    if constexpr (std::is_same_v<T, Wide<T>>)
        return result;
    else
        return arena.take<Wide<T>>(static_cast<size_t>(count));
}

void reference_fprop(const Conv2dProblem& p, const ConvArgs& a, Arena& arena) {
    if (arena.counting()) return;
    visit_float("conv2d", p.dtype, [&](auto zero) {
        using T = decltype(zero);
        conv2d_fprop_reference(p, static_cast<const T*>(a.in), static_cast<const T*>(a.weight),
                               static_cast<const T*>(a.epilogue.bias), static_cast<T*>(a.out));
    });
}
void reference_dgrad(const Conv2dProblem& p, const ConvArgs& a, Arena& arena) {
    visit_float("conv2d_input", p.dtype, [&](auto zero) {
        using T = decltype(zero);
        T* dx = static_cast<T*>(a.out);
        auto* sums = sums_for(dx, p.n * p.c * p.pixels_in(), arena);
        if (arena.counting()) return;
        conv2d_dgrad_reference(p, static_cast<const T*>(a.weight), static_cast<const T*>(a.in),
                               static_cast<const T*>(a.epilogue.bias), dx, sums);
    });
}
void reference_wgrad(const Conv2dProblem& p, const WgradArgs& a, Arena& arena) {
    visit_float("conv2d_weight", p.dtype, [&](auto zero) {
        using T = decltype(zero);
        T* dw = static_cast<T*>(a.dweight);
        auto* sums = sums_for(dw, p.k * p.group_c() * p.taps(), arena);
        if (arena.counting()) return;
        conv2d_wgrad_reference(p, static_cast<const T*>(a.x), static_cast<const T*>(a.dy), dw, sums);
    });
}

// {name, declines, fuses, packed_bytes, pack, run, unwanted, packs_itself, fuses_prologue, fuses_statistics,
// pitched, single, fuses_activation, fuses_sums}
constexpr ConvCandidate kFprop[] = {
    {"winograd_rows", winograd_rows_fprop_declines, false, winograd_rows_packed_bytes,
     winograd_rows_fprop_pack, winograd_rows_fprop, winograd_rows_fprop_unwanted, nullptr, nullptr, false,
     false, false, any_activation},
    {"strips", strip_fprop_declines, false, strip_fprop_packed_bytes, strip_fprop_pack, strip_fprop,
     strip_fprop_unwanted},
    {"depthwise", only_depthwise, false, depthwise_packed_bytes, depthwise_fprop_pack, depthwise_fprop,
     copies_channels, nullptr, nullptr, false, false, false, depthwise_fuses_activation},
    {"winograd_phases", winograd_phases_declines, true, winograd_fprop_packed_bytes<4>,
     winograd_fprop_pack<4>, winograd_fprop<4>, winograd_fprop_unwanted<4>, winograd_fprop_packs_itself<4>,
     nullptr, false, true},
    {"planar", planar_fprop_declines, false, planar_fprop_packed_bytes, planar_fprop_pack, planar_fprop,
     planar_fprop_unwanted},
    {"shift", shift_fprop_declines, false, nullptr, nullptr, shift_fprop},
    {"pointwise_nchw", only_pointwise_nchw, true, nullptr, nullptr, pointwise_nchw_fprop, nullptr, nullptr,
     always, true},
    {"im2col", im2col_declines, false, nullptr, nullptr, im2col_fprop, im2col_fprop_unwanted, nullptr,
     nullptr, false, false, true},
    {"winograd6", winograd_declines<6>, true, winograd_fprop_packed_bytes<6>, winograd_fprop_pack<6>,
     winograd_fprop<6>, winograd_fprop_unwanted<6>, winograd_fprop_packs_itself<6>, nullptr, false, true},
    {"winograd", winograd_declines<4>, true, winograd_fprop_packed_bytes<4>, winograd_fprop_pack<4>,
     winograd_fprop<4>, winograd_fprop_unwanted<4>, winograd_fprop_packs_itself<4>, nullptr, false, true},
    {"implicit_gemm", only_f32, true, implicit_gemm_fprop_packed_bytes, implicit_gemm_fprop_pack,
     implicit_gemm_fprop, nullptr, nullptr, implicit_gemm_fuses_prologue, true, true},
    {"direct_bf16", bf16_fprop_declines, true, bf16_fprop_packed_bytes, bf16_fprop_pack, bf16_fprop, nullptr,
     bf16_fprop_packs_itself},
    {"widened", only_bf16, true, widened_fprop_packed_bytes, widened_fprop_pack, widened_fprop, nullptr,
     widened_fprop_packs_itself},
    {"reference", takes_all, false, nullptr, nullptr, reference_fprop},
};
constexpr ConvCandidate kDgrad[] = {
    {"winograd_rows", winograd_rows_dgrad_declines, false, winograd_rows_packed_bytes,
     winograd_rows_dgrad_pack, winograd_rows_dgrad, winograd_rows_dgrad_unwanted},
    {"strips", strip_dgrad_declines, false, strip_dgrad_packed_bytes, strip_dgrad_pack, strip_dgrad,
     strip_dgrad_unwanted},
    {"depthwise", only_depthwise, false, depthwise_packed_bytes, depthwise_dgrad_pack, depthwise_dgrad,
     copies_channels},
    {"winograd_phases", winograd_phases_dgrad_declines, true, winograd_dgrad_packed_bytes<4>,
     winograd_dgrad_pack<4>, winograd_dgrad<4>, winograd_dgrad_unwanted<4>, winograd_dgrad_packs_itself<4>,
     nullptr, false, true},
    {"scatter", scatter_dgrad_declines, false, scatter_dgrad_packed_bytes, scatter_dgrad_pack, scatter_dgrad,
     scatter_dgrad_unwanted},
    {"planar", planar_dgrad_declines, false, planar_dgrad_packed_bytes, planar_dgrad_pack, planar_dgrad,
     planar_dgrad_unwanted},
    {"shift", shift_dgrad_declines, false, shift_dgrad_packed_bytes, shift_dgrad_pack, shift_dgrad},
    {"pointwise_nchw", only_unit_stride_pointwise_nchw, true, pointwise_nchw_dgrad_packed_bytes,
     pointwise_nchw_dgrad_pack, pointwise_nchw_dgrad},
    {"im2col", im2col_declines, false, nullptr, nullptr, im2col_dgrad, im2col_dgrad_unwanted, nullptr,
     nullptr, false, false, true},
    {"winograd6", winograd_declines<6>, true, winograd_dgrad_packed_bytes<6>, winograd_dgrad_pack<6>,
     winograd_dgrad<6>, winograd_dgrad_unwanted<6>, winograd_dgrad_packs_itself<6>, nullptr, false, true},
    {"winograd", winograd_declines<4>, true, winograd_dgrad_packed_bytes<4>, winograd_dgrad_pack<4>,
     winograd_dgrad<4>, winograd_dgrad_unwanted<4>, winograd_dgrad_packs_itself<4>, nullptr, false, true},
    {"implicit_gemm", only_f32, true, implicit_gemm_dgrad_packed_bytes, implicit_gemm_dgrad_pack,
     implicit_gemm_dgrad, nullptr, nullptr, nullptr, false, true, false, nullptr, implicit_gemm_fuses_sums},
    {"direct_bf16", bf16_dgrad_declines, true, bf16_dgrad_packed_bytes, bf16_dgrad_pack, bf16_dgrad, nullptr,
     bf16_dgrad_packs_itself},
    {"widened", only_bf16, true, widened_dgrad_packed_bytes, widened_dgrad_pack, widened_dgrad, nullptr,
     widened_dgrad_packs_itself},
    {"reference", takes_all, false, nullptr, nullptr, reference_dgrad},
};
// {name, declines, run, unwanted, pitched_x, pitched_dy, fuses_prologue}
constexpr WgradCandidate kWgrad[] = {
    {"winograd_rows", winograd_rows_wgrad_declines, winograd_rows_wgrad, winograd_rows_wgrad_unwanted},
    {"im2col", im2col_declines, im2col_wgrad, im2col_wgrad_unwanted},
    {"winograd_phases", winograd_phases_declines, winograd_wgrad, winograd_wgrad_unwanted, true, true},
    {"taps", tap_wgrad_declines, tap_wgrad, tap_wgrad_unwanted},
    {"strips", strip_wgrad_declines, strip_wgrad, strip_wgrad_unwanted},
    {"depthwise", only_depthwise, depthwise_wgrad, copies_channels},
    {"shift", shift_wgrad_declines, shift_wgrad},
    {"winograd", winograd_declines<4>, winograd_wgrad, winograd_wgrad_unwanted, true, true},
    {"implicit_gemm", only_f32, implicit_gemm_wgrad, nullptr, true, false,
     implicit_gemm_wgrad_fuses_prologue},
    {"direct_bf16", bf16_wgrad_declines, bf16_wgrad},
    {"widened", only_bf16, widened_wgrad},
    {"reference", takes_all, reference_wgrad},
};

const char* name_of(ConvDirection direction) {
    constexpr const char* kNames[] = {"fprop", "dgrad", "wgrad"};
    return kNames[static_cast<int>(direction)];
}

// Why the choice passes over a candidate that nobody asked for by name.
template <class Candidate>
const char* reason_against(const Candidate& candidate, const Conv2dProblem& problem) {
    const char* reason = candidate.declines(problem);
    return reason || !candidate.unwanted ? reason : candidate.unwanted(problem);
}

bool only_single(const ConvCandidate& candidate) { return candidate.single; }
bool only_single(const WgradCandidate&) { return false; }

// The first candidate that takes the problem, or the one called `algorithm`.
template <class Candidate, size_t count>
const Candidate& choose(ConvDirection direction, const Candidate (&list)[count], const Conv2dProblem& problem,
                        const std::string& algorithm, bool weights_stay) {
    std::string known;
    for (const Candidate& candidate : list) {
        if (algorithm.empty() || algorithm == candidate.name) {
            const char* reason =
                algorithm.empty() ? reason_against(candidate, problem) : candidate.declines(problem);
            if (!reason && !(algorithm.empty() && weights_stay && only_single(candidate))) return candidate;
            if (!algorithm.empty())
                throw ShapeError(message("conv2d ", name_of(direction), ": algorithm '", algorithm,
                                         "' declines: ", reason));
        }
        known += std::string(known.empty() ? "" : ", ") + candidate.name;
    }
    throw ShapeError(message("conv2d ", name_of(direction), ": algorithm must be one of ", known, "; got '",
                             algorithm, "'"));
}

// Those that the choice would pass over come last.
template <class Candidate, size_t count>
std::vector<std::pair<std::string, std::string>> describe(const Candidate (&list)[count],
                                                          const Conv2dProblem& problem, bool weights_stay) {
    std::vector<std::pair<std::string, std::string>> result, passed_over;
    for (const Candidate& candidate : list) {
        const char* reason = candidate.declines(problem);
        const bool unwanted =
            !reason && (reason_against(candidate, problem) || (weights_stay && only_single(candidate)));
        (unwanted ? passed_over : result).emplace_back(candidate.name, reason ? reason : "");
    }
    result.insert(result.end(), passed_over.begin(), passed_over.end());
    return result;
}

}  // namespace

void apply_epilogue(const Conv2dProblem& p, ConvDirection direction, const ConvEpilogue& e, void* out) {
    const bool fprop = direction == ConvDirection::fprop;
    const TensorView y{out, p.dtype, fprop ? p.y_shape() : p.x_shape()};
    if (e.residual) {
        const TensorView residual{const_cast<void*>(e.residual), y.dtype, y.shape};
        binary(Binary::add, y, residual, y);
    }
    if (e.activate) activation_forward(e.activation, {e.slope}, y, y);
    if (e.saved)
        activation_backward(e.activation, {e.slope}, {const_cast<void*>(e.saved), y.dtype, y.shape}, y, y);
}

namespace {

// Copies `rows` of `bytes` each.
void copy_rows(const void* from, int64_t from_step, void* to, int64_t to_step, int64_t bytes, int64_t rows,
               int team) {
    struct Rows {
        const char* from;
        char* to;
        int64_t from_step, to_step, bytes;
    } all{static_cast<const char*>(from), static_cast<char*>(to), from_step, to_step, bytes};
    parallel_run(
        rows, (32 << 10) / (bytes + 1) + 1,
        [](void* context, int64_t begin, int64_t end, int) {
            const Rows& r = *static_cast<Rows*>(context);
            for (int64_t i = begin; i < end; ++i)
                std::memcpy(r.to + i * r.to_step, r.from + i * r.from_step, static_cast<size_t>(r.bytes));
        },
        &all, team);
}

// x or y of a problem: the pixels of its array.
struct Pixels {
    int64_t count, row, step;  // bytes of a pixel, and from one to the next
    Pixels(const Conv2dProblem& p, bool of_x)
        : count(p.n * (of_x ? p.pixels_in() : p.pixels_out())), row((of_x ? p.c : p.k) * size_of(p.dtype)) {
        const int64_t pitch = of_x ? p.x_pitch : p.y_pitch;
        step = pitch ? pitch * size_of(p.dtype) : row;
    }
    size_t bytes() const { return static_cast<size_t>(checked_mul("conv2d", count, row)); }
    const void* packed(const void* array, Arena& arena, int team) const {
        void* copy = arena.take<char>(bytes());
        if (!arena.counting()) copy_rows(array, step, copy, row, row, count, team);
        return copy;
    }
};

// The problem that a candidate gets: without pitches that it does not take.
Conv2dProblem as_taken(const ConvCandidate& candidate, Conv2dProblem p) {
    if (!candidate.pitched) p.x_pitch = p.y_pitch = 0;
    return p;
}

// x normalised, in the arena's memory, without a pitch.
const void* normalise(const Conv2dProblem& p, const void* x, const BatchNormLine& line, Arena& arena) {
    const Shape shape = p.x_shape();
    const ChannelView view = channel_view("conv2d", shape, p.layout);
    const int64_t bytes = checked_mul("conv2d", element_count("conv2d", shape), size_of(p.dtype));
    void* copy = arena.take<char>(static_cast<size_t>(bytes));
    void* memory = arena.take<char>(batch_norm_apply_line_bytes(view, p.dtype));
    if (arena.counting()) return copy;
    batch_norm_apply_line(view, {const_cast<void*>(x), p.dtype, shape, p.x_pitch}, line,
                          {copy, p.dtype, shape}, memory);
    return copy;
}

// A candidate's run with passes over the arrays before and behind it for what it does not fuse.
void run_conv(const ConvCandidate& candidate, ConvDirection direction, const Conv2dProblem& problem,
              const ConvArgs& args, Arena& arena) {
    const bool fprop = direction == ConvDirection::fprop;
    ConvArgs a = args;
    Conv2dProblem p = as_taken(candidate, problem);
    int64_t &in_pitch = fprop ? p.x_pitch : p.y_pitch, &out_pitch = fprop ? p.y_pitch : p.x_pitch;
    const int64_t asked_in = fprop ? problem.x_pitch : problem.y_pitch;
    const int64_t asked_out = fprop ? problem.y_pitch : problem.x_pitch;
    if (a.prologue.wanted && !(candidate.fuses_prologue && candidate.fuses_prologue(p))) {
        Conv2dProblem given = problem;
        if (p.dtype == DType::f64 && asked_in) {
            a.in = Pixels(problem, fprop).packed(a.in, arena, args.team);
            given.x_pitch = 0;
        }
        a.in = normalise(given, a.in, args.prologue.line, arena);
        a.prologue = {};
        // Weights were packed for pixels that lie apart, if the candidate takes such.
        if (in_pitch) in_pitch = p.c;
    } else if (asked_in && !in_pitch) {
        a.in = Pixels(problem, fprop).packed(a.in, arena, args.team);
    }
    const bool sums = args.statistics.wanted && !candidate.fuses_statistics;
    const bool alone = args.epilogue.activate && !args.epilogue.residual && !args.epilogue.saved;
    const bool fuses = candidate.fuses || (alone && candidate.fuses_activation &&
                                           candidate.fuses_activation(p, args.epilogue.activation));
    const bool finish = !args.epilogue.plain() && (sums || !fuses);
    // Passes over the result, and arrays like it, know no pitch.
    const bool arrays = args.epilogue.residual || args.epilogue.saved || (!fprop && args.epilogue.activate);
    const bool aside = asked_out && (!out_pitch || sums || finish || arrays);
    if (aside) {
        out_pitch = 0;
        a.out = arena.take<char>(Pixels(p, !fprop).bytes());
    }
    if (finish) {
        a.epilogue = {};
        a.epilogue.bias = args.epilogue.bias;
    }
    candidate.run(p, a, arena);
    if (sums) {
        const Shape shape = p.y_shape();
        const ChannelView view = channel_view("conv2d", shape, p.layout);
        void* memory = arena.take<char>(batch_norm_moments_bytes(view, p.dtype));
        if (!arena.counting())
            batch_norm_moments(view, {a.out, p.dtype, shape}, args.statistics.mean,
                               args.statistics.deviations, memory);
    }
    if (arena.counting()) return;
    if (finish) apply_epilogue(p, direction, args.epilogue, a.out);
    if (aside) {
        const Pixels to(problem, !fprop);
        copy_rows(a.out, to.row, args.out, to.step, to.row, to.count, args.team);
    }
}

void run_wgrad(const WgradCandidate& candidate, const Conv2dProblem& problem, WgradArgs args, Arena& arena) {
    Conv2dProblem p = problem;
    if (args.prologue.wanted && !(candidate.fuses_prologue && candidate.fuses_prologue(p))) {
        if (p.dtype == DType::f64 && p.x_pitch) {
            args.x = Pixels(problem, true).packed(args.x, arena, args.team);
            p.x_pitch = 0;
        }
        args.x = normalise(p, args.x, args.prologue.line, arena);
        args.prologue = {};
        p.x_pitch = 0;
    } else if (p.x_pitch && !candidate.pitched_x) {
        args.x = Pixels(problem, true).packed(args.x, arena, args.team);
        p.x_pitch = 0;
    }
    if (p.y_pitch && !candidate.pitched_dy) {
        args.dy = Pixels(problem, false).packed(args.dy, arena, args.team);
        p.y_pitch = 0;
    }
    candidate.run(p, args, arena);
}

// Packing and the questions about memory take it that there is an image.
Conv2dProblem not_empty(Conv2dProblem p) {
    p.n = std::max<int64_t>(1, p.n);
    return p;
}

}  // namespace

ConvDirection conv_direction(const std::string& name) {
    for (ConvDirection d : {ConvDirection::fprop, ConvDirection::dgrad, ConvDirection::wgrad})
        if (name == name_of(d)) return d;
    throw ShapeError("conv2d: direction must be 'fprop', 'dgrad' or 'wgrad', got '" + name + "'");
}

ConvPlan::ConvPlan(const Conv2dProblem& problem, ConvDirection direction, const std::string& algorithm,
                   bool weights_stay)
    : problem_(problem), direction_(direction) {
    if (direction == ConvDirection::wgrad)
        wgrad_ = &choose(direction, kWgrad, problem, algorithm, weights_stay);
    else
        conv_ = direction == ConvDirection::fprop
                    ? &choose(direction, kFprop, problem, algorithm, weights_stay)
                    : &choose(direction, kDgrad, problem, algorithm, weights_stay);
}

const char* ConvPlan::algorithm() const { return conv_ ? conv_->name : wgrad_->name; }

size_t ConvPlan::packed_bytes() const {
    return conv_ && conv_->packed_bytes ? conv_->packed_bytes(as_taken(*conv_, not_empty(problem_))) : 0;
}

bool ConvPlan::packs_itself(int team) const {
    return conv_ && conv_->packs_itself && conv_->packs_itself(as_taken(*conv_, not_empty(problem_)), team);
}

void ConvPlan::pack(const void* weight, void* packed) const {
    if (packed_bytes()) conv_->pack(as_taken(*conv_, not_empty(problem_)), weight, packed);
}

bool ConvPlan::fuses_prologue() const {
    if (wgrad_) return wgrad_->fuses_prologue && wgrad_->fuses_prologue(not_empty(problem_));
    return conv_ && conv_->fuses_prologue && conv_->fuses_prologue(as_taken(*conv_, not_empty(problem_)));
}

bool ConvPlan::fuses_statistics() const { return conv_ && conv_->fuses_statistics; }

bool ConvPlan::takes_gradient_sums() const {
    return conv_ && conv_->fuses_sums && conv_->fuses_sums(as_taken(*conv_, not_empty(problem_)));
}

size_t ConvPlan::workspace_bytes(int team, bool prologue, bool statistics, bool epilogue, bool sums) const {
    Arena counter;
    if (conv_) {
        static const float present = 0;
        ConvArgs args;
        args.epilogue.residual = epilogue ? &present : nullptr;
        args.team = team;
        args.prologue.wanted = prologue;
        args.statistics.wanted = statistics;
        args.sums.wanted = sums;
        run_conv(*conv_, direction_, not_empty(problem_), args, counter);
    } else {
        WgradArgs args;
        args.team = team;
        args.prologue.wanted = prologue;
        run_wgrad(*wgrad_, not_empty(problem_), args, counter);
    }
    return counter.used();
}

void ConvPlan::run(const ConvArgs& args, void* workspace) const {
    if (problem_.n == 0) {
        if (args.statistics.wanted) {
            std::fill_n(args.statistics.mean, problem_.k, 0.0);
            std::fill_n(args.statistics.deviations, problem_.k, 0.0);
        }
        if (args.sums.wanted) {
            std::fill_n(args.sums.sums, problem_.c, 0.0);
            std::fill_n(args.sums.products, problem_.c, 0.0);
        }
        return;
    }
    Arena arena(workspace);
    run_conv(*conv_, direction_, problem_, args, arena);
}

void ConvPlan::run(const WgradArgs& args, void* workspace) const {
    if (problem_.n == 0) {
        const int64_t count = element_count("conv2d_weight", problem_.weight_shape());
        std::memset(args.dweight, 0, static_cast<size_t>(count * size_of(problem_.dtype)));
        return;
    }
    Arena arena(workspace);
    run_wgrad(*wgrad_, problem_, args, arena);
}

void conv2d_bias_grad(const Conv2dProblem& problem, const void* dy, void* dbias) {
    if (problem.dtype == DType::f32)
        return bias_grad_f32(problem, static_cast<const float*>(dy), static_cast<float*>(dbias));
    if (problem.dtype == DType::bf16)
        return bias_grad_bf16(problem, static_cast<const bfloat16*>(dy), static_cast<bfloat16*>(dbias));
    conv2d_bias_grad_reference(problem, static_cast<const double*>(dy), static_cast<double*>(dbias));
}

std::vector<std::pair<std::string, std::string>> conv2d_candidates(const Conv2dProblem& problem,
                                                                   ConvDirection direction,
                                                                   bool weights_stay) {
    if (direction == ConvDirection::wgrad) return describe(kWgrad, problem, weights_stay);
    return direction == ConvDirection::fprop ? describe(kFprop, problem, weights_stay)
                                             : describe(kDgrad, problem, weights_stay);
}

}  // namespace fastconv
