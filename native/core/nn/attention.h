#pragma once
// softmax(Q Kᵀ / √d) V, head by head, inside each row; tokens of different rows never meet (Vaswani et al. 2017).
// q [query tokens, heads·d], k and v [tokens, heads·d] → [query tokens, heads·d].
// Causal: a token sees itself and the tokens before it. Queries are all of a row's tokens, its last ones, or one.
// No padding, no gather: on the CPU short rows are one call for all of them (short_attention.h), and longer ones of one
// length that stand side by side are one call on a view.

#include "core/nn/packed_batch.h"
#include "core/nn/random.h"

namespace ta {

struct AttentionForm {
  AttentionForm(int64_t heads, bool causal = false) : heads(heads), causal(causal) {}
  int64_t heads;
  bool causal;
};

/// `queries` and `keys` lay out the same rows; queries may be fewer tokens: where causal a row's last ones.
/// Attention dropout acts where `random` is given. Differentiable in q, k and v.
at::Tensor packed_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const RowLayout& queries,
                            const RowLayout& keys, const AttentionForm& form, double dropout_p, Random* random);

/// On the CPU, without autograd. `logsumexp` gets what the backward pass reads besides.
at::Tensor cpu_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const RowLayout& queries,
                         const RowLayout& keys, const AttentionForm& form, std::vector<at::Tensor>* logsumexp);

struct AttentionGrads {
  at::Tensor q, k, v;
};
AttentionGrads cpu_attention_backward(const at::Tensor& grad, const at::Tensor& q, const at::Tensor& k,
                                      const at::Tensor& v, const at::Tensor& out,
                                      const std::vector<at::Tensor>& logsumexp, const RowLayout& queries,
                                      const RowLayout& keys, const AttentionForm& form);

}  // namespace ta
