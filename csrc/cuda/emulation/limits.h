#pragma once

#include <cstddef>

namespace fastconv::cuda::emulation {

// Of sm_90: what one block may have.
constexpr size_t max_shared_bytes = 227 * 1024;

}  // namespace fastconv::cuda::emulation
