// Joining arrays along a dimension, and cutting a gradient into the same pieces.
#pragma once

#include "fastconv/types.h"

namespace fastconv {

// One joined array seen as `outer` rows: `bytes` of each row belong to it.
struct ConcatPiece {
    void* data = nullptr;  // null: this piece is skipped (when cutting)
    int64_t bytes = 0;
    int64_t step = 0;  // bytes from a row to the next; 0: just `bytes`
};

// Copies every piece into the rows of `joined`, in order. Pieces need not be distinct. Rows of `joined` lie
// `step` bytes apart; 0: as long as all pieces' together.
void concat(const ConcatPiece* pieces, int64_t count, int64_t outer, void* joined, int64_t step = 0);

// The reverse: copies the rows of `joined` into the pieces that are not null.
void split(const void* joined, int64_t outer, const ConcatPiece* pieces, int64_t count, int64_t step = 0);

}  // namespace fastconv
