#include "ops/conv2d/conv2d.h"

#include <algorithm>
#include <cstring>

#include "core/checks.h"
#include "ops/conv2d/kernels.h"
#include "ops/conv2d/taps.h"

namespace fastconv {
namespace {

Shape spatial_shape(Layout layout, int64_t n, int64_t c, int64_t h, int64_t w) {
    return layout == Layout::nchw ? Shape{n, c, h, w} : Shape{n, h, w, c};
}

// Stride, dilation and explicit padding of both axes; "same" and "valid" resolved.
void fill_axes(const char* op, Conv2dProblem& problem, const Conv2dParams& params) {
    WindowAxis* axes[] = {&problem.vertical, &problem.horizontal};
    const int64_t kernels[] = {problem.r, problem.s};
    const int64_t inputs[] = {problem.h, problem.w};
    for (size_t i = 0; i < 2; ++i) {
        WindowAxis& a = *axes[i];
        a.input = inputs[i];
        a.kernel = kernels[i];
        a.stride = params.stride[i];
        a.dilation = params.dilation[i];
        if (params.padding_mode == Conv2dParams::Padding::same) {
            if (a.stride != 1)
                throw ShapeError(message(op, ": padding='same' needs stride 1, got ", params.stride[0], ", ",
                                         params.stride[1]));
            const int64_t total = same_padding_total(a.kernel, a.dilation);
            a.pad_begin = total / 2;
            a.pad_end = total - a.pad_begin;
        } else if (params.padding_mode == Conv2dParams::Padding::explicit_) {
            a.pad_begin = a.pad_end = params.padding[i];
        }
    }
}

void check_groups(const char* op, int64_t groups, int64_t c, int64_t k) {
    if (groups < 1) throw ShapeError(message(op, ": groups must be at least 1, got ", groups));
    if (c % groups || k % groups)
        throw ShapeError(
            message(op, ": groups=", groups, " must divide the ", c, " input and ", k, " output channels"));
}

void check_weight(const char* op, const Shape& weight) {
    require_ndim(op, "weight", weight, 4);
    for (int64_t d : weight)
        if (d < 1)
            throw ShapeError(
                message(op, ": weight must have no empty dimension, got shape ", to_string(weight)));
}

// The first candidate that takes the problem, or the one called `algorithm`.
template <class Candidate>
const Candidate& choose(const char* direction, const Candidate* list, size_t count,
                        const Conv2dProblem& problem, const std::string& algorithm) {
    std::string known;
    for (size_t i = 0; i < count; ++i) {
        const char* reason = list[i].declines(problem);
        if (algorithm.empty() && !reason) return list[i];
        if (algorithm == list[i].name) {
            if (!reason) return list[i];
            throw ShapeError(
                message("conv2d ", direction, ": algorithm '", algorithm, "' declines: ", reason));
        }
        known += std::string(i ? ", " : "") + list[i].name;
    }
    throw ShapeError(
        message("conv2d ", direction, ": algorithm must be one of ", known, "; got '", algorithm, "'"));
}

template <class Candidate>
std::vector<std::pair<std::string, std::string>> describe(const Candidate* list, size_t count,
                                                          const Conv2dProblem& problem) {
    std::vector<std::pair<std::string, std::string>> result;
    for (size_t i = 0; i < count; ++i) {
        const char* reason = list[i].declines(problem);
        result.emplace_back(list[i].name, reason ? reason : "");
    }
    return result;
}

// ---- reasons to decline
// ------------------------------------------------------------------------------------

const char* takes_all(const Conv2dProblem&) { return nullptr; }

const char* only_f32(const Conv2dProblem& p) {
    return p.dtype == DType::f32 ? nullptr : "element type is not float32";
}

const char* only_bf16(const Conv2dProblem& p) {
    return p.dtype == DType::bf16 ? nullptr : "element type is not bfloat16";
}

const char* only_depthwise(const Conv2dProblem& p) {
    if (const char* reason = only_f32(p)) return reason;
    return p.depthwise() ? nullptr : "not depthwise (groups = C = K)";
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

const char* shift_wgrad_declines(const Conv2dProblem& p) { return few_channels_nchw(p, p.group_c(), p.q, 4); }

// ---- candidates, best first
// ----------------------------------------------------------------------------------

struct FpropCandidate {
    const char* name;
    const char* (*declines)(const Conv2dProblem&);
    void (*run)(const Conv2dProblem&, const void* x, const void* weight, const void* bias, void* y);
};
struct DgradCandidate {
    const char* name;
    const char* (*declines)(const Conv2dProblem&);
    void (*run)(const Conv2dProblem&, const void* weight, const void* dy, const void* bias, void* dx);
};
struct WgradCandidate {
    const char* name;
    const char* (*declines)(const Conv2dProblem&);
    void (*run)(const Conv2dProblem&, const void* x, const void* dy, void* dweight);
};

void reference_fprop(const Conv2dProblem& p, const void* x, const void* w, const void* b, void* y) {
    visit_float("conv2d", p.dtype, [&](auto zero) {
        using T = decltype(zero);
        conv2d_fprop_reference(p, static_cast<const T*>(x), static_cast<const T*>(w),
                               static_cast<const T*>(b), static_cast<T*>(y));
    });
}
void reference_dgrad(const Conv2dProblem& p, const void* w, const void* dy, const void* b, void* dx) {
    visit_float("conv2d_input", p.dtype, [&](auto zero) {
        using T = decltype(zero);
        conv2d_dgrad_reference(p, static_cast<const T*>(w), static_cast<const T*>(dy),
                               static_cast<const T*>(b), static_cast<T*>(dx));
    });
}
void reference_wgrad(const Conv2dProblem& p, const void* x, const void* dy, void* dw) {
    visit_float("conv2d_weight", p.dtype, [&](auto zero) {
        using T = decltype(zero);
        conv2d_wgrad_reference(p, static_cast<const T*>(x), static_cast<const T*>(dy), static_cast<T*>(dw));
    });
}

constexpr FpropCandidate kFprop[] = {
    {"depthwise", only_depthwise, depthwise_fprop},
    {"shift", shift_fprop_declines, shift_fprop},
    {"pointwise_nchw", only_pointwise_nchw, pointwise_nchw_fprop},
    {"implicit_gemm", only_f32, implicit_gemm_fprop},
    {"widened", only_bf16, widened_fprop},
    {"reference", takes_all, reference_fprop},
};
constexpr DgradCandidate kDgrad[] = {
    {"depthwise", only_depthwise, depthwise_dgrad},
    {"shift", shift_dgrad_declines, shift_dgrad},
    {"pointwise_nchw", only_unit_stride_pointwise_nchw, pointwise_nchw_dgrad},
    {"implicit_gemm", only_f32, implicit_gemm_dgrad},
    {"widened", only_bf16, widened_dgrad},
    {"reference", takes_all, reference_dgrad},
};
constexpr WgradCandidate kWgrad[] = {
    {"depthwise", only_depthwise, depthwise_wgrad},   {"shift", shift_wgrad_declines, shift_wgrad},
    {"implicit_gemm", only_f32, implicit_gemm_wgrad}, {"widened", only_bf16, widened_wgrad},
    {"reference", takes_all, reference_wgrad},
};

bool empty(const Conv2dProblem& p) { return p.n == 0; }

}  // namespace

Shape Conv2dProblem::x_shape() const { return spatial_shape(layout, n, c, h, w); }
Shape Conv2dProblem::y_shape() const { return spatial_shape(layout, n, k, p, q); }

Conv2dProblem conv2d_problem(const char* op, DType dtype, const Shape& x, const Shape& weight,
                             const Conv2dParams& params) {
    require_float(op, "input", dtype);
    require_ndim(op, "input", x, 4);
    check_weight(op, weight);
    Conv2dProblem problem;
    problem.dtype = dtype;
    problem.layout = params.layout;
    problem.groups = params.groups;
    const bool nchw = params.layout == Layout::nchw;
    problem.n = x[0];
    problem.c = x[nchw ? 1 : 3];
    problem.h = x[nchw ? 2 : 1];
    problem.w = x[nchw ? 3 : 2];
    problem.k = weight[0];
    problem.r = weight[2];
    problem.s = weight[3];
    element_count(op, x);
    element_count(op, weight);
    if (problem.n < 0 || problem.c < 1 || problem.h < 1 || problem.w < 1)
        throw ShapeError(message(op, ": input must have at least one channel and one pixel, got shape ",
                                 to_string(x), " (", name(params.layout), ")"));
    check_groups(op, params.groups, problem.c, problem.k);
    if (weight[1] != problem.group_c())
        throw ShapeError(message(op, ": weight expects ", weight[1],
                                 " input channels per group but the input has ", problem.group_c(),
                                 " (C=", problem.c, ", groups=", params.groups, ")"));
    fill_axes(op, problem, params);
    problem.p = window_output(op, "height", problem.vertical);
    problem.q = window_output(op, "width", problem.horizontal);
    element_count(op, problem.y_shape());
    return problem;
}

Conv2dProblem conv_transpose2d_problem(const char* op, DType dtype, const Shape& input, const Shape& weight,
                                       const Conv2dParams& params,
                                       const std::array<int64_t, 2>& output_padding) {
    require_float(op, "input", dtype);
    require_ndim(op, "input", input, 4);
    check_weight(op, weight);
    element_count(op, input);
    element_count(op, weight);
    Conv2dProblem problem;
    problem.dtype = dtype;
    problem.layout = params.layout;
    problem.groups = params.groups;
    const bool nchw = params.layout == Layout::nchw;
    problem.n = input[0];
    problem.k = input[nchw ? 1 : 3];
    problem.p = input[nchw ? 2 : 1];
    problem.q = input[nchw ? 3 : 2];
    problem.r = weight[2];
    problem.s = weight[3];
    if (problem.n < 0 || problem.k < 1 || problem.p < 1 || problem.q < 1)
        throw ShapeError(message(op, ": input must have at least one channel and one pixel, got shape ",
                                 to_string(input), " (", name(params.layout), ")"));
    if (params.groups < 1) throw ShapeError(message(op, ": groups must be at least 1, got ", params.groups));
    problem.c = checked_mul(op, weight[1], params.groups);
    check_groups(op, params.groups, problem.k, problem.c);
    if (weight[0] != problem.k)
        throw ShapeError(
            message(op, ": weight expects ", weight[0], " input channels but the input has ", problem.k));
    fill_axes(op, problem, params);
    problem.vertical.input = problem.p;
    problem.horizontal.input = problem.q;
    problem.h = transposed_output(op, "height", problem.vertical, output_padding[0]);
    problem.w = transposed_output(op, "width", problem.horizontal, output_padding[1]);
    problem.vertical.input = problem.h;
    problem.horizontal.input = problem.w;
    element_count(op, problem.x_shape());
    return problem;
}

void conv2d_fprop(const Conv2dProblem& problem, const void* x, const void* weight, const void* bias, void* y,
                  const std::string& algorithm) {
    const auto& chosen = choose("fprop", kFprop, std::size(kFprop), problem, algorithm);
    if (!empty(problem)) chosen.run(problem, x, weight, bias, y);
}

void conv2d_dgrad(const Conv2dProblem& problem, const void* weight, const void* dy, const void* bias,
                  void* dx, const std::string& algorithm) {
    const auto& chosen = choose("dgrad", kDgrad, std::size(kDgrad), problem, algorithm);
    if (!empty(problem)) chosen.run(problem, weight, dy, bias, dx);
}

void conv2d_wgrad(const Conv2dProblem& problem, const void* x, const void* dy, void* dweight,
                  const std::string& algorithm) {
    const auto& chosen = choose("wgrad", kWgrad, std::size(kWgrad), problem, algorithm);
    if (empty(problem)) {
        const int64_t count = element_count("conv2d_weight", problem.weight_shape());
        std::memset(dweight, 0, static_cast<size_t>(count * size_of(problem.dtype)));
        return;
    }
    chosen.run(problem, x, dy, dweight);
}

void conv2d_bias_grad(const Conv2dProblem& problem, const void* dy, void* dbias) {
    if (problem.dtype == DType::f32)
        return bias_grad_f32(problem, static_cast<const float*>(dy), static_cast<float*>(dbias));
    if (problem.dtype == DType::bf16) return widened_bias_grad(problem, dy, dbias);
    conv2d_bias_grad_reference(problem, static_cast<const double*>(dy), static_cast<double*>(dbias));
}

std::vector<std::pair<std::string, std::string>> conv2d_candidates(const Conv2dProblem& problem,
                                                                   const std::string& direction) {
    if (direction == "fprop") return describe(kFprop, std::size(kFprop), problem);
    if (direction == "dgrad") return describe(kDgrad, std::size(kDgrad), problem);
    if (direction == "wgrad") return describe(kWgrad, std::size(kWgrad), problem);
    throw ShapeError("conv2d: direction must be 'fprop', 'dgrad' or 'wgrad', got '" + direction + "'");
}

}  // namespace fastconv
