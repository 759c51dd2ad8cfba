// Dropout whose mask is a function of a key and each element's position, so that it is never stored.
#pragma once

#include <cstdint>

#include "fastconv/types.h"

namespace fastconv {

// y = x * m, with m = 0 for dropped elements and 1 / (1 - p) for kept ones (0 for all where p is 1). The
// backward pass is the same call on the gradient. Element e is dropped where word e of the stream is below p
// 2^32. The stream: Philox-4x32-10 (Salmon et al., SC 2011) keyed by `key`; words come in blocks of 64 from
// 16 counters, so that word 64 b + 16 j + l is output j of counter 16 b + l.
void dropout(const TensorView& x, double p, uint64_t key, const TensorView& y);

}  // namespace fastconv
