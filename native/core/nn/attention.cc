#include "core/nn/attention.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu_backward.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <limits>

#include "core/nn/node.h"

namespace ta {

namespace {

using Group = RowLayout::Group;

// [tokens, heads·d] → [rows, heads, length, d], a view.
at::Tensor group_view(const at::Tensor& packed, const Group& group, int64_t heads) {
  const int64_t head_size = packed.size(1) / heads;
  return packed.narrow(0, group.start, group.count * group.length)
      .view({group.count, group.length, heads, head_size})
      .transpose(1, 2);
}

// [rows, heads, length, d] → [tokens, heads·d]; without a copy where the kernel wrote token by token.
at::Tensor packed_rows(const at::Tensor& grouped) {
  return grouped.transpose(1, 2).reshape({grouped.size(0) * grouped.size(2), grouped.size(1) * grouped.size(3)});
}

// Neighbouring rows of one length with as many queries each.
struct Pair {
  Group query;
  Group key;
  /// One query a row is the last token, which sees all others.
  bool masks(const AttentionForm& form) const { return form.causal && query.length > 1; }
  /// As many keys as queries: what a kernel's own causal mask takes.
  bool square() const { return query.length == key.length; }
};

std::vector<Pair> pairs(const RowLayout& queries, const RowLayout& keys) {
  std::vector<Pair> result;
  result.reserve(keys.groups().size());
  for (int64_t row = 0; row < keys.rows(); ++row) {
    const int64_t asked = queries.length(row), seen = keys.length(row);
    if (!result.empty() && result.back().query.length == asked && result.back().key.length == seen) {
      ++result.back().query.count;
      ++result.back().key.count;
    } else {
      result.push_back({{queries.starts()[row], 1, asked}, {keys.starts()[row], 1, seen}});
    }
  }
  return result;
}

// Blocks of tokens, written one after the other into one packed tensor; a single block is taken as it is.
class PackedWriter {
 public:
  explicit PackedWriter(const at::Tensor& like, size_t blocks) : single_(blocks == 1) {
    if (!single_) out_ = at::empty_like(like, at::MemoryFormat::Contiguous);
  }
  void write(const Group& group, const at::Tensor& grouped) {
    if (single_) {
      out_ = packed_rows(grouped);
    } else {
      const int64_t heads = grouped.size(1);
      group_view(out_, group, heads).copy_(grouped);
    }
  }
  at::Tensor take() { return std::move(out_); }

 private:
  bool single_;
  at::Tensor out_;
};

// [queries, keys] bool: true where the key comes after the query; the last query is the last key's token.
at::Tensor later_tokens(const Pair& pair, const at::Tensor& like) {
  const auto options = like.options().dtype(at::kBool).requires_grad(false);
  return at::ones({pair.query.length, pair.key.length}, options).triu(1 + pair.key.length - pair.query.length);
}

// What is added to the scores where a kernel's own causal mask does not fit.
std::optional<at::Tensor> added_mask(const Pair& pair, const AttentionForm& form, const at::Tensor& like) {
  if (!pair.masks(form) || pair.square()) return std::nullopt;
  auto mask = at::zeros({pair.query.length, pair.key.length}, like.options().requires_grad(false));
  return mask.masked_fill_(later_tokens(pair, like), -std::numeric_limits<double>::infinity());
}

// The plain form, for attention dropout and for devices without the CPU kernel.
at::Tensor plain_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const RowLayout& queries,
                           const RowLayout& keys, const AttentionForm& form, double dropout_p, Random* random) {
  std::vector<at::Tensor> blocks;
  for (const auto& pair : pairs(queries, keys)) {
    const auto& [query, key] = pair;
    const int64_t heads = form.heads;
    const bool causal = pair.masks(form);
    auto qg = group_view(q, query, heads), kg = group_view(k, key, heads), vg = group_view(v, key, heads);
    if (dropout_p > 0 && random != nullptr) {
      auto scores = at::matmul(qg / std::sqrt(static_cast<double>(qg.size(3))), kg.transpose(2, 3));
      if (causal) scores = scores.masked_fill(later_tokens(pair, q), -std::numeric_limits<double>::infinity());
      blocks.push_back(packed_rows(at::matmul(dropout(at::softmax(scores, -1), dropout_p, random), vg)));
    } else {
      const auto mask = added_mask(pair, form, q);
      blocks.push_back(packed_rows(at::scaled_dot_product_attention(qg, kg, vg, mask, 0.0, causal && !mask)));
    }
  }
  return blocks.size() == 1 ? blocks.front() : at::cat(blocks);
}

struct FlashNode : BackwardNode {
  at::Tensor q, k, v, out;
  std::vector<at::Tensor> logsumexp;
  RowLayout queries, keys;  // copies: the batch may be gone when backward runs
  AttentionForm form{1};

