// One line an op that has nodes: its csrc/ops/<op>/program.cpp adds their kinds to the list.
#pragma once

#include <vector>

#include "program/kind.h"

namespace fastconv::program {

using KindList = std::vector<NodeKind>;

void add_memory_kinds(KindList& list);  // reshape, transpose, cast, fill: csrc/program/memory_kinds.cpp
void add_activation_kinds(KindList& list);
void add_batch_norm_kinds(KindList& list);
void add_concat_kinds(KindList& list);
void add_conv2d_kinds(KindList& list);
void add_dropout_kinds(KindList& list);
void add_elementwise_kinds(KindList& list);
void add_gather_kinds(KindList& list);
void add_linear_kinds(KindList& list);
void add_local_response_norm_kinds(KindList& list);
void add_matmul_kinds(KindList& list);
void add_optimizer_kinds(KindList& list);
void add_pad_kinds(KindList& list);
void add_pool2d_kinds(KindList& list);
void add_reduce_kinds(KindList& list);
void add_resample_kinds(KindList& list);
void add_softmax_loss_kinds(KindList& list);

}  // namespace fastconv::program
