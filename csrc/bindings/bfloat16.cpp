// bfloat16 arrays: ml_dtypes' type object, conversions, and DLPack, since NumPy's own reads and writes only
// its own element types.
#include "bindings/bfloat16.h"

#include "bindings/bindings.h"
#include "cpu/layout/convert.h"
#include "fastconv/dlpack.h"

namespace fastconv::bindings {
namespace {

constexpr const char* kPlain = "dltensor";
constexpr const char* kVersioned = "dltensor_versioned";

// ---- out

// What an exported array needs for as long as somebody holds it.
template <class Managed>
struct Exported {
    Managed managed{};
    PyObject* array = nullptr;
    std::vector<int64_t> shape, strides;

    // The holder may let go in any thread, and after the interpreter has ended.
    static void release(Managed* m) {
        auto* self = static_cast<Exported*>(m->context);
        if (Py_IsInitialized()) {
            const PyGILState_STATE state = PyGILState_Ensure();
            Py_DECREF(self->array);
            PyGILState_Release(state);
        }
        delete self;
    }
};

// The capsule's destructor: a consumer renames the capsule and takes over what is in it.
template <class Managed>
void drop(PyObject* capsule, const char* name) {
    if (!PyCapsule_IsValid(capsule, name)) return;
    auto* m = static_cast<Managed*>(PyCapsule_GetPointer(capsule, name));
    if (m && m->deleter) m->deleter(m);
}
void drop_plain(PyObject* capsule) { drop<dlpack::ManagedTensor>(capsule, kPlain); }
void drop_versioned(PyObject* capsule) { drop<dlpack::ManagedTensorVersioned>(capsule, kVersioned); }

template <class Managed>
Managed* export_array(const py::array& a) {
    auto* e = new Exported<Managed>();
    for (py::ssize_t d = 0; d < a.ndim(); ++d) {
        e->shape.push_back(a.shape(d));
        e->strides.push_back(a.strides(d) / static_cast<py::ssize_t>(sizeof(bfloat16)));
    }
    dlpack::Tensor& t = e->managed.tensor;
    t.data = const_cast<void*>(a.data());
    t.device = {dlpack::kCpu, 0};
    t.ndim = static_cast<int32_t>(a.ndim());
    t.dtype = {dlpack::kBfloat, 16, 1};
    t.shape = e->shape.data();
    t.strides = e->strides.data();
    e->managed.context = e;
    e->managed.deleter = &Exported<Managed>::release;
    e->array = a.inc_ref().ptr();
    return &e->managed;
}

py::object to_dlpack(py::array a, bool versioned) {
    if (!is_bfloat16(a.dtype()))
        throw DTypeError(
            message("to_dlpack: expects a bfloat16 array, got ", py::str(a.dtype()).cast<std::string>()));
    for (py::ssize_t d = 0; d < a.ndim(); ++d)
        if (a.strides(d) % static_cast<py::ssize_t>(sizeof(bfloat16)))
            throw ShapeError("to_dlpack: the array's strides are no whole elements");
    if (!versioned) {
        if (!a.writeable()) {
            PyErr_SetString(PyExc_BufferError, "this version of DLPack cannot export read-only arrays");
            throw py::error_already_set();
        }
        return py::reinterpret_steal<py::object>(
            PyCapsule_New(export_array<dlpack::ManagedTensor>(a), kPlain, drop_plain));
    }
    auto* m = export_array<dlpack::ManagedTensorVersioned>(a);
    m->version = {1, 0};
    m->flags = a.writeable() ? 0 : dlpack::kReadOnly;
    return py::reinterpret_steal<py::object>(PyCapsule_New(m, kVersioned, drop_versioned));
}

// ---- in

template <class Managed>
py::array import_array(const py::object& capsule, const char* name, const char* used, bool writable) {
    auto* m = static_cast<Managed*>(PyCapsule_GetPointer(capsule.ptr(), name));
    const dlpack::Tensor& t = m->tensor;
    if (t.dtype.code != dlpack::kBfloat || t.dtype.bits != 16 || t.dtype.lanes != 1)
        throw DTypeError(message("the element type (DLPack code ", int{t.dtype.code}, ", ", int{t.dtype.bits},
                                 " bits) is none that works here"));
    if (t.device.device_type != dlpack::kCpu) throw DeviceError("the memory is not the processor's");
    std::vector<py::ssize_t> shape(t.shape, t.shape + t.ndim), strides(static_cast<size_t>(t.ndim));
    int64_t step = 1;
    for (size_t d = shape.size(); d-- > 0; step *= shape[d] > 1 ? shape[d] : 1)
        strides[d] = (t.strides ? t.strides[d] : step) * static_cast<int64_t>(sizeof(bfloat16));
    const py::dtype dtype = py::reinterpret_borrow<py::dtype>(bfloat16_dtype("from_dlpack"));
    // From here on the memory is ours to give back.
    PyCapsule_SetName(capsule.ptr(), used);
    py::capsule owner(m, [](void* p) {
        auto* managed = static_cast<Managed*>(p);
        if (managed->deleter) managed->deleter(managed);
    });
    py::array a(dtype, shape, strides, static_cast<char*>(t.data) + t.byte_offset, owner);
    if (!writable) py::detail::array_proxy(a.ptr())->flags &= ~py::detail::npy_api::NPY_ARRAY_WRITEABLE_;
    return a;
}

py::array from_dlpack(py::object capsule) {
    if (PyCapsule_IsValid(capsule.ptr(), kPlain))
        return import_array<dlpack::ManagedTensor>(capsule, kPlain, "used_dltensor", true);
    if (PyCapsule_IsValid(capsule.ptr(), kVersioned)) {
        const auto* m =
            static_cast<dlpack::ManagedTensorVersioned*>(PyCapsule_GetPointer(capsule.ptr(), kVersioned));
        if (m->version.major != 1)
            throw DTypeError(message("DLPack version ", m->version.major, " is not known, 1 is"));
        return import_array<dlpack::ManagedTensorVersioned>(capsule, kVersioned, "used_dltensor_versioned",
                                                            !(m->flags & dlpack::kReadOnly));
    }
    throw DTypeError("not a DLPack capsule");
}

// ---- float32 and back

py::array convert(py::object input, DType from, DType to) {
    const char* op = "astype";
    const ArrayIn x(op, "input", input);
    require_dtype(op, "input", x.dtype(), from);
    ArrayOut y(op, to, x.shape());
    const int64_t count = element_count(op, x.shape());
    {
        py::gil_scoped_release nogil;
        if (to == DType::bf16)
            FC_ISA_PICK(convert_f32_to_bf16)(x.view().as<float>(), y.view().as<bfloat16>(), count);
        else
            FC_ISA_PICK(convert_bf16_to_f32)(x.view().as<bfloat16>(), y.view().as<float>(), count);
    }
    return y.release();
}

}  // namespace

// To whoever does not know it, it is a void type of two bytes.
bool is_bfloat16(const py::dtype& dtype) {
    static PyObject* seen = nullptr;  // the one instance that there is, once it has passed by
    if (dtype.ptr() == seen) return true;
    if (dtype.kind() != 'V' || dtype.itemsize() != 2 ||
        dtype.attr("type").attr("__name__").cast<std::string>() != "bfloat16")
        return false;
    if (!seen) seen = py::object(dtype).release().ptr();
    return true;
}

PyObject* bfloat16_dtype(const char* op) {
    static PyObject* made = nullptr;
    if (made) return made;
    try {
        made = py::dtype::from_args(py::module_::import("ml_dtypes").attr("bfloat16")).release().ptr();
    } catch (py::error_already_set& error) {
        if (!error.matches(PyExc_ImportError)) throw;
        py::raise_from(error, PyExc_ImportError,
                       message(op, ": bfloat16 arrays need ml_dtypes, which is not installed: ",
                               "pip install \"fastconv[bf16]\"")
                           .c_str());
        throw py::error_already_set();
    }
    return made;
}

void bind_bfloat16(py::module_& m) {
    m.def("bfloat16_to_dlpack", &to_dlpack, py::arg("array"), py::arg("versioned"));
    m.def("bfloat16_from_dlpack", &from_dlpack, py::arg("capsule"));
    m.def("to_bfloat16", [](py::object x) { return convert(x, DType::f32, DType::bf16); });
    m.def("from_bfloat16", [](py::object x) { return convert(x, DType::bf16, DType::f32); });
    m.def("is_bfloat16", [](py::object dtype) {
        return py::isinstance<py::dtype>(dtype) && is_bfloat16(py::reinterpret_borrow<py::dtype>(dtype));
    });
    m.def("bfloat16_dtype", [](const std::string& op) {
        return py::reinterpret_borrow<py::dtype>(bfloat16_dtype(op.c_str()));
    });
}

}  // namespace fastconv::bindings
