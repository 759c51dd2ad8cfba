// The layout that a node's attribute names.
#pragma once

#include "program/kind.h"

namespace fastconv::program {

inline Layout layout_of(const Call& c) {
    const std::string& text = c.attributes.get<std::string>("layout");
    if (text == "NCHW") return Layout::nchw;
    if (text == "NHWC") return Layout::nhwc;
    throw ShapeError(message(c.name, ": layout must be 'NCHW' or 'NHWC', got '", text, "'"));
}

}  // namespace fastconv::program
