// The extension module fastconv._core: error translation, the runtime's switches, and one bind function per
// op.
#include <pybind11/pybind11.h>

#include <new>
#include <stdexcept>

#include "bindings/bfloat16.h"
#include "bindings/bindings.h"
#include "core/memory.h"
#include "core/precision.h"
#include "cpu/isa.h"
#include "cpu/threads.h"
#include "fastconv_ops.inc"  // FC_FOR_EACH_OP(X), written by CMake from the list of ops

namespace py = pybind11;
using namespace fastconv;

#define FC_DECLARE_BIND(op)         \
    namespace fastconv::bindings {  \
    void bind_##op(py::module_& m); \
    }
FC_FOR_EACH_OP(FC_DECLARE_BIND)
#undef FC_DECLARE_BIND
namespace fastconv::bindings {
void bind_program(py::module_& m);
}

namespace {

// The Python class of the same name in fastconv.errors.
py::object error_class(const char* name) { return py::module_::import("fastconv.errors").attr(name); }

void raise_as(const char* name, const char* what) { PyErr_SetString(error_class(name).ptr(), what); }

void translate(std::exception_ptr p) {
    try {
        if (p) std::rethrow_exception(p);
    } catch (const ShapeError& e) {
        raise_as("ShapeError", e.what());
    } catch (const DTypeError& e) {
        raise_as("DTypeError", e.what());
    } catch (const DeviceError& e) {
        raise_as("DeviceError", e.what());
    } catch (const FormatError& e) {
        raise_as("FormatError", e.what());
    } catch (const Error& e) {
        raise_as("FastconvError", e.what());
    } catch (const std::bad_alloc&) {
        PyErr_SetString(PyExc_MemoryError, "fastconv: out of memory");
    } catch (const std::length_error&) {  // a vector of more elements than any memory holds
        PyErr_SetString(PyExc_MemoryError, "fastconv: out of memory");
    }
}

}  // namespace

PYBIND11_MODULE(_core, m) {
    m.doc() = "Native kernels of fastconv. Use fastconv.functional.";
    py::register_exception_translator(translate);

    m.attr("__version__") = FASTCONV_VERSION;
    m.attr("compiler") = FASTCONV_COMPILER;
    m.def("isa", [] { return name(active_isa()); });
    m.def("available_isas", [] {
        py::list isas;
        for (Isa isa : {Isa::scalar, Isa::avx2, Isa::avx512})
            if (isa_available(isa)) isas.append(name(isa));
        return isas;
    });
    m.def("get_num_threads", &get_num_threads);
    m.def("set_num_threads",
          [](py::object n) { set_num_threads(bindings::to_int("set_num_threads", "n", n)); });
    m.def(
        "get_precision", [] { return name(precision()); },
        "The name that set_precision() was given last: 'high' at first.");
    m.def(
        "set_precision",
        [](py::object precision) {
            set_precision(
                precision_from_name(bindings::to_string_arg("set_precision", "precision", precision)));
        },
        py::arg("precision"),
        "Set how exact float32 arithmetic has to be, for the whole process and all its threads.\n\n"
        "'highest': direct float32 arithmetic only. 'high' (the default): also algorithms whose relative RMS "
        "error\n"
        "stays within 5e-6 of float64, which is Winograd's for filters of 2x2 to 5x5 and those of as many "
        "times the stride (direct: up to 1e-6). "
        "'medium':\n"
        "bfloat16 or TF32 arithmetic is allowed too. Calls that run already keep what they started with.\n\n"
        "Raises ShapeError for another name, DTypeError where it is not a string.");
    m.def("memory_stats", [] {
        const PoolStats s = pool_stats();
        py::dict d;
        d["in_use"] = s.in_use;
        d["cached"] = s.cached;
        return d;
    });
    m.def("pool_stats", [] {
        const PoolStats s = pool_stats();
        py::dict d;
        d["in_use"] = s.in_use;
        d["cached"] = s.cached;
        d["system_allocations"] = s.system_allocations;
        return d;
    });
    m.def("empty_cache", &pool_empty);

    bindings::bind_bfloat16(m);
#define FC_BIND(op) bindings::bind_##op(m);
    FC_FOR_EACH_OP(FC_BIND)
#undef FC_BIND
    bindings::bind_program(m);
}
