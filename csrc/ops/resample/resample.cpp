#include "ops/resample/resample.h"

#include <cstring>

#include "core/checks.h"
#include "core/memory.h"
#include "cpu/threads.h"
#include "ops/resample/kernels.h"

namespace fastconv {
namespace {

constexpr int64_t kGrainBytes = 65536;

// Copies of whole lines of `bytes`, several at once where neighbours stay neighbours.
struct Copies {
    const ResampleTable& table;
    int64_t bytes;
    const char* from;
    char* to;

    // The input that output o copies; -1 for none.
    int64_t source(int64_t o) const {
        return table.begin[o] < table.begin[o + 1] ? table.index[table.begin[o]] : -1;
    }

    // Outputs [begin, end) counted through all rows.
    void run(int64_t begin, int64_t end) const {
        while (begin < end) {
            const int64_t n = begin / table.outputs, o = begin % table.outputs;
            const int64_t left = table.outputs - o, until = o + (left < end - begin ? left : end - begin);
            row(from + n * table.inputs * bytes, to + n * table.outputs * bytes, o, until);
            begin += until - o;
        }
    }
    void row(const char* x, char* y, int64_t o, int64_t until) const {
        if (bytes == 1) return elements<uint8_t>(x, y, o, until);
        if (bytes == 2) return elements<uint16_t>(x, y, o, until);
        if (bytes == 4) return elements<uint32_t>(x, y, o, until);
        if (bytes == 8) return elements<uint64_t>(x, y, o, until);
        while (o < until) {
            const int64_t s = source(o);
            int64_t stop = o + 1;
            while (stop < until && source(stop) == (s < 0 ? -1 : s + stop - o)) ++stop;
            const size_t size = static_cast<size_t>((stop - o) * bytes);
            if (s < 0)
                std::memset(y + o * bytes, 0, size);
            else
                std::memcpy(y + o * bytes, x + s * bytes, size);
            o = stop;
        }
    }
    template <class T>
    void elements(const char* x, char* y, int64_t o, int64_t until) const {
        const T* in = reinterpret_cast<const T*>(x);
        T* out = reinterpret_cast<T*>(y);
        for (; o < until; ++o) {
            const int64_t s = source(o);
            out[o] = s < 0 ? T{0} : in[s];
        }
    }
};

void copy(const ResampleTable& table, int64_t outer, int64_t bytes, const void* x, void* y) {
    const Copies copies{table, bytes, static_cast<const char*>(x), static_cast<char*>(y)};
    parallel_run(
        outer * table.outputs, kGrainBytes / bytes + 1,
        [](void* context, int64_t begin, int64_t end, int) {
            static_cast<const Copies*>(context)->run(begin, end);
        },
        const_cast<void*>(static_cast<const void*>(&copies)), num_threads());
}

}  // namespace

bool ResampleTable::copies() const {
    for (int64_t o = 0; o < outputs; ++o)
        if (begin[o + 1] - begin[o] > 1) return false;
    for (int64_t t = 0; weight && t < taps(); ++t)
        if (weight[t] != 1) return false;
    return true;
}

ResampleTable resample_table(const char* op, int64_t inputs, const TensorView& begin, const TensorView& index,
                             const TensorView& weight) {
    require_dtype(op, "begin", begin.dtype, DType::i64);
    require_dtype(op, "index", index.dtype, DType::i64);
    require_ndim(op, "begin", begin.shape, 1);
    require_ndim(op, "index", index.shape, 1);
    ResampleTable table{inputs, begin.shape[0] - 1, begin.as<int64_t>(), index.as<int64_t>(), nullptr};
    const int64_t taps = index.shape[0];
    bool rises = table.outputs >= 0 && table.begin[0] == 0 && table.begin[table.outputs] == taps;
    for (int64_t o = 0; rises && o < table.outputs; ++o) rises = table.begin[o] <= table.begin[o + 1];
    if (!rises) throw ShapeError(message(op, ": begin must rise from 0 to the ", taps, " taps of index"));
    for (int64_t t = 0; t < taps; ++t)
        if (table.index[t] < 0 || table.index[t] >= inputs)
            throw ShapeError(
                message(op, ": index ", table.index[t], " is outside of a dimension of size ", inputs));
    if (weight.data || weight.shape.ndim) {
        require_dtype(op, "weight", weight.dtype, DType::f64);
        require_shape(op, "weight", weight.shape, index.shape);
        table.weight = weight.as<double>();
    }
    return table;
}

Shape resample_shape(const char* op, const Shape& input, int64_t dim, int64_t outputs) {
    if (dim < 0 || dim >= input.ndim)
        throw ShapeError(message(op, ": dim ", dim, " does not exist in shape ", to_string(input)));
    Shape shape = input;
    shape[static_cast<int>(dim)] = outputs;
    element_count(op, shape);
    return shape;
}

void resample(const char* op, const ResampleTable& table, int64_t dim, const TensorView& x,
              const TensorView& y) {
    const bool copies = table.copies();
    if (!copies) require_float(op, "input", x.dtype);
    if (element_count(op, y.shape) == 0) return;
    int64_t outer = 1, inner = 1;
    for (int d = 0; d < x.shape.ndim; ++d) (d < dim ? outer : inner) *= d == dim ? 1 : x.shape[d];
    if (copies) return copy(table, outer, inner * size_of(x.dtype), x.data, y.data);
    if (x.dtype == DType::f64) return resample_reference(table, outer, inner, x.as<double>(), y.as<double>());
    const Workspace weights(static_cast<size_t>(table.taps()) * sizeof(float));
    float* weight = weights.as<float>();
    for (int64_t t = 0; t < table.taps(); ++t)
        weight[t] = table.weight ? static_cast<float>(table.weight[t]) : 1.0f;
    if (x.dtype == DType::bf16)
        return FC_ISA_PICK(resample_bf16)(table, weight, outer, inner, x.as<bfloat16>(), y.as<bfloat16>());
    FC_ISA_PICK(resample_f32)(table, weight, outer, inner, x.as<float>(), y.as<float>());
}

}  // namespace fastconv
