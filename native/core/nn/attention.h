#pragma once
// softmax(Q Kᵀ / √d) V, head by head, inside each row; tokens of different rows never meet (Vaswani et al. 2017).
// q [query tokens, heads·d], k and v [tokens, heads·d] → [query tokens, heads·d].
// Causal: a token sees itself and the tokens before it. Queries are all of a row's tokens, its last ones, or one.
// No padding, no gather: on the CPU short rows are one call for all of them (short_attention.h), and longer ones of one
// length that stand side by side are one call on a view; a CUDA device takes all rows in one call (device_attention.h).

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

/// Where row_attention has a kernel: on the CPU, and where device_attention.h serves.
bool row_attention_serves(const at::Tensor& q, int64_t heads);

/// Without autograd. `saved` gets what the backward pass reads besides.
at::Tensor row_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const RowLayout& queries,
                         const RowLayout& keys, const AttentionForm& form, std::vector<at::Tensor>* saved);

struct AttentionGrads {
  at::Tensor q, k, v;
};
AttentionGrads row_attention_backward(const at::Tensor& grad, const at::Tensor& q, const at::Tensor& k,
                                      const at::Tensor& v, const at::Tensor& out, const std::vector<at::Tensor>& saved,
                                      const RowLayout& queries, const RowLayout& keys, const AttentionForm& form);

}  // namespace ta
