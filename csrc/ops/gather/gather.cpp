#include "ops/gather/gather.h"

#include <algorithm>

#include "core/bfloat16.h"
#include "core/checks.h"
#include "core/widened.h"
#include "cpu/threads.h"

namespace fastconv {
namespace {

constexpr int64_t kGrain = 16384;  // elements
constexpr int64_t kColumns = 64;   // of the last dimension that a piece of a scatter takes

struct Loops {
    int64_t outer, length, places, inner;
    int64_t outer_step, place_step, inner_step;  // through the places
    const int64_t* place;

    int64_t at(int64_t a, int64_t m, int64_t b) const {
        return place[a * outer_step + m * place_step + b * inner_step];
    }
};

Loops loops_of(const char* op, const Shape& x, const TensorView& places) {
    const Shape& p = places.shape;
    const int64_t inner_step = p[2] > 1 ? 1 : 0;
    const Loops loops{
        x[0], x[1], p[1], x[2], p[0] > 1 ? p[1] * p[2] : 0, p[2], inner_step, places.as<int64_t>()};
    const int64_t count = element_count(op, p);
    for (int64_t i = 0; i < count; ++i)
        if (loops.place[i] < 0 || loops.place[i] >= loops.length)
            throw ShapeError(message(op, ": place ", loops.place[i], " is outside of the ", loops.length,
                                     " elements there are"));
    return loops;
}

template <class Body>
void for_range(int64_t n, int64_t grain, const Body& body) {
    parallel_run(
        n, grain,
        [](void* context, int64_t begin, int64_t end, int) {
            (*static_cast<const Body*>(context))(begin, end);
        },
        const_cast<void*>(static_cast<const void*>(&body)), num_threads());
}

template <class T>
void gather_rows(const Loops& l, const T* x, T* y) {
    for_range(l.outer * l.places, kGrain / std::max<int64_t>(l.inner, 1) + 1,
              [&](int64_t begin, int64_t end) {
                  for (int64_t i = begin; i < end; ++i) {
                      const int64_t a = i / l.places, m = i % l.places;
                      const T* from = x + a * l.length * l.inner;
                      T* to = y + i * l.inner;
                      for (int64_t b = 0; b < l.inner; ++b) to[b] = from[l.at(a, m, b) * l.inner + b];
                  }
              });
}

// Each piece has its own columns of one outer index, so that no two threads write the same element.
template <class T>
void scatter_columns(const Loops& l, Meeting meeting, const T* y, T* x) {
    const int64_t blocks = (l.inner + kColumns - 1) / kColumns;
    const int64_t each = (l.length + l.places) * std::min(l.inner, kColumns);
    for_range(l.outer * blocks, kGrain / std::max<int64_t>(each, 1) + 1, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
            const int64_t a = i / blocks, first = i % blocks * kColumns;
            const int64_t last = std::min(first + kColumns, l.inner);
            T* to = x + a * l.length * l.inner;
            for (int64_t p = 0; p < l.length; ++p)
                std::fill(to + p * l.inner + first, to + p * l.inner + last, T{});
            for (int64_t m = 0; m < l.places; ++m) {
                const T* from = y + (a * l.places + m) * l.inner;
                for (int64_t b = first; b < last; ++b) {
                    T& target = to[l.at(a, m, b) * l.inner + b];
                    target = meeting == Meeting::sum ? static_cast<T>(target + from[b]) : from[b];
                }
            }
        }
    });
}

}  // namespace

Shape gather_shape(const char* op, const Shape& x, const Shape& places) {
    require_ndim(op, "input", x, 3);
    require_ndim(op, "places", places, 3);
    for (int d : {0, 2})
        if (places[d] != 1 && places[d] != x[d])
            throw ShapeError(
                message(op, ": places ", to_string(places), " do not fit the input ", to_string(x)));
    const Shape shape{x[0], places[1], x[2]};
    element_count(op, shape);
    return shape;
}

void gather(const char* op, const TensorView& x, const TensorView& places, const TensorView& y) {
    const Loops loops = loops_of(op, x.shape, places);
    if (element_count(op, y.shape) == 0) return;
    visit_float(op, x.dtype, [&](auto t) {
        using T = decltype(t);
        gather_rows(loops, x.as<T>(), y.as<T>());
    });
}

void scatter(const char* op, Meeting meeting, const TensorView& y, const TensorView& places,
             const TensorView& x) {
    const Loops loops = loops_of(op, x.shape, places);
    if (element_count(op, x.shape) == 0) return;
    if (x.dtype == DType::bf16) {
        const WidenedOut out(op, x);
        scatter_columns(loops, meeting, WidenedIn(op, y).view().as<float>(), out.view().as<float>());
        return out.round();
    }
    if (x.dtype == DType::f64) return scatter_columns(loops, meeting, y.as<double>(), x.as<double>());
    scatter_columns(loops, meeting, y.as<float>(), x.as<float>());
}

}  // namespace fastconv
