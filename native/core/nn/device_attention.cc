#include "core/nn/device_attention.h"

#include <ATen/ops/_efficient_attention_backward.h>
#include <ATen/ops/_efficient_attention_forward.h>

namespace ta {

namespace {

// The kernel's names of masks.
constexpr int64_t kNoMask = 0;
constexpr int64_t kCausalFromBottomRight = 2;  // the last query is the last key's token

// [tokens, heads·d] → [1, tokens, heads, d], a view.
at::Tensor heads_view(const at::Tensor& packed, int64_t heads) {
  return packed.unflatten(1, {heads, packed.size(1) / heads}).unsqueeze(0);
}

at::Tensor packed_view(const at::Tensor& grouped) {
  return grouped.squeeze(0).flatten(1);
}

int64_t mask_of(const AttentionForm& form) {
  return form.causal ? kCausalFromBottomRight : kNoMask;
}

}  // namespace

bool device_attention_serves(const at::Tensor& q, int64_t heads) {
  return q.is_cuda() && q.scalar_type() == at::kFloat && q.size(1) / heads % 4 == 0;
}

at::Tensor device_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const RowLayout& queries,
                            const RowLayout& keys, const AttentionForm& form, std::vector<at::Tensor>* saved) {
  const auto query_starts = queries.starts_on(q.device()), key_starts = keys.starts_on(q.device());
  auto [out, logsumexp, seed, offset, longest_query, longest_key] = at::_efficient_attention_forward(
      heads_view(q, form.heads), heads_view(k, form.heads), heads_view(v, form.heads), std::nullopt, query_starts,
      key_starts, queries.longest(), keys.longest(), 0.0, mask_of(form), saved != nullptr);
  if (saved != nullptr) *saved = {logsumexp, seed, offset, query_starts, key_starts};
  return packed_view(out);
}

AttentionGrads device_attention_backward(const at::Tensor& grad, const at::Tensor& q, const at::Tensor& k,
                                         const at::Tensor& v, const at::Tensor& out,
                                         const std::vector<at::Tensor>& saved, const RowLayout& queries,
                                         const RowLayout& keys, const AttentionForm& form) {
  // Keys are not split: sums of splits meet in an order that changes from run to run.
  constexpr int64_t key_splits = 1;
  auto [dq, dk, dv, db] = at::_efficient_attention_backward(
      heads_view(grad.contiguous(), form.heads), heads_view(q, form.heads), heads_view(k, form.heads),
      heads_view(v, form.heads), std::nullopt, heads_view(out, form.heads), saved[3], saved[4], queries.longest(),
      keys.longest(), saved[0], 0.0, saved[1], saved[2], mask_of(form), false, std::nullopt, key_splits);
  return {packed_view(dq), packed_view(dk), packed_view(dv)};
}

}  // namespace ta
