#pragma once
// The frozen pieces of a transformer layer, each one autograd node with its backward pass written out. Autograd
// alone would record some twenty nodes a layer and keep what only weight gradients need; here a node saves what the
// input gradient reads, and nothing at all where the input needs none. The layers' plain forms (Layer::forward,
// packed_attention) give the same numbers; tests compare the two.

#include <optional>

#include "core/nn/activation.h"
#include "core/nn/attention.h"
#include "core/nn/layer_norm.h"
#include "core/nn/linear.h"
#include "core/nn/packed_batch.h"

namespace ta {

/// A frozen linear map, wherever its tensors come from: weight [out, in], which may be a view; bias [out].
struct Affine {
  Affine(const Linear& layer) : weight(layer.weight), bias(layer.bias) {}
  Affine(at::Tensor weight, at::Tensor bias) : weight(std::move(weight)), bias(std::move(bias)) {}
  at::Tensor weight, bias;
};

/// softmax(xq Wqᵀ · (x Wkᵀ)ᵀ / √d) (x Wvᵀ) Woᵀ with biases, all weights frozen, no dropout, CPU.
/// xq [query tokens, hidden], x [tokens, hidden] → [query tokens, hidden]. Without Wo: what the heads give.
struct AttentionWeights {
  Affine query, key, value;
  std::optional<Affine> output;
};
at::Tensor frozen_attention(const at::Tensor& xq, const at::Tensor& x, const AttentionWeights& weights,
                            const RowLayout& queries, const RowLayout& keys, const AttentionForm& form);

/// act(x W1ᵀ + b1) W2ᵀ + b2, both layers frozen, act with a fused backward.  x [tokens, hidden] → [tokens, hidden].
at::Tensor frozen_feed_forward(const at::Tensor& x, const Affine& in, ActivationKind act, const Affine& out);

/// LN(h + r), in one node where the LayerNorm is frozen.  h, r [tokens, hidden].
at::Tensor add_norm(const at::Tensor& h, const at::Tensor& r, LayerNorm& norm);

}  // namespace ta