  variable_list backward(const at::Tensor& g) override {
    auto d = flash_attention_backward(g, q, k, v, out, logsumexp, queries, keys, form);
    return {d.q, d.k, d.v};
  }
  void release_variables() override {
    logsumexp.clear();
    for (auto* tensor : {&q, &k, &v, &out}) tensor->reset();
  }
};

}  // namespace

at::Tensor flash_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const RowLayout& queries,
                           const RowLayout& keys, const AttentionForm& form, std::vector<at::Tensor>* logsumexp) {
  const auto groups = pairs(queries, keys);
  PackedWriter out(q, groups.size());
  const int64_t heads = form.heads;
  for (const auto& pair : groups) {
    const auto& [query, key] = pair;
    const auto mask = added_mask(pair, form, q);
    auto [block, lse] = at::_scaled_dot_product_flash_attention_for_cpu(
        group_view(q, query, heads), group_view(k, key, heads), group_view(v, key, heads), 0.0,
        pair.masks(form) && !mask, mask);
    out.write(query, block);
    if (logsumexp != nullptr) logsumexp->push_back(std::move(lse));
  }
  return out.take();
}

AttentionGrads flash_attention_backward(const at::Tensor& grad, const at::Tensor& q, const at::Tensor& k,
                                        const at::Tensor& v, const at::Tensor& out,
                                        const std::vector<at::Tensor>& logsumexp, const RowLayout& queries,
                                        const RowLayout& keys, const AttentionForm& form) {
  const auto groups = pairs(queries, keys);
  PackedWriter dq(q, groups.size()), dk(k, groups.size()), dv(v, groups.size());
  const auto g = grad.contiguous();
  const int64_t heads = form.heads;
  for (size_t i = 0; i < groups.size(); ++i) {
    const auto& [query, key] = groups[i];
    const auto mask = added_mask(groups[i], form, q);
    auto [gq, gk, gv] = at::_scaled_dot_product_flash_attention_for_cpu_backward(
        group_view(g, query, heads), group_view(q, query, heads), group_view(k, key, heads), group_view(v, key, heads),
        group_view(out, query, heads), logsumexp[i], 0.0, groups[i].masks(form) && !mask, mask);
    dq.write(query, gq);
    dk.write(key, gk);
    dv.write(key, gv);
  }
  return {dq.take(), dk.take(), dv.take()};
}

at::Tensor packed_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const RowLayout& queries,
                            const RowLayout& keys, const AttentionForm& form, double dropout_p, Random* random) {
  if ((dropout_p > 0 && random != nullptr) || !q.device().is_cpu()) {
    return plain_attention(q, k, v, queries, keys, form, dropout_p, random);
  }
  const WithoutAutograd guard;
  const bool graph = needs_grad(q) || needs_grad(k) || needs_grad(v);
  std::vector<at::Tensor> logsumexp;
  auto out = flash_attention(q, k, v, queries, keys, form, graph ? &logsumexp : nullptr);
  if (!graph) return out;
  auto node = c10::make_intrusive<FlashNode>();
  node->q = q, node->k = k, node->v = v;
  // The node must not own its output: the two would keep each other alive.
  node->out = out.detach();
  node->logsumexp = std::move(logsumexp);
  node->queries = queries, node->keys = keys;
  node->form = form;
  return attach(out, node, q, k, v);
}

}  // namespace ta
