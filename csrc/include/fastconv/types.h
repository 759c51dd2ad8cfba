// Element types, layouts and shapes: the words that every op's interface is written in.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

namespace fastconv {

enum class DType : uint8_t { f32, f64, u8, i32, i64, bf16 };
enum class Layout : uint8_t { nchw, nhwc };

inline const char* name(DType t) {
    constexpr const char* names[] = {"float32", "float64", "uint8", "int32", "int64", "bfloat16"};
    return names[static_cast<int>(t)];
}
inline const char* name(Layout l) { return l == Layout::nchw ? "NCHW" : "NHWC"; }

inline int64_t size_of(DType t) {
    constexpr int64_t sizes[] = {4, 8, 1, 4, 8, 2};
    return sizes[static_cast<int>(t)];
}

// The upper half of a float32: a storage type, converted to float32 for arithmetic (core/bfloat16.h).
struct bfloat16 {
    uint16_t bits;
};

inline constexpr int kMaxDims = 8;

// The sizes of an array, outermost first. A value type: no allocation.
struct Shape {
    int ndim = 0;
    std::array<int64_t, kMaxDims> dims{};

    Shape() = default;
    Shape(std::initializer_list<int64_t> values) {
        for (int64_t v : values) dims[static_cast<size_t>(ndim++)] = v;
    }
    int64_t operator[](int i) const { return dims[static_cast<size_t>(i)]; }
    int64_t& operator[](int i) { return dims[static_cast<size_t>(i)]; }
    const int64_t* begin() const { return dims.data(); }
    const int64_t* end() const { return dims.data() + ndim; }
    bool operator==(const Shape& o) const {
        if (ndim != o.ndim) return false;
        for (int i = 0; i < ndim; ++i)
            if ((*this)[i] != o[i]) return false;
        return true;
    }
    bool operator!=(const Shape& o) const { return !(*this == o); }
};

// "(2, 3, 32, 32)", as NumPy prints a shape.
std::string to_string(const Shape& shape);

// A C-contiguous array that somebody else owns. With a pitch its last dimension is a slice of a longer one:
// rows lie `pitch` elements apart. Only functions that say so take such arrays.
struct TensorView {
    void* data = nullptr;
    DType dtype = DType::f32;
    Shape shape;
    int64_t pitch = 0;

    template <class T>
    T* as() const {
        return static_cast<T*>(data);
    }
};

}  // namespace fastconv
