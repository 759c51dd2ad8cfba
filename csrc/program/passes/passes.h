// Rewrites of a graph that keep what it computes. Each is a file of its own; none depends on another having
// run, but some find more after others: `optimise` has the order.
#pragma once

#include <string>
#include <vector>

#include "program/graph.h"

namespace fastconv::program {

// Takes out nodes whose results nobody reads, and results that nobody reads of nodes that can do without.
void remove_dead_code(Graph& graph);
// Reorders that move nothing become views; reorders and views of one another become one.
void simplify_layout(Graph& graph);
// Arithmetic, but sums, of an array and one that was written out to its shape repeats that one's elements
// itself.
void skip_expansion(Graph& graph);
// Zeros around pictures that only a convolution reads become its padding (inference: the gradient for the
// weights reads the padded picture too).
void join_padding(Graph& graph);
// A batch-norm by fixed statistics, or a sum, difference, product or quotient with a constant (a number, or
// one for each channel), goes into the weights and bias of the convolution, linear layer or batch-norm behind
// which it stands (inference).
void fold_scale_and_shift(Graph& graph);
// An activation, or a sum and then an activation, behind a convolution is applied as it stores its results.
void fuse_conv_epilogue(Graph& graph);
// A ReLU behind a batch-norm, or behind the sum of one and another array, is applied in the same pass, and
// the mask of its gradient in batch-norm's backward pass.
void fuse_batch_norm_relu(Graph& graph);
// Statistics for a batch-norm in training are taken by the convolution in front of it.
void fuse_conv_statistics(Graph& graph);
// A batch-norm, and its ReLU, whose result only convolutions read is applied as they read its input, where
// their algorithms can: the result is never stored.
void fuse_batch_norm_load(Graph& graph);
// The sum of a convolution's or batch-norm's input gradient and another gradient is taken as it is stored.
void fuse_gradient_sum(Graph& graph);
// The mask of a ReLU in front of a pooling of maxima is applied to the gradient before it is spread over the
// windows, by the maxima, so that the larger array need not be kept.
void mask_before_pooling(Graph& graph);
// The gradient of an activation is taken as a convolution's input gradient is stored.
void fuse_activation_gradient(Graph& graph);
// Whether a convolution's input gradient is stored in pieces long enough for that.
bool masks_in_rows(const Graph& graph, const Node& conv);
// The sums that the backward pass of a batch-norm takes of its gradient are taken as a convolution stores
// that.
void fuse_gradient_statistics(Graph& graph);
// A convolution of few channels, its activation and averages over windows of 2x2 become one node, and what
// leads their gradient back to the convolution's gradients is done as those read it. Between such nodes
// arrays have a vector of images side by side.
void pool_in_lanes(Graph& graph);
// A depthwise convolution and the 1x1 ones in front of it and behind it become one node, which goes by rows
// of the image, so that the arrays between them stay in cache (inference).
void fuse_inverted_residual(Graph& graph);
// Arrays that are joined are written where they belong in the joined one, and gradients that are cut read
// where they lie: without copies. It goes last: other passes do not know of pitches.
void join_in_place(Graph& graph);
// What a training step's backward pass reads of cheap results of its forward pass is computed anew where it
// is needed, from what is there anyway: less memory for more time. Only where it is asked for.
void recompute(Graph& graph);
// float32 becomes bfloat16 storage, between casts at the inputs and outputs (inference).
void store_bfloat16(Graph& graph);

// The names of all passes, in the order in which they run.
const std::vector<std::string>& pass_names();
// ShapeError for an unknown one.
void run_pass(Graph& graph, const std::string& name);

}  // namespace fastconv::program
