// Few output channels on NCHW arrays: rows of the tile are output channels, lanes the pixels of an output
// row.
#include "cpu/gemm/microkernel.h"
#include "cpu/parallel.h"
#include "ops/conv2d/cpu/common.h"
#include "ops/conv2d/gather.h"

namespace fastconv::FC_ISA_NS {

void shift_run(const ShiftConv& g) {
    const int64_t vectors = ceil_div(g.cols, VL), blocks = ceil_div(vectors, kMaxNV);
    const int64_t work = g.groups * g.width * g.depth * g.cols + 1;
    parallel_for(g.n * g.rows, 100000 / work + 1, [&](int64_t begin, int64_t end, int) {
        for (int64_t item = begin; item < end; ++item) {
            const int64_t n = item / g.rows, i = item % g.rows;
            const float* in = g.in + n * g.in_n + i * g.row_step;
            for (int64_t group = 0; group < g.groups; ++group)
                for (int64_t b = 0; b < blocks; ++b) {
                    const int64_t j0 = b * vectors / blocks * VL, j1 = (b + 1) * vectors / blocks * VL;
                    const int nv = static_cast<int>((j1 - j0) / VL);
                    const int64_t columns = least(g.cols, j1) - j0, mr = rows_for(nv);
                    for (int64_t o = 0; o < g.width; o += mr) {
                        const int64_t rows = least(mr, g.width - o);
                        const float* from[kMaxMR];
                        float* to[kMaxMR];
                        for (int64_t e = 0; e < rows; ++e) {
                            const int64_t channel = group * g.width + o + e;
                            from[e] = g.weight + channel * g.depth;
                            to[e] = g.out + ((n * g.groups * g.width + channel) * g.rows + i) * g.cols + j0;
                        }
                        shift_kernel(static_cast<int>(rows), nv)(
                            {from, in + j0, g.offsets + group * g.depth, g.depth},
                            {to, columns, nullptr, g.bias ? g.bias + group * g.width + o : nullptr, false});
                    }
                }
        }
    });
}

}  // namespace fastconv::FC_ISA_NS
