// What every op's bind.cpp needs: arrays in, arrays out, and the argument forms that Python users write.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <array>
#include <optional>

#include "core/checks.h"
#include "core/memory.h"
#include "cpu/denormals.h"
#include "fastconv/error.h"
#include "fastconv/types.h"

namespace fastconv::bindings {

namespace py = pybind11;

// What a bind function holds while it computes: other Python threads run, and denormals are flushed on this
// thread too, outside parallel regions.
class Computing {
  public:
    Computing() {}

  private:
    py::gil_scoped_release unlocked_;
    FlushDenormals flush_;
};

// A NumPy array as a C-contiguous, aligned, native-endian view. Where the caller's array is not one already,
// a converted copy is held for the lifetime of this object. Element types outside DType raise DTypeError.
class ArrayIn {
  public:
    ArrayIn(const char* op, const char* what, py::handle object);
    const TensorView& view() const { return view_; }
    const Shape& shape() const { return view_.shape; }
    DType dtype() const { return view_.dtype; }
    const void* data() const { return view_.data; }

  private:
    py::object owner_;
    TensorView view_;
};

// The same for an array that may be None.
std::optional<ArrayIn> optional_array(const char* op, const char* what, py::handle object);

// An array that the op updates in place: it must be usable as it stands (float type, C-contiguous, aligned,
// native, writable), since changes to a copy would be lost. ShapeError or DTypeError otherwise.
class ArrayInOut {
  public:
    ArrayInOut(const char* op, const char* what, py::handle object);
    const TensorView& view() const { return view_; }
    const Shape& shape() const { return view_.shape; }
    DType dtype() const { return view_.dtype; }
    void* data() const { return view_.data; }

  private:
    py::object owner_;
    TensorView view_;
};

// A new array on pooled memory, contents undefined; view() is its TensorView.
class ArrayOut {
  public:
    ArrayOut(const char* op, DType dtype, const Shape& shape);
    const TensorView& view() const { return view_; }
    void* data() const { return view_.data; }
    py::array release() { return std::move(array_); }

  private:
    py::array array_;
    TensorView view_;
};

// An integer argument; DTypeError naming `op` and `what` for anything else (bool and float included).
int64_t to_int(const char* op, const char* what, py::handle value);
// A Python or NumPy bool; DTypeError for another type.
bool to_bool(const char* op, const char* what, py::handle value);
// A finite number; DTypeError for another type.
double to_double(const char* op, const char* what, py::handle value);
// An int, or a sequence of two ints (height, width).
std::array<int64_t, 2> to_pair(const char* op, const char* what, py::handle value);
// A sequence of ints as a shape.
Shape to_shape(const char* op, const char* what, py::handle value);
Layout to_layout(const char* op, py::handle value);
// A str argument; DTypeError for another type.
std::string to_string_arg(const char* op, const char* what, py::handle value);

}  // namespace fastconv::bindings
