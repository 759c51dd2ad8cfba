// Attributes as the ops' parameters want them.
#pragma once

#include <array>

#include "program/kind.h"

namespace fastconv::program {

inline Layout layout_of(const Call& c) {
    const std::string& text = c.attributes.get<std::string>("layout");
    if (text == "NCHW") return Layout::nchw;
    if (text == "NHWC") return Layout::nhwc;
    throw ShapeError(message(c.name, ": layout must be 'NCHW' or 'NHWC', got '", text, "'"));
}

inline std::array<int64_t, 2> pair_of(const Call& c, const char* name) {
    const auto& values = c.attributes.get<std::vector<int64_t>>(name);
    if (values.size() != 2) throw ShapeError(message(c.name, ": ", name, " must be a pair"));
    return {values[0], values[1]};
}

// The attribute `shape`.
inline Shape shape_of(const Call& c) {
    const auto& sizes = c.attributes.get<std::vector<int64_t>>("shape");
    Shape shape;
    if (sizes.size() > kMaxDims)
        throw ShapeError(message(c.name, ": at most ", kMaxDims, " dimensions, got ", sizes.size()));
    for (int64_t s : sizes) shape.dims[static_cast<size_t>(shape.ndim++)] = s;
    return shape;
}

}  // namespace fastconv::program
