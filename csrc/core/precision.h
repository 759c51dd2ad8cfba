// How exact float32 arithmetic has to be: one switch for the whole process.
#pragma once

#include <string>

namespace fastconv {

enum class Precision {
    highest,  // direct float32 arithmetic only
    high,     // also algorithms whose relative RMS error stays within 5e-6 (Winograd)
    medium,   // bfloat16 or TF32 arithmetic allowed
};

Precision precision() noexcept;
void set_precision(Precision p) noexcept;

const char* name(Precision p);
// ShapeError for an unknown name.
Precision precision_from_name(const std::string& name);

}  // namespace fastconv
