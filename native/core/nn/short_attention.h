#pragma once
// softmax(Q Kᵀ / √d) V of short rows on the CPU: every (row, head) of a batch in one call, rows of different lengths
// side by side. libtorch's kernel takes rows of one length at a time and makes several small products of each with a
// library whose calls cost more than the products; here they are loops over vectors of eight floats.

#include "core/nn/packed_batch.h"

namespace ta {

/// Rows first ≤ row < last of both layouts.
struct RowRange {
  int64_t first, last;
};

/// True where the kernel can serve q: CPU, float, heads of a multiple of 8 numbers up to 128.
bool short_attention_serves(const at::Tensor& q, int64_t heads);
/// The most keys of a row that is faster here than with libtorch's kernel, whatever the processor.
inline constexpr int64_t kShortRow = 64;

/// q, k, v [tokens, heads·d], which may be columns of something wider; writes the rows' tokens of `out` (contiguous).
/// `logsumexp` [query tokens, heads] is written where it is defined.
void short_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const RowLayout& queries,
                     const RowLayout& keys, RowRange rows, int64_t heads, bool causal, const at::Tensor& out,
                     const at::Tensor& logsumexp);

/// Writes the rows' tokens of dq, dk and dv (contiguous).
void short_attention_backward(const at::Tensor& grad, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                              const at::Tensor& out, const at::Tensor& logsumexp, const RowLayout& queries,
                              const RowLayout& keys, RowRange rows, int64_t heads, bool causal, const at::Tensor& dq,
                              const at::Tensor& dk, const at::Tensor& dv);

}  // namespace ta
