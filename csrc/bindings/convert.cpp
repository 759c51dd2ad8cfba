#include <cmath>

#include "bindings/bfloat16.h"
#include "bindings/bindings.h"

namespace fastconv::bindings {
namespace {

std::string type_name(py::handle object) { return Py_TYPE(object.ptr())->tp_name; }

// The DType of a NumPy dtype, whatever its byte order.
DType to_dtype(const char* op, const char* what, const py::dtype& dtype) {
    const char kind = dtype.kind();
    const auto size = dtype.itemsize();
    if (kind == 'V' && is_bfloat16(dtype)) return DType::bf16;
    if (kind == 'f' && size == 4) return DType::f32;
    if (kind == 'f' && size == 8) return DType::f64;
    if (kind == 'u' && size == 1) return DType::u8;
    if (kind == 'i' && size == 4) return DType::i32;
    if (kind == 'i' && size == 8) return DType::i64;
    throw DTypeError(message(op, ": ", what,
                             " must be float32, float64 or bfloat16 (or uint8, int32, int64 for indices), "
                             "got ",
                             py::str(dtype).cast<std::string>()));
}

bool is_native(const py::dtype& dtype) {
    // NumPy spells its own order '=' and the order of single bytes '|', but keeps an order asked for by name.
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    constexpr char kNative = '<';
#else
    constexpr char kNative = '>';
#endif
    const char order = dtype.byteorder();
    return order == '=' || order == '|' || order == kNative;
}

bool usable(const py::array& a, int flags) {
    return (py::detail::array_proxy(a.ptr())->flags & flags) == flags && is_native(a.dtype());
}

constexpr int kReadable =
    py::detail::npy_api::NPY_ARRAY_C_CONTIGUOUS_ | py::detail::npy_api::NPY_ARRAY_ALIGNED_;
constexpr int kWritable = kReadable | py::detail::npy_api::NPY_ARRAY_WRITEABLE_;

py::array as_numpy(const char* op, const char* what, py::handle object) {
    if (!py::isinstance<py::array>(object))
        throw DTypeError(message(op, ": ", what, " must be an array, got ", type_name(object)));
    return py::reinterpret_borrow<py::array>(object);
}

TensorView view_of(const char* op, const char* what, const py::array& a) {
    TensorView view;
    view.dtype = to_dtype(op, what, a.dtype());
    if (a.ndim() > kMaxDims)
        throw ShapeError(
            message(op, ": ", what, " has ", a.ndim(), " dimensions, at most ", kMaxDims, " work"));
    view.shape.ndim = static_cast<int>(a.ndim());
    for (int i = 0; i < view.shape.ndim; ++i) view.shape[i] = a.shape(i);
    view.data = const_cast<void*>(a.data());
    return view;
}

}  // namespace

ArrayIn::ArrayIn(const char* op, const char* what, py::handle object) {
    py::array a = as_numpy(op, what, object);
    to_dtype(op, what, a.dtype());  // refuse other types before copying them
    if (!usable(a, kReadable)) {
        const py::object native = a.dtype().attr("newbyteorder")("=");
        const py::object numpy = py::module_::import("numpy");
        a = py::array(numpy.attr("require")(a, native, py::make_tuple("C", "A")));
    }
    view_ = view_of(op, what, a);
    owner_ = std::move(a);
}

std::optional<ArrayIn> optional_array(const char* op, const char* what, py::handle object) {
    if (object.is_none()) return std::nullopt;
    return ArrayIn(op, what, object);
}

ArrayInOut::ArrayInOut(const char* op, const char* what, py::handle object) {
    py::array a = as_numpy(op, what, object);
    view_ = view_of(op, what, a);
    if (!usable(a, kWritable))
        throw ShapeError(
            message(op, ": ", what,
                    " is updated in place and must be a writable, C-contiguous, aligned array in native "
                    "byte order"));
    owner_ = std::move(a);
}

ArrayOut::ArrayOut(const char* op, DType dtype, const Shape& shape) {
    const int64_t count = element_count(op, shape);
    view_.dtype = dtype;
    view_.shape = shape;
    PyObject* const type = dtype == DType::bf16 ? bfloat16_dtype(op) : nullptr;
    view_.data = pool_alloc(static_cast<size_t>(count * size_of(dtype)));
    py::capsule owner(view_.data, [](void* p) { pool_free(p); });
    static constexpr const char* formats[] = {"f4", "f8", "u1", "i4", "i8"};
    static const std::array<PyObject*, 5> dtypes = [] {
        std::array<PyObject*, 5> made{};
        for (size_t i = 0; i < made.size(); ++i) made[i] = py::dtype(formats[i]).release().ptr();
        return made;
    }();
    array_ = py::array(py::reinterpret_borrow<py::dtype>(type ? type : dtypes[static_cast<size_t>(dtype)]),
                       std::vector<py::ssize_t>(shape.begin(), shape.end()), view_.data, owner);
}

int64_t to_int(const char* op, const char* what, py::handle value) {
    if (PyBool_Check(value.ptr()) || !PyIndex_Check(value.ptr()))
        throw DTypeError(message(op, ": ", what, " must be an integer, got ", type_name(value)));
    const py::object index = py::reinterpret_steal<py::object>(PyNumber_Index(value.ptr()));
    if (!index) {
        PyErr_Clear();
        throw DTypeError(message(op, ": ", what, " must be an integer, got ", type_name(value)));
    }
    int overflow = 0;
    const long long result = PyLong_AsLongLongAndOverflow(index.ptr(), &overflow);
    if (overflow) throw ShapeError(message(op, ": ", what, " is out of range: beyond 64 bits"));
    return result;
}

bool to_bool(const char* op, const char* what, py::handle value) {
    if (PyBool_Check(value.ptr())) return value.ptr() == Py_True;
    static PyObject* const numpy_bool =
        py::object(py::module_::import("numpy").attr("bool_")).release().ptr();
    if (PyObject_TypeCheck(value.ptr(), reinterpret_cast<PyTypeObject*>(numpy_bool)))
        return PyObject_IsTrue(value.ptr()) == 1;
    throw DTypeError(message(op, ": ", what, " must be True or False, got ", type_name(value)));
}

double to_double(const char* op, const char* what, py::handle value) {
    if (PyBool_Check(value.ptr()) || !PyNumber_Check(value.ptr()) || PyComplex_Check(value.ptr()))
        throw DTypeError(message(op, ": ", what, " must be a number, got ", type_name(value)));
    const double result = PyFloat_AsDouble(value.ptr());
    if (PyErr_Occurred()) {
        PyErr_Clear();
        throw DTypeError(message(op, ": ", what, " must be a number, got ", type_name(value)));
    }
    if (!std::isfinite(result)) throw ShapeError(message(op, ": ", what, " must be finite, got ", result));
    return result;
}

std::array<int64_t, 2> to_pair(const char* op, const char* what, py::handle value) {
    if (PyTuple_Check(value.ptr()) || PyList_Check(value.ptr())) {
        const py::sequence s = py::reinterpret_borrow<py::sequence>(value);
        if (s.size() != 2)
            throw ShapeError(message(op, ": ", what, " must be an integer or a pair (height, width), got ",
                                     s.size(), " values"));
        return {to_int(op, what, s[0]), to_int(op, what, s[1])};
    }
    if (PyBool_Check(value.ptr()) || !PyIndex_Check(value.ptr()))
        throw DTypeError(message(op, ": ", what,
                                 " must be an integer or a pair (height, width) of integers, got ",
                                 type_name(value)));
    const int64_t both = to_int(op, what, value);
    return {both, both};
}

Shape to_shape(const char* op, const char* what, py::handle value) {
    if (!PyTuple_Check(value.ptr()) && !PyList_Check(value.ptr()))
        throw DTypeError(message(op, ": ", what, " must be a sequence of integers, got ", type_name(value)));
    const py::sequence s = py::reinterpret_borrow<py::sequence>(value);
    if (s.size() > static_cast<size_t>(kMaxDims))
        throw ShapeError(
            message(op, ": ", what, " has ", s.size(), " dimensions, at most ", kMaxDims, " work"));
    Shape shape;
    for (size_t i = 0; i < s.size(); ++i) shape[shape.ndim++] = to_int(op, what, s[i]);
    return shape;
}

Layout to_layout(const char* op, py::handle value) {
    if (PyUnicode_Check(value.ptr())) {
        if (PyUnicode_CompareWithASCIIString(value.ptr(), "NCHW") == 0) return Layout::nchw;
        if (PyUnicode_CompareWithASCIIString(value.ptr(), "NHWC") == 0) return Layout::nhwc;
    }
    throw ShapeError(
        message(op, ": layout must be 'NCHW' or 'NHWC', got ", py::repr(value).cast<std::string>()));
}

std::string to_string_arg(const char* op, const char* what, py::handle value) {
    if (!PyUnicode_Check(value.ptr()))
        throw DTypeError(message(op, ": ", what, " must be a string, got ", type_name(value)));
    Py_ssize_t size = 0;
    const char* text = PyUnicode_AsUTF8AndSize(value.ptr(), &size);
    if (!text) {
        PyErr_Clear();
        throw ShapeError(
            message(op, ": ", what, " is not valid text: ", py::repr(value).cast<std::string>()));
    }
    return std::string(text, static_cast<size_t>(size));
}

}  // namespace fastconv::bindings
