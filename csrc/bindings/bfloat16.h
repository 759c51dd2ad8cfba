// bfloat16 as Python sees it: NumPy has no such type, the optional package ml_dtypes brings it.
#pragma once

#include <pybind11/numpy.h>

namespace fastconv::bindings {

// Whether `dtype` is ml_dtypes' bfloat16. Imports nothing.
bool is_bfloat16(const pybind11::dtype& dtype);
// That dtype (a borrowed reference). ImportError in the name of `op` where ml_dtypes is missing.
PyObject* bfloat16_dtype(const char* op);

void bind_bfloat16(pybind11::module_& m);

}  // namespace fastconv::bindings
