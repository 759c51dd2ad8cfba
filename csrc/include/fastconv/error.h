// The error classes of the C++ core. The Python bindings translate each to the class of the same name.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace fastconv {

class Error : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};
class ShapeError : public Error {
    using Error::Error;
};
class DTypeError : public Error {
    using Error::Error;
};
class DeviceError : public Error {
    using Error::Error;
};
class FormatError : public Error {
    using Error::Error;
};

// Joins its arguments into one string: message("conv2d: got ", n, " channels").
template <class... Args>
std::string message(const Args&... args) {
    std::ostringstream out;
    (out << ... << args);
    return out.str();
}

}  // namespace fastconv
