#include "ops/concat/concat.h"

#include <cstring>

#include "cpu/threads.h"

namespace fastconv {
namespace {

constexpr int64_t kGrainBytes = 65536;

// The one walk over rows and pieces that both directions share. A large row is cut into stretches, so that
// joining along the first dimension (one row) has something to share among threads.
struct Walk {
    const ConcatPiece* pieces;
    int64_t count, outer, row_bytes, step, stretch;
    char* joined;
    bool to_joined;

    void run() {
        if (outer == 0 || row_bytes == 0) return;
        const int64_t stretches = (row_bytes + stretch - 1) / stretch;
        const int64_t grain = kGrainBytes / (row_bytes < stretch ? row_bytes : stretch) + 1;
        parallel_run(
            outer * stretches, grain,
            [](void* context, int64_t begin, int64_t end, int) {
                const Walk& w = *static_cast<const Walk*>(context);
                const int64_t per_row = (w.row_bytes + w.stretch - 1) / w.stretch;
                for (int64_t i = begin; i < end; ++i) w.copy(i / per_row, i % per_row * w.stretch);
            },
            this, num_threads());
    }

    // Bytes [from, from + stretch) of a row.
    void copy(int64_t row, int64_t from) const {
        const int64_t until = from + stretch < row_bytes ? from + stretch : row_bytes;
        int64_t start = 0;
        for (int64_t k = 0; k < count && start < until; start += pieces[k].bytes, ++k) {
            const int64_t lo = from > start ? from : start;
            const int64_t stop = start + pieces[k].bytes, hi = until < stop ? until : stop;
            if (lo >= hi || !pieces[k].data) continue;
            const int64_t piece_step = pieces[k].step ? pieces[k].step : pieces[k].bytes;
            char* piece = static_cast<char*>(pieces[k].data) + row * piece_step + (lo - start);
            char* whole = joined + row * step + lo;
            std::memcpy(to_joined ? whole : piece, to_joined ? piece : whole, static_cast<size_t>(hi - lo));
        }
    }
};

void walk(const ConcatPiece* pieces, int64_t count, int64_t outer, void* joined, int64_t step,
          bool to_joined) {
    int64_t row_bytes = 0;
    for (int64_t k = 0; k < count; ++k) row_bytes += pieces[k].bytes;
    if (!step) step = row_bytes;
    Walk{pieces, count, outer, row_bytes, step, 4 * kGrainBytes, static_cast<char*>(joined), to_joined}.run();
}

}  // namespace

void concat(const ConcatPiece* pieces, int64_t count, int64_t outer, void* joined, int64_t step) {
    walk(pieces, count, outer, joined, step, true);
}

void split(const void* joined, int64_t outer, const ConcatPiece* pieces, int64_t count, int64_t step) {
    walk(pieces, count, outer, const_cast<void*>(joined), step, false);
}

}  // namespace fastconv
