// Loops of a length known when compiling, written out by the templates. An array of accumulators that only
// constants index lives in registers; with `#pragma GCC unroll` it may be unrolled too late for that, and is
// then kept in memory and loaded and stored around every loop.
#pragma once

#include <utility>

#define FC_INLINE __attribute__((always_inline))

namespace fastconv::FC_ISA_NS {
namespace {

template <int I>
struct Index {
    static constexpr int value = I;
    constexpr operator int() const { return I; }
};

template <class F, int... I>
FC_INLINE inline void unrolled(const F& f, std::integer_sequence<int, I...>) {
    (f(Index<I>{}), ...);
}

// f(0), f(1), ..., f(N - 1). Write f as [&](auto i) FC_INLINE { ... }.
template <int N, class F>
FC_INLINE inline void unrolled(const F& f) {
    unrolled(f, std::make_integer_sequence<int, N>{});
}

// f(i, j) for i < M, j < N, row by row.
template <int M, int N, class F>
FC_INLINE inline void unrolled(const F& f) {
    unrolled<M>([&](auto i) FC_INLINE { unrolled<N>([&](auto j) FC_INLINE { f(i, j); }); });
}

}  // namespace
}  // namespace fastconv::FC_ISA_NS
