// parallel_for for kernels that are built once per ISA: a thin template over parallel_run, kept inside the
// ISA's namespace so that no two builds share its code.
#pragma once

#include "cpu/simd/simd.h"
#include "cpu/threads.h"

namespace fastconv::FC_ISA_NS {
namespace {

// body(begin, end, worker); see parallel_run.
template <class Body>
inline void parallel_for(int64_t n, int64_t grain, const Body& body, int team = num_threads()) {
    parallel_run(
        n, grain,
        [](void* context, int64_t begin, int64_t end, int worker) {
            (*static_cast<const Body*>(context))(begin, end, worker);
        },
        const_cast<void*>(static_cast<const void*>(&body)), team);
}

}  // namespace
}  // namespace fastconv::FC_ISA_NS
