// Nodes that compute nothing: views, reorders, conversions, constants.
#include <cstring>

#include "core/bfloat16.h"
#include "core/checks.h"
#include "cpu/layout/convert.h"
#include "ops/elementwise/elementwise.h"
#include "program/parse.h"
#include "program/permute.h"
#include "program/registry.h"

namespace fastconv::program {
namespace {

std::vector<Type> reshape_infer(const Call& c) {
    c.operands(1, 1);
    const Shape shape = shape_of(c);
    if (element_count(c.name, shape) != element_count(c.name, c.in[0].shape))
        throw ShapeError(message(c.name, ": ", to_string(c.in[0].shape), " does not fit ", to_string(shape)));
    return {{c.in[0].dtype, shape}};
}

std::vector<Type> transpose_infer(const Call& c) {
    c.operands(1, 1);
    const auto& dims = c.attributes.get<std::vector<int64_t>>("dims");
    const Shape& in = c.in[0].shape;
    Shape shape = in;
    bool seen[kMaxDims] = {};
    if (static_cast<int>(dims.size()) != in.ndim)
        throw ShapeError(message(c.name, ": dims must name ", in.ndim, " dimensions"));
    for (int i = 0; i < in.ndim; ++i) {
        const int64_t d = dims[static_cast<size_t>(i)];
        if (d < 0 || d >= in.ndim || seen[d])
            throw ShapeError(message(c.name, ": dims must name every dimension once"));
        seen[d] = true;
        shape[i] = in[static_cast<int>(d)];
    }
    return {{c.in[0].dtype, shape}};
}

std::unique_ptr<Step> transpose_prepare(const Call& c) {
    const Permutation p(c.in[0].dtype, c.in[0].shape, c.attributes.get<std::vector<int64_t>>("dims"));
    return make_step([p](const Frame& f) { p.run(f.in[0], f.out[0]); });
}

DType dtype_from_name(const std::string& text) {
    for (DType t : {DType::f32, DType::f64, DType::u8, DType::i32, DType::i64, DType::bf16})
        if (text == name(t)) return t;
    throw DTypeError("program: there is no element type '" + text + "'");
}

std::vector<Type> cast_infer(const Call& c) {
    c.operands(1, 1);
    const DType to = dtype_from_name(c.attributes.get<std::string>("dtype"));
    if (c.in[0].dtype == DType::i64 || to == DType::i64) {
        const DType other = to == DType::i64 ? c.in[0].dtype : to;
        if (other != DType::f32 && other != DType::f64)
            throw DTypeError(
                message(c.name, ": from ", name(c.in[0].dtype), " to ", name(to), " is not possible"));
        return {{to, c.in[0].shape}};
    }
    require_float(c.name, "input", c.in[0].dtype);
    require_float(c.name, "dtype", to);
    return {{to, c.in[0].shape}};
}

template <class From, class To>
void convert(const void* from, void* to, int64_t count) {
    const From* a = static_cast<const From*>(from);
    To* b = static_cast<To*>(to);
    for (int64_t i = 0; i < count; ++i) b[i] = static_cast<To>(a[i]);
}

// Towards zero, as NumPy; the least integer for NaN and what no int64 can be.
template <class From>
void to_integers(const void* from, void* to, int64_t count) {
    const From* a = static_cast<const From*>(from);
    int64_t* b = static_cast<int64_t*>(to);
    const From limit = From(9223372036854775808.0);
    for (int64_t i = 0; i < count; ++i)
        b[i] = a[i] >= -limit && a[i] < limit ? static_cast<int64_t>(a[i]) : INT64_MIN;
}

std::unique_ptr<Step> cast_prepare(const Call& c) {
    const DType from = c.in[0].dtype, to = c.out[0].dtype;
    const int64_t count = element_count(c.name, c.in[0].shape);
    if (from == to)
        return make_step([bytes = static_cast<size_t>(bytes_of(c.in[0]))](const Frame& f) {
            if (bytes) std::memcpy(f.out[0], f.in[0], bytes);
        });
    if (from == DType::f32 && to == DType::f64)
        return make_step([count](const Frame& f) { convert<float, double>(f.in[0], f.out[0], count); });
    if (from == DType::i64 && to == DType::f32)
        return make_step([count](const Frame& f) { convert<int64_t, float>(f.in[0], f.out[0], count); });
    if (from == DType::i64 && to == DType::f64)
        return make_step([count](const Frame& f) { convert<int64_t, double>(f.in[0], f.out[0], count); });
    if (from == DType::f32 && to == DType::i64)
        return make_step([count](const Frame& f) { to_integers<float>(f.in[0], f.out[0], count); });
    if (from == DType::f64 && to == DType::i64)
        return make_step([count](const Frame& f) { to_integers<double>(f.in[0], f.out[0], count); });
    if (from == DType::f64 && to == DType::f32)
        return make_step([count](const Frame& f) { convert<double, float>(f.in[0], f.out[0], count); });
    if (from == DType::f32 && to == DType::bf16)
        return make_step([count](const Frame& f) {
            FC_ISA_PICK(convert_f32_to_bf16)
            (static_cast<const float*>(f.in[0]), static_cast<bfloat16*>(f.out[0]), count);
        });
    if (from == DType::bf16 && to == DType::f32)
        return make_step([count](const Frame& f) {
            FC_ISA_PICK(convert_bf16_to_f32)
            (static_cast<const bfloat16*>(f.in[0]), static_cast<float*>(f.out[0]), count);
        });
    throw DTypeError(message(c.name, ": from ", name(from), " to ", name(to), " is not possible"));
}

std::vector<Type> fill_infer(const Call& c) {
    c.operands(0, 0);
    return {{dtype_from_name(c.attributes.get<std::string>("dtype")), shape_of(c)}};
}

std::unique_ptr<Step> fill_prepare(const Call& c) {
    const double value = c.attributes.number("value");
    const int64_t count = element_count(c.name, c.out[0].shape);
    const DType type = c.out[0].dtype;
    return make_step([=](const Frame& f) {
        for (int64_t i = 0; i < count; ++i) {
            if (type == DType::f32) static_cast<float*>(f.out[0])[i] = static_cast<float>(value);
            if (type == DType::f64) static_cast<double*>(f.out[0])[i] = value;
            if (type == DType::bf16)
                static_cast<bfloat16*>(f.out[0])[i] = to_bfloat16(static_cast<float>(value));
            if (type == DType::i64) static_cast<int64_t*>(f.out[0])[i] = static_cast<int64_t>(value);
        }
    });
}

// Batches seen so far, and the like.
std::vector<Type> increment_infer(const Call& c) {
    c.operands(1, 1);
    require_dtype(c.name, "counter", c.in[0].dtype, DType::i64);
    return {};
}
std::unique_ptr<Step> increment_prepare(const Call& c) {
    const int64_t count = element_count(c.name, c.in[0].shape);
    return make_step([count](const Frame& f) {
        for (int64_t i = 0; i < count; ++i) ++static_cast<int64_t*>(f.in[0])[i];
    });
}

// Gradients of several pieces of a batch: accumulate(sum, value) adds to an array that lives across runs,
// clear(sum) empties it.
std::vector<Type> accumulate_infer(const Call& c) {
    c.operands(2, 2);
    require_float(c.name, "sum", c.in[0].dtype);
    require_dtype(c.name, "value", c.in[1].dtype, c.in[0].dtype);
    require_shape(c.name, "value", c.in[1].shape, c.in[0].shape);
    return {};
}
std::unique_ptr<Step> accumulate_prepare(const Call& c) {
    return make_step([type = c.in[0]](const Frame& f) {
        const TensorView sum = view_of(type, f.in[0]);
        binary(Binary::add, sum, view_of(type, f.in[1]), sum);
    });
}
std::vector<Type> clear_infer(const Call& c) {
    c.operands(1, 1);
    return {};
}
std::unique_ptr<Step> clear_prepare(const Call& c) {
    return make_step([bytes = static_cast<size_t>(bytes_of(c.in[0]))](const Frame& f) {
        if (bytes) std::memset(f.in[0], 0, bytes);
    });
}

// Ends a run whose loss is no number, before anything that follows it has changed.
std::vector<Type> guard_infer(const Call& c) {
    c.operands(1, 1);
    require_float(c.name, "input", c.in[0].dtype);
    return {};
}
class Guard final : public Step {
  public:
    explicit Guard(const Type& type) : type_(type), count_(element_count("stop_unless_finite", type.shape)) {}
    bool run(const Frame& f) const override {
        for (int64_t i = 0; i < count_; ++i) {
            double v = 0;
            if (type_.dtype == DType::f32) v = static_cast<const float*>(f.in[0])[i];
            if (type_.dtype == DType::f64) v = static_cast<const double*>(f.in[0])[i];
            if (type_.dtype == DType::bf16) v = to_float(static_cast<const bfloat16*>(f.in[0])[i]);
            if (!(v - v == 0)) return false;
        }
        return true;
    }

  private:
    Type type_;
    int64_t count_;
};
std::unique_ptr<Step> guard_prepare(const Call& c) { return std::make_unique<Guard>(c.in[0]); }

}  // namespace

void add_memory_kinds(KindList& list) {
    list.push_back({"reshape", reshape_infer, nullptr, 0, 0});
    list.push_back({"transpose", transpose_infer, transpose_prepare, 0, 0});
    list.push_back({"cast", cast_infer, cast_prepare, 0, 0});
    list.push_back({"fill", fill_infer, fill_prepare, 0, 0});
    list.push_back({"increment", increment_infer, increment_prepare, 1u, 0});
    list.push_back({"accumulate", accumulate_infer, accumulate_prepare, 1u, 0});
    list.push_back({"clear", clear_infer, clear_prepare, 1u, 0});
    list.push_back({"stop_unless_finite", guard_infer, guard_prepare, 0, 0, 0, true});
}

}  // namespace fastconv::program
