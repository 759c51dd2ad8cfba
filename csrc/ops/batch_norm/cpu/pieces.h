// How the kernels walk over the pieces of a split, and the order in which partial sums become totals.
#pragma once

#include "cpu/parallel.h"
#include "cpu/simd/simd.h"
#include "cpu/simd/unrolled.h"
#include "ops/batch_norm/kernels.h"

namespace fastconv::FC_ISA_NS {
namespace {

constexpr int64_t kGrainElements = 16384;
constexpr int64_t kChannelBlock = 64;
// Elements from what is read to what is prefetched, in channels-last arrays.
constexpr int64_t kRowsAhead = 4096;

// Channels-last arrays are passed over in tiles: the lines or sums of some vectors of lanes stay in registers
// for some rows, which together have about so many elements. kNarrow where a lane has more than four values.
constexpr int kWide = VL == 16 ? 8 : 4, kNarrow = kWide / 2;
constexpr int64_t kSumTile = 4096, kWriteTile = 1024;

alignas(64) constexpr float kOnes[16] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};

// A number of rows as a type.
template <int N>
struct Count {
    static constexpr int value = N;
};

// inner > 1: `planes` stretches of n values, the first at offset `at` from the channel's plane in image
// `image`. inner == 1: `planes` rows from row `image` on, of `fold` pixels each. `count` values a lane.
struct Piece {
    int64_t image, at, planes, n, fold, count;
};
inline Piece piece_of(const BatchNormSplit& s, int64_t i) {
    if (s.view.inner == 1) {
        const int64_t row = i * s.length, left = s.rows - row;
        if (left <= 0) return {s.rows, 0, 1, 0, s.short_fold, 1};
        const int64_t rows = left < s.length ? left : s.length;
        return {row, 0, rows, 0, s.fold, rows};
    }
    if (s.segments > 1) {
        const int64_t at = i % s.segments * s.length, left = s.view.inner - at;
        const int64_t n = left < s.length ? left : s.length;
        return {i / s.segments, at, 1, n, 1, n};
    }
    const int64_t image = i * s.group, left = s.view.outer - image;
    const int64_t planes = left < s.group ? left : s.group;
    return {image, 0, planes, s.view.inner, 1, planes * s.view.inner};
}

// add(c - c0, index of the partial, values in the piece) for the channels [c0, c1), piece by piece.
template <class Add>
inline void for_partials(const BatchNormSplit& s, int64_t c0, int64_t c1, const Add& add) {
    for (int64_t i = 0; i < s.pieces; ++i) {
        const Piece p = piece_of(s, i);
        const double n = static_cast<double>(p.count);
        for (int64_t f = 0; f < p.fold; ++f) {
            const int64_t at = i * s.lanes + f * s.view.channels + c0;
            for (int64_t k = 0; k < c1 - c0; ++k) add(k, at + k, n);
        }
    }
}

// body(c0, c1) for [begin, end) in blocks of at most kChannelBlock channels.
template <class Body>
inline void in_blocks(int64_t begin, int64_t end, const Body& body) {
    for (int64_t c = begin; c < end; c += kChannelBlock)
        body(c, c + kChannelBlock < end ? c + kChannelBlock : end);
}

// The steps of a job in their order: sums of every piece, totals and lines of every channel, and the pass
// that writes. Kernel has sum_plane(piece index, piece, channel), sum_rows(piece index, piece, first lane,
// lanes), total(c0, c1), write_plane(image, channel, first value, values, elements ahead of which to
// prefetch) and write_rows(row, rows, lanes, rows from the end of these to those that are written next).
template <class Kernel>
inline void run_job(const BatchNormJob& job, const Kernel& kernel, bool writes) {
    const BatchNormSplit& s = job.split;
    const int64_t channels = s.view.channels, outer = s.view.outer, inner = s.view.inner;
    const auto finish = [&](int64_t begin, int64_t end) {
        in_blocks(begin, end, [&](int64_t c0, int64_t c1) { kernel.total(c0, c1); });
        job.finish(job.context, begin, end);
    };
    const auto all_channels = [&] {
        const int64_t blocks = (channels + kChannelBlock - 1) / kChannelBlock;
        const int64_t work = s.pieces * s.fold * kChannelBlock;
        parallel_for(blocks, kGrainElements / (work + 1) + 1, [&](int64_t begin, int64_t end, int) {
            const int64_t last = end * kChannelBlock;
            finish(begin * kChannelBlock, last < channels ? last : channels);
        });
    };
    if (inner == 1) {
        if (job.sums) {
            parallel_for(s.pieces, kGrainElements / (s.length * s.lanes) + 1,
                         [&](int64_t begin, int64_t end, int) {
                             for (int64_t i = begin; i < end; ++i) {
                                 const Piece p = piece_of(s, i);
                                 kernel.sum_rows(i, p, p.fold * channels);
                             }
                         });
            all_channels();
        }
        if (!writes) return;
        // From the end back, what was read last is still in a cache; by stretches, because row by row
        // backwards is no stream that the processor would follow.
        const int64_t all = s.rows + (s.short_fold ? 1 : 0),
                      stretch = (kGrainElements / s.lanes + 15) / 16 * 16 + (s.lanes > kGrainElements);
        const int64_t stretches = (all + stretch - 1) / stretch;
        parallel_for(stretches, 1, [&](int64_t begin, int64_t end, int) {
            for (int64_t k = begin; k < end; ++k) {
                const int64_t from = (job.sums ? stretches - 1 - k : k) * stretch, left = all - from;
                const int64_t last = from + (left < stretch ? left : stretch);
                const int64_t full = last < s.rows ? last : s.rows;
                kernel.write_rows(from, full - from, s.lanes, job.sums ? from - stretch - last : 0);
                if (last > s.rows) kernel.write_rows(s.rows, 1, s.short_fold * channels, 0);
            }
            if (job.streaming) streaming_fence();
        });
        return;
    }
    if (job.slab && job.sums) {
        const int64_t slabs = (channels + job.slab - 1) / job.slab;
        parallel_for(slabs, kGrainElements / (job.slab * outer * inner) + 1,
                     [&](int64_t begin, int64_t end, int) {
                         for (int64_t k = begin; k < end; ++k) {
                             const int64_t c0 = k * job.slab, last = c0 + job.slab;
                             const int64_t c1 = last < channels ? last : channels;
                             for (int64_t i = 0; i < s.pieces; ++i)
                                 for (int64_t c = c0; c < c1; ++c) kernel.sum_plane(i, piece_of(s, i), c);
                             finish(c0, c1);
                             if (!writes) continue;
                             const bool more = job.prefetch && k + 1 < end;
                             for (int64_t o = outer - 1; o >= 0; --o)
                                 for (int64_t c = c0; c < c1; ++c)
                                     kernel.write_plane(o, c, 0, inner, more ? job.slab * inner : 0);
                         }
                         if (job.streaming) streaming_fence();
                     });
        return;
    }
    if (job.sums) {
        const int64_t work = s.length * s.group;
        parallel_for(s.pieces * channels, kGrainElements / work + 1, [&](int64_t begin, int64_t end, int) {
            for (int64_t k = begin; k < end; ++k) {
                // The segments of a plane are neighbours in memory, the planes of an image next.
                const int64_t c = k / s.segments % channels, o = k / s.segments / channels;
                const int64_t i = o * s.segments + k % s.segments;
                kernel.sum_plane(i, piece_of(s, i), c);
            }
        });
        all_channels();
    }
    if (!writes) return;
    const int64_t stretches = outer * channels * s.segments;
    parallel_for(stretches, kGrainElements / s.length + 1, [&](int64_t begin, int64_t end, int) {
        for (int64_t k = begin; k < end; ++k) {
            const int64_t i = job.sums ? stretches - 1 - k : k;
            const int64_t plane = i / s.segments, at = i % s.segments * s.length, left = inner - at;
            kernel.write_plane(plane / channels, plane % channels, at, left < s.length ? left : s.length, 0);
        }
        if (job.streaming) streaming_fence();
    });
}

// The line at p, for the second-level cache; p need not be an address of the program's.
template <class T>
inline void prefetch(const T* p) {
    __builtin_prefetch(p, 0, 2);
}

// An array whose rows are read, `pitch` elements apart, and prefetched `ahead` elements before that; `jump`:
// from the row behind the last to the row that is read next.
template <class T>
struct Source {
    const T* at;
    int64_t pitch, ahead, jump;
};
template <class T>
inline Source<T> rows_from(const T* at, int64_t pitch, int64_t lanes, int64_t jump) {
    return {at, pitch, (kRowsAhead / (lanes + 1) + 1) * pitch, jump * pitch};
}

// What the tiles of a block of rows prefetch: `lanes` elements of each of its rows, in memory order.
template <class T>
struct Ahead {
    const T* next;
    int64_t column,
        pitch;  // from a lane to the next; from a row to the next, or 0 where rows follow each other
    Ahead(const Source<T>& s, int64_t row, int64_t block, int64_t rows, int64_t lanes)
        : next(s.at + row * s.pitch + s.ahead + (row * s.pitch + s.ahead < rows * s.pitch ? 0 : s.jump)),
          column(s.pitch == lanes ? block : 1),
          pitch(s.pitch == lanes ? 0 : s.pitch) {}
    // From a row of a tile of so many lanes to the next.
    int64_t step(int64_t width) const { return pitch ? pitch : width; }
};

// body(number of vectors as a type, first lane, nothing or a tail) for all lanes.
template <int W, class Body>
inline void in_vectors(int64_t lanes, const Body& body) {
    int64_t k = 0;
    for (; k + W * VL <= lanes; k += W * VL) body(Count<W>{}, k);
    if constexpr (W > 4)
        for (; k + 4 * VL <= lanes; k += 4 * VL) body(Count<4>{}, k);
    for (; k + VL <= lanes; k += VL) body(Count<1>{}, k);
    if (k < lanes) body(Count<1>{}, k, tail(lanes - k));
}
// body(first row, rows) for blocks of rows of about `elements`.
template <class Body>
inline void in_row_blocks(int64_t rows, int64_t lanes, int64_t elements, const Body& body) {
    const int64_t block = lanes < elements ? elements / lanes : 1;
    for (int64_t r = 0; r < rows; r += block) body(r, r + block < rows ? block : rows - r);
}

// Writes n values value(i) or value(i, tail), past the caches where `streaming`.
template <class T, class Value>
inline void write_run(T* out, int64_t n, bool streaming, const Value& value) {
    int64_t i = 0;
    if (!streaming) {
        for (; i + 2 * VL <= n; i += 2 * VL) {
            const vf a = value(i), b = value(i + VL);
            store(out + i, a);
            store(out + i + VL, b);
        }
        for (; i + VL <= n; i += VL) store(out + i, value(i));
    } else {
        constexpr int64_t kBytes = VL * static_cast<int64_t>(sizeof(T));
        const int64_t off = static_cast<int64_t>(reinterpret_cast<uintptr_t>(out)) % kBytes;
        if (off) {
            const int64_t head = (kBytes - off) / static_cast<int64_t>(sizeof(T));
            i = head < n ? head : n;
            store(out, value(0, tail(i)), tail(i));
        }
        for (; i + VL <= n; i += VL) store_streaming(out + i, value(i));
    }
    if (i < n) store(out + i, value(i, tail(n - i)), tail(n - i));
}

template <bool Streaming, class T>
inline void put(T* to, vf v) {
    if constexpr (Streaming)
        store_streaming(to, v);
    else
        store(to, v);
}
template <bool Streaming, class T>
inline void put(T* to, vf v, Tail t) {
    store(to, v, t);
}

template <bool Streaming, bool Two, int Most, class T, class Lines, class Value>
inline void write_tiles(T* out, int64_t rows, int64_t lanes, int64_t pitch, const Source<T>& a,
                        const Source<T>& b, const Lines& lines, const Value& value) {
    in_row_blocks(rows, lanes, kWriteTile, [&](int64_t first, int64_t count) {
        const Ahead<T> ahead_a(a, first, count, rows, lanes), ahead_b(b, first, count, rows, lanes);
        in_vectors<Most>(lanes, [&](auto width, int64_t k, auto... t) FC_INLINE {
            constexpr int W = decltype(width)::value;
            decltype(lines(k, t...)) line[W];
            unrolled<W>([&](auto i) FC_INLINE { line[i] = lines(k + i * VL, t...); });
            const T *next_a = ahead_a.next + k * ahead_a.column, *next_b = ahead_b.next + k * ahead_b.column;
            const int64_t step_a = ahead_a.step(W * VL), step_b = ahead_b.step(W * VL);
            T* to = out + first * pitch + k;
            for (int64_t r = first; r < first + count; ++r, to += pitch, next_a += step_a, next_b += step_b)
                unrolled<W>([&](auto i) FC_INLINE {
                    prefetch(next_a + i * VL);
                    if constexpr (Two) prefetch(next_b + i * VL);
                    put<Streaming>(to + i * VL, value(r, k + i * VL, line[i], t...), t...);
                });
        });
    });
}

// Writes rows of values, `pitch` elements apart: value(row, lane, line, nothing or a tail) where line is what
// lines(lane, nothing or a tail) gives, in tiles of up to Most vectors, while `a` and, if
// Two, `b` are prefetched.
template <bool Two, int Most, class T, class Lines, class Value>
inline void write_block(T* out, int64_t rows, int64_t lanes, int64_t pitch, bool streaming,
                        const Source<T>& a, const Source<T>& b, const Lines& lines, const Value& value) {
    constexpr int64_t kBytes = VL * static_cast<int64_t>(sizeof(T));
    if (!streaming) return write_tiles<false, Two, Most>(out, rows, lanes, pitch, a, b, lines, value);
    if (reinterpret_cast<uintptr_t>(out) % kBytes == 0 && (rows == 1 || pitch % VL == 0))
        return write_tiles<true, Two, Most>(out, rows, lanes, pitch, a, b, lines, value);
    for (int64_t r = 0; r < rows; ++r)
        write_run(out + r * pitch, lanes, true, [&](int64_t k, auto... t) FC_INLINE {
            prefetch(a.at + r * a.pitch + k + a.ahead);
            if constexpr (Two) prefetch(b.at + r * b.pitch + k + b.ahead);
            return value(r, k, lines(k, t...), t...);
        });
}

}  // namespace
}  // namespace fastconv::FC_ISA_NS
