#include <cmath>

#include "bindings/bindings.h"
#include "ops/augment/augment.h"

namespace fastconv::bindings {
namespace {

constexpr int64_t kMostTaps = 1023;

// uint8 or float32 images (n, C, H, W) with at least one pixel.
ArrayIn to_images(const char* op, const py::object& object) {
    ArrayIn images(op, "images", object);
    if (images.dtype() != DType::u8 && images.dtype() != DType::f32)
        throw DTypeError(message(op, ": images must be uint8 or float32, got ", name(images.dtype())));
    require_ndim(op, "images", images.shape(), 4);
    for (int i = 1; i < 4; ++i)
        if (images.shape()[i] < 1)
            throw ShapeError(message(op, ": images must be (n, C, H, W) with C, H and W at least 1, got ",
                                     to_string(images.shape())));
    return images;
}

// An array of a given type and shape, or none.
template <class T>
const T* to_table(const char* op, const char* what, const std::optional<ArrayIn>& array, DType dtype,
                  const Shape& shape) {
    if (!array) return nullptr;
    require_dtype(op, what, array->dtype(), dtype);
    require_shape(op, what, array->shape(), shape);
    return array->view().as<T>();
}

const double* to_finite(const char* op, const char* what, const std::optional<ArrayIn>& array,
                        const Shape& shape) {
    const double* values = to_table<double>(op, what, array, DType::f64, shape);
    const int64_t count = element_count(op, shape);
    for (int64_t i = 0; values && i < count; ++i)
        if (!std::isfinite(values[i]))
            throw ShapeError(message(op, ": ", what, " must be finite, got ", values[i]));
    return values;
}

template <class T>
T to_choice(const char* op, const char* what, const std::string& name,
            std::initializer_list<const char*> names) {
    int i = 0;
    for (const char* known : names) {
        if (name == known) return static_cast<T>(i);
        ++i;
    }
    std::string listed;
    for (const char* known : names) listed += message(listed.empty() ? "'" : ", '", known, "'");
    throw ShapeError(message(op, ": ", what, " must be one of ", listed, ", got '", name, "'"));
}

py::array run(py::object images, py::object matrices, py::object size, py::object interpolation,
              py::object fill_mode, py::object fill, py::object color, py::object contrast, py::object bounds,
              py::object tones, py::object boxes, py::object paint) {
    const char* op = "augment_batch";
    const ArrayIn x = to_images(op, images);
    const int64_t n = x.shape()[0], c = x.shape()[1];
    const auto matrix = optional_array(op, "matrices", matrices), filling = optional_array(op, "fill", fill),
               colors = optional_array(op, "color", color),
               contrasts = optional_array(op, "contrast", contrast),
               tone = optional_array(op, "tones", tones), box = optional_array(op, "boxes", boxes),
               painted = optional_array(op, "paint", paint);
    AugmentSteps steps;
    steps.matrices = to_finite(op, "matrices", matrix, {n, 2, 3});
    steps.sampling = to_choice<Sampling>(
        op, "interpolation", to_string_arg(op, "interpolation", interpolation), {"nearest", "bilinear"});
    steps.outside = to_choice<Outside>(op, "fill_mode", to_string_arg(op, "fill_mode", fill_mode),
                                       {"constant", "area", "nearest", "reflect", "wrap"});
    steps.fill = to_finite(op, "fill", filling, {c});
    if (steps.matrices && !steps.fill) throw ShapeError(message(op, ": matrices need fill"));
    steps.color = to_finite(op, "color", colors, {n, 2, c, c + 1});
    steps.contrast = to_finite(op, "contrast", contrasts, {n});
    if (steps.contrast && !steps.color) throw ShapeError(message(op, ": contrast needs color"));
    steps.tones = to_table<int32_t>(op, "tones", tone, DType::i32, {n, 2});
    if (box) {
        require_ndim(op, "boxes", box->shape(), 3);
        steps.boxes_per_image = box->shape()[1];
        steps.boxes = to_table<int64_t>(op, "boxes", box, DType::i64, {n, steps.boxes_per_image, 4});
        steps.paint = to_finite(op, "paint", painted, {c});
        if (!steps.paint) throw ShapeError(message(op, ": boxes need paint"));
    }
    if (!PyTuple_Check(bounds.ptr()) || py::len(bounds) != 2)
        throw DTypeError(message(op, ": bounds must be a pair (low, high)"));
    const py::tuple range = py::reinterpret_borrow<py::tuple>(bounds);
    steps.low = to_double(op, "bounds", range[0]);
    steps.high = to_double(op, "bounds", range[1]);
    const std::array<int64_t, 2> made =
        size.is_none() ? std::array<int64_t, 2>{x.shape()[2], x.shape()[3]} : to_pair(op, "size", size);
    check_augment(op, steps, x.view(), made[0], made[1]);
    ArrayOut y(op, x.dtype(), {n, c, made[0], made[1]});
    {
        const Computing computing;
        augment_batch(steps, x.view(), y.view());
    }
    return y.release();
}

py::array noise(py::object images, py::object keys, py::object sigma, py::object mean, py::object low,
                py::object high) {
    const char* op = "gaussian_noise";
    const ArrayIn x = to_images(op, images);
    const Shape count{x.shape()[0]};
    const auto key = optional_array(op, "keys", keys), sigmas = optional_array(op, "sigma", sigma);
    const int64_t* const words = to_table<int64_t>(op, "keys", key, DType::i64, count);
    const double* const widths = to_finite(op, "sigma", sigmas, count);
    if (!words || !widths) throw DTypeError(message(op, ": keys and sigma must be arrays"));
    const double middle = to_double(op, "mean", mean);
    // Clipping may be off, which float32 images have as infinities.
    const bool bytes = x.dtype() == DType::u8;
    const double least = bytes ? 0 : py::float_(low).cast<double>(),
                 most = bytes ? 255 : py::float_(high).cast<double>();
    ArrayOut y(op, x.dtype(), x.shape());
    {
        const Computing computing;
        gaussian_noise(x.view(), reinterpret_cast<const uint64_t*>(words), widths, middle, least, most,
                       y.view());
    }
    return y.release();
}

py::array blur(py::object images, py::object weights) {
    const char* op = "separable_blur";
    const ArrayIn x = to_images(op, images);
    const ArrayIn w(op, "weights", weights);
    require_ndim(op, "weights", w.shape(), 2);
    const int64_t size = w.shape()[1], reach = size / 2;
    if (size % 2 == 0 || size > kMostTaps)
        throw ShapeError(
            message(op, ": weights must be odd in number and at most ", kMostTaps, ", got ", size));
    if (reach >= x.shape()[2] || reach >= x.shape()[3])
        throw ShapeError(message(op, ": images of ", x.shape()[2], "x", x.shape()[3], " are too small for ",
                                 size, " weights, expected at least ", reach + 1,
                                 " pixels along both sides"));
    require_dtype(op, "weights", w.dtype(), DType::f64);
    require_shape(op, "weights", w.shape(), {x.shape()[0], size});
    for (int64_t i = 0; i < x.shape()[0]; ++i) {
        double sum = 0;
        for (int64_t k = 0; k < size; ++k) {
            const double v = w.view().as<double>()[i * size + k];
            sum += v >= 0 ? v : std::nan("");
        }
        if (!(std::fabs(sum - 1) < 1e-6))
            throw ShapeError(
                message(op, ": weights must not be negative and add up to 1; image ", i, " has ", sum));
    }
    ArrayOut y(op, x.dtype(), x.shape());
    {
        const Computing computing;
        separable_blur(x.view(), w.view().as<double>(), size, y.view());
    }
    return y.release();
}

py::array run_sharpen(py::object images, py::object factors, py::object low, py::object high) {
    const char* op = "sharpen";
    const ArrayIn x = to_images(op, images);
    const auto factor = optional_array(op, "factors", factors);
    const double* const values = to_finite(op, "factors", factor, {x.shape()[0]});
    if (!values) throw DTypeError(message(op, ": factors must be an array"));
    for (int64_t i = 0; i < x.shape()[0]; ++i)
        if (std::fabs(values[i]) > 30)
            throw ShapeError(message(op, ": factors must lie between -30 and 30, got ", values[i]));
    const double least = to_double(op, "low", low), most = to_double(op, "high", high);
    ArrayOut y(op, x.dtype(), x.shape());
    {
        const Computing computing;
        sharpen(x.view(), values, least, most, y.view());
    }
    return y.release();
}

}  // namespace

void bind_augment(py::module_& m) {
    m.def("augment_batch", &run, py::arg("images"), py::arg("matrices"), py::arg("size"),
          py::arg("interpolation"), py::arg("fill_mode"), py::arg("fill"), py::arg("color"),
          py::arg("contrast"), py::arg("bounds"), py::arg("tones"), py::arg("boxes"), py::arg("paint"));
    m.def("gaussian_noise", &noise, py::arg("images"), py::arg("keys"), py::arg("sigma"), py::arg("mean"),
          py::arg("low"), py::arg("high"));
    m.def("separable_blur", &blur, py::arg("images"), py::arg("weights"));
    m.def("sharpen", &run_sharpen, py::arg("images"), py::arg("factors"), py::arg("low"), py::arg("high"));
}

}  // namespace fastconv::bindings
