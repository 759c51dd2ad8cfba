#include "core/window.h"

#include "core/checks.h"

namespace fastconv {
namespace {

// Far beyond any real picture, small enough that no product below overflows.
constexpr int64_t kMaxSize = int64_t{1} << 31;

void require_range(const char* op, const char* axis, const char* what, int64_t value, int64_t least) {
    if (value < least || value > kMaxSize)
        throw ShapeError(message(op, ": ", what, " (", axis, ") must be ",
                                 least == 0 ? "at least 0" : "at least 1", " and at most 2^31, got ", value));
}

void check_axis(const char* op, const char* name, const WindowAxis& a) {
    require_range(op, name, "kernel size", a.kernel, 1);
    require_range(op, name, "stride", a.stride, 1);
    require_range(op, name, "dilation", a.dilation, 1);
    require_range(op, name, "padding", a.pad_begin, 0);
    require_range(op, name, "padding", a.pad_end, 0);
}

}  // namespace

int64_t window_output(const char* op, const char* name, const WindowAxis& a, bool ceil_mode) {
    check_axis(op, name, a);
    const int64_t padded = a.input + a.pad_begin + a.pad_end;
    // Rounding up counts a window that lacks less than a stride at its end, be it the only one.
    const int64_t lacking = ceil_mode ? a.stride - 1 : 0;
    if (a.extent() > padded + lacking)
        throw ShapeError(message(op, ": a kernel of ", name, " ", a.kernel, " (dilation ", a.dilation,
                                 ", extent ", a.extent(), ") does not fit the input of ", name, " ", a.input,
                                 " with padding ", a.pad_begin, " + ", a.pad_end));
    int64_t outputs = (padded - a.extent() + lacking) / a.stride + 1;
    if (ceil_mode && (outputs - 1) * a.stride >= a.input + a.pad_begin) --outputs;
    return outputs;
}

int64_t transposed_output(const char* op, const char* name, const WindowAxis& a, int64_t output_padding) {
    check_axis(op, name, a);
    require_range(op, name, "output_padding", output_padding, 0);
    if (output_padding >= a.stride && output_padding >= a.dilation)
        throw ShapeError(message(op, ": output_padding (", name,
                                 ") must be smaller than stride or dilation, got ", output_padding,
                                 " with stride ", a.stride, " and dilation ", a.dilation));
    // An empty batch may claim any height; three more terms of at most 2^62 must still fit.
    if (a.input > (int64_t{1} << 61) / a.stride)
        throw ShapeError(message(op, ": an input of ", name, " ", a.input, " with stride ", a.stride,
                                 " makes too large an output"));
    const int64_t size = (a.input - 1) * a.stride - a.pad_begin - a.pad_end + a.extent() + output_padding;
    if (size < 1)
        throw ShapeError(message(op, ": the output ", name, " would be ", size, " (input ", a.input,
                                 ", stride ", a.stride, ", padding ", a.pad_begin, " + ", a.pad_end,
                                 ", kernel ", a.kernel, ")"));
    return size;
}

int64_t same_padding_total(int64_t kernel, int64_t dilation) {
    if (kernel < 1 || kernel > kMaxSize || dilation < 1 || dilation > kMaxSize) return 0;
    return dilation * (kernel - 1);
}

}  // namespace fastconv
