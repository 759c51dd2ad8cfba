// Inverted residuals by stripes of rows. A worker keeps the widened rows that its next stripe reads too.
#include "ops/conv2d/inverted.h"

#include "cpu/parallel.h"
#include "ops/conv2d/cpu/depthwise_kernels.h"

namespace fastconv::FC_ISA_NS {
namespace {

// Rows of image `n` that a worker's buffer holds.
struct Held {
    int64_t n, begin, end;
};

// Bytes: the workers' parts lie as far apart in every such node, so that a part is in its worker's caches.
// What the other processor holds is written at a fifth of the speed.
constexpr int64_t kShare = 512 << 10;

int64_t lines_of(int64_t bytes) { return (bytes + 63) / 64 * 64; }

// A worker's memory, in bytes.
struct Room {
    int64_t gather, zeros, wide, deep, total;
    explicit Room(const InvertedRows& s) {
        const DepthwiseNhwc& d = s.depthwise;
        const auto floats = [](int64_t count) {
            return lines_of(count * static_cast<int64_t>(sizeof(float)));
        };
        int64_t at = lines_of(sizeof(Held));
        gather = at,
        at += lines_of(most(static_cast<int64_t>(s.expand.scratch), static_cast<int64_t>(s.project.scratch)));
        zeros = at, at += floats(most(s.expand ? s.expand.g.depth : 0, s.project ? s.project.g.depth : 0));
        wide = at, at += s.expand ? floats(s.input_rows() * d.w * d.c) : 0;
        deep = at, at += s.project ? floats(s.rows * d.q * d.c) : 0;
        total = ceil_div(at, kShare) * kShare;
    }
};

void run_rows(const PointwiseRows& p, const float* in, float* out, int64_t rows, char* scratch,
              float* zeros) {
    GatherConv g = p.g;
    g.in = in, g.out = out;
    g.h = g.rows = rows;
    g.in_n = rows * g.in_h, g.out_n = rows * g.out_h;
    const GatherClass one{&g, p.packed};
    gather_run(&one, 1, scratch, zeros, 1);
}

}  // namespace

size_t inverted_scratch(const InvertedRows& s, int team) {
    return static_cast<size_t>(Room(s).total) * static_cast<size_t>(team);
}

void inverted_run(const InvertedRows& s, char* scratch, int team) {
    const DepthwiseNhwc& d = s.depthwise;
    const Room room(s);
    const int64_t stripes = ceil_div(d.p, s.rows), row = d.w * d.c;
    for (int worker = 0; worker < team; ++worker)
        *reinterpret_cast<Held*>(scratch + worker * room.total) = {-1, 0, 0};
    parallel_for(
        d.n * stripes, 1,
        [&](int64_t begin, int64_t end, int worker) {
            char* const mine = scratch + worker * room.total;
            Held& held = *reinterpret_cast<Held*>(mine);
            float *const zeros = reinterpret_cast<float*>(mine + room.zeros),
                         *const wide = reinterpret_cast<float*>(mine + room.wide),
                         *const deep = reinterpret_cast<float*>(mine + room.deep);
            for (int64_t item = begin; item < end; ++item) {
                const int64_t n = item / stripes, p0 = item % stripes * s.rows, p1 = least(d.p, p0 + s.rows);
                const float* x = s.x;
                if (s.expand) {
                    const int64_t h0 = most(0, p0 * d.stride_h - d.pad_h);
                    const int64_t h1 = least(d.h, (p1 - 1) * d.stride_h - d.pad_h + d.r);
                    const bool goes_on = held.n == n && held.begin <= h0 && h0 < held.end && held.end <= h1;
                    const int64_t from = goes_on ? held.end : h0;
                    if (goes_on && held.begin < h0)
                        copy_floats(wide, wide + (h0 - held.begin) * row, (from - h0) * row);
                    const int64_t in_row = s.expand.g.in_h;
                    if (from < h1)
                        run_rows(s.expand, s.x + (n * d.h + from) * in_row, wide + (from - h0) * row,
                                 h1 - from, mine + room.gather, zeros);
                    held = {n, h0, h1};
                    x = wide - (n * d.h + h0) * row;
                }
                float* const y = s.project ? deep - (n * d.p + p0) * d.q * d.c : s.y;
                depthwise_fprop_rows(d, x, s.filters, s.bias, y, n, p0, p1);
                if (s.project)
                    run_rows(s.project, deep, s.y + (n * d.p + p0) * s.project.g.out_h, p1 - p0,
                             mine + room.gather, zeros);
            }
        },
        team);
}

}  // namespace fastconv::FC_ISA_NS
