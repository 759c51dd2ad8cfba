#include <algorithm>

#include "core/bfloat16.h"
#include "ops/pad/kernels.h"

namespace fastconv {
namespace {

// Calls row(offset in the input or -1, offset in the output) for every innermost padded row of one image, in
// order; offsets count elements from the image's start.
template <class Row>
void for_each_row(const PadLoops& loops, int d, int64_t in, int64_t out, const Row& row) {
    if (d == loops.ndim - 1) return row(in, out);
    for (int64_t o = 0; o < loops.out[d]; ++o) {
        const int64_t s = loops.source[d][o];
        int64_t step_in = loops.inner, step_out = loops.inner;
        for (int k = d + 1; k < loops.ndim; ++k) {
            step_in *= loops.in[k];
            step_out *= loops.out[k];
        }
        for_each_row(loops, d + 1, in < 0 || s < 0 ? -1 : in + s * step_in, out + o * step_out, row);
    }
}

// Image sizes of input and output.
struct Sizes {
    int64_t in, out;
    explicit Sizes(const PadLoops& loops) : in(loops.inner), out(loops.inner) {
        for (int d = 0; d < loops.ndim; ++d) {
            in *= loops.in[d];
            out *= loops.out[d];
        }
    }
};

}  // namespace

template <class T>
void pad_reference(const PadLoops& loops, T value, const T* x, T* y, int64_t begin, int64_t end) {
    const Sizes sizes(loops);
    if (loops.ndim == 0) {
        std::copy(x + begin * sizes.in, x + end * sizes.in, y + begin * sizes.in);
        return;
    }
    const int last = loops.ndim - 1;
    const int64_t* source = loops.source[last];
    const int64_t width = loops.out[last], inner = loops.inner;
    for (int64_t b = begin; b < end; ++b)
        for_each_row(loops, 0, 0, 0, [&](int64_t in, int64_t out) {
            const T* from = x + b * sizes.in + in;
            T* to = y + b * sizes.out + out;
            if (in < 0) return void(std::fill(to, to + width * inner, value));
            for (int64_t o = 0; o < width;) {
                if (source[o] < 0) {
                    std::fill(to + o * inner, to + (o + 1) * inner, value);
                    ++o;
                    continue;
                }
                // A stretch of neighbours is one copy.
                int64_t stop = o + 1;
                while (stop < width && source[stop] == source[stop - 1] + 1) ++stop;
                std::copy(from + source[o] * inner, from + (source[o] + stop - o) * inner, to + o * inner);
                o = stop;
            }
        });
}

template <class T>
void pad_backward_reference(const PadLoops& loops, const T* dy, T* dx, int64_t begin, int64_t end) {
    const Sizes sizes(loops);
    if (loops.ndim == 0) {
        std::copy(dy + begin * sizes.in, dy + end * sizes.in, dx + begin * sizes.in);
        return;
    }
    const int last = loops.ndim - 1;
    const int64_t* source = loops.source[last];
    const int64_t width = loops.out[last], inner = loops.inner;
    std::fill(dx + begin * sizes.in, dx + end * sizes.in, narrow<T>(0.0f));
    for (int64_t b = begin; b < end; ++b)
        for_each_row(loops, 0, 0, 0, [&](int64_t in, int64_t out) {
            if (in < 0) return;
            T* to = dx + b * sizes.in + in;
            const T* from = dy + b * sizes.out + out;
            for (int64_t o = 0; o < width;) {
                if (source[o] < 0) {
                    ++o;
                    continue;
                }
                // A stretch of neighbours again; without repetition it is all that these elements get.
                int64_t stop = o + 1;
                while (stop < width && source[stop] == source[stop - 1] + 1) ++stop;
                T* sums = to + source[o] * inner;
                const T* terms = from + o * inner;
                const int64_t count = (stop - o) * inner;
                if (!loops.repeats)
                    std::copy(terms, terms + count, sums);
                else
                    for (int64_t i = 0; i < count; ++i) sums[i] = narrow<T>(widen(sums[i]) + widen(terms[i]));
                o = stop;
            }
        });
}

#define FC_INSTANTIATE(T)                                                            \
    template void pad_reference(const PadLoops&, T, const T*, T*, int64_t, int64_t); \
    template void pad_backward_reference(const PadLoops&, const T*, T*, int64_t, int64_t);
FC_INSTANTIATE(float)
FC_INSTANTIATE(double)
FC_INSTANTIATE(bfloat16)
#undef FC_INSTANTIATE

}  // namespace fastconv
