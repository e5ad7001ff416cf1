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

#include "core/nn/device_attention.h"
#include "core/nn/node.h"
#include "core/nn/short_attention.h"

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

// Neighbouring rows that one call serves: of one length with as many queries each, or short ones of any lengths.
struct Block {
  Group query;
  Group key;
  RowRange rows;
  bool brief = false;
  /// One query a row is the last token, which sees all others.
  bool masks(const AttentionForm& form) const { return form.causal && query.length > 1; }
  /// As many keys as queries: what a kernel's own causal mask takes.
  bool square() const { return query.length == key.length; }
};

std::vector<Block> blocks(const RowLayout& queries, const RowLayout& keys, bool serve_short) {
  std::vector<Block> result;
  result.reserve(keys.groups().size());
  for (int64_t row = 0; row < keys.rows(); ++row) {
    const int64_t asked = queries.length(row), seen = keys.length(row);
    const bool brief = serve_short && seen <= kShortRow;
    auto* last = result.empty() || result.back().brief != brief ? nullptr : &result.back();
    if (last != nullptr && (brief || (last->query.length == asked && last->key.length == seen))) {
      ++last->query.count;
      ++last->key.count;
      ++last->rows.last;
    } else {
      result.push_back({{queries.starts()[row], 1, asked}, {keys.starts()[row], 1, seen}, {row, row + 1}, brief});
    }
  }
  return result;
}

// What each block writes, in one packed tensor; what a single block made is taken as it is.
class PackedWriter {
 public:
  PackedWriter(const at::Tensor& like, const std::vector<Block>& blocks)
      : single_(blocks.size() == 1 && !blocks[0].brief) {
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
  const at::Tensor& whole() const { return out_; }

 private:
  bool single_;
  at::Tensor out_;
};

// [queries, keys] bool: true where the key comes after the query; the last query is the last key's token.
at::Tensor later_tokens(const Block& block, const at::Tensor& like) {
  const auto options = like.options().dtype(at::kBool).requires_grad(false);
  return at::ones({block.query.length, block.key.length}, options).triu(1 + block.key.length - block.query.length);
}

// What is added to the scores where a kernel's own causal mask does not fit.
std::optional<at::Tensor> added_mask(const Block& block, const AttentionForm& form, const at::Tensor& like) {
  if (!block.masks(form) || block.square()) return std::nullopt;
  auto mask = at::zeros({block.query.length, block.key.length}, like.options().requires_grad(false));
  return mask.masked_fill_(later_tokens(block, like), -std::numeric_limits<double>::infinity());
}

// The plain form, for attention dropout and where there is no kernel.
at::Tensor plain_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const RowLayout& queries,
                           const RowLayout& keys, const AttentionForm& form, double dropout_p, Random* random) {
  std::vector<at::Tensor> parts;
  for (const auto& block : blocks(queries, keys, false)) {
    const auto &query = block.query, &key = block.key;
    const int64_t heads = form.heads;
    const bool causal = block.masks(form);
    auto qg = group_view(q, query, heads), kg = group_view(k, key, heads), vg = group_view(v, key, heads);
    if (dropout_p > 0 && random != nullptr) {
      auto scores = at::matmul(qg / std::sqrt(static_cast<double>(qg.size(3))), kg.transpose(2, 3));
      if (causal) scores = scores.masked_fill(later_tokens(block, q), -std::numeric_limits<double>::infinity());
      parts.push_back(packed_rows(at::matmul(dropout(at::softmax(scores, -1), dropout_p, random), vg)));
    } else {
      const auto mask = added_mask(block, form, q);
      parts.push_back(packed_rows(at::scaled_dot_product_attention(qg, kg, vg, mask, 0.0, causal && !mask)));
    }
  }
  return parts.size() == 1 ? parts.front() : at::cat(parts);
}

struct PackedAttentionNode : BackwardNode {
  at::Tensor q, k, v, out;
  std::vector<at::Tensor> logsumexp;
  RowLayout queries, keys;  // copies: the batch may be gone when backward runs
  AttentionForm form{1};

  variable_list backward(const at::Tensor& g) override {
    auto d = row_attention_backward(g, q, k, v, out, logsumexp, queries, keys, form);
    return {d.q, d.k, d.v};
  }
  void release_variables() override {
    logsumexp.clear();
    for (auto* tensor : {&q, &k, &v, &out}) tensor->reset();
  }
};

}  // namespace

bool row_attention_serves(const at::Tensor& q, int64_t heads) {
  return q.device().is_cpu() || device_attention_serves(q, heads);
}

at::Tensor row_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const RowLayout& queries,
                         const RowLayout& keys, const AttentionForm& form, std::vector<at::Tensor>* logsumexp) {
  if (!q.device().is_cpu()) return device_attention(q, k, v, queries, keys, form, logsumexp);
  const int64_t heads = form.heads;
  const auto parts = blocks(queries, keys, short_attention_serves(q, heads));
  PackedWriter out(q, parts);
  at::Tensor brief_sums;  // one for all short rows
  for (const auto& block : parts) {
    if (block.brief) {
      if (logsumexp != nullptr && !brief_sums.defined()) brief_sums = at::empty({q.size(0), heads}, q.options());
      short_attention(q, k, v, queries, keys, block.rows, heads, form.causal, out.whole(), brief_sums);
      if (logsumexp != nullptr) logsumexp->push_back(brief_sums);
      continue;
    }
    const auto mask = added_mask(block, form, q);
    auto [values, sums] = at::_scaled_dot_product_flash_attention_for_cpu(
        group_view(q, block.query, heads), group_view(k, block.key, heads), group_view(v, block.key, heads), 0.0,
        block.masks(form) && !mask, mask);
    out.write(block.query, values);
    if (logsumexp != nullptr) logsumexp->push_back(std::move(sums));
  }
  return out.whole();
}

AttentionGrads row_attention_backward(const at::Tensor& grad, const at::Tensor& q, const at::Tensor& k,
                                      const at::Tensor& v, const at::Tensor& out,
                                      const std::vector<at::Tensor>& logsumexp, const RowLayout& queries,
                                      const RowLayout& keys, const AttentionForm& form) {
  if (!q.device().is_cpu()) return device_attention_backward(grad, q, k, v, out, logsumexp, queries, keys, form);
  const int64_t heads = form.heads;
  const auto parts = blocks(queries, keys, short_attention_serves(q, heads));
  PackedWriter dq(q, parts), dk(k, parts), dv(v, parts);
  const auto g = grad.contiguous();
  for (size_t i = 0; i < parts.size(); ++i) {
    const auto& block = parts[i];
    const auto &query = block.query, &key = block.key;
    if (block.brief) {
      short_attention_backward(g, q, k, v, out, logsumexp[i], queries, keys, block.rows, heads, form.causal, dq.whole(),
                               dk.whole(), dv.whole());
      continue;
    }
    const auto mask = added_mask(block, form, q);
    auto [gq, gk, gv] = at::_scaled_dot_product_flash_attention_for_cpu_backward(
        group_view(g, query, heads), group_view(q, query, heads), group_view(k, key, heads), group_view(v, key, heads),
        group_view(out, query, heads), logsumexp[i], 0.0, block.masks(form) && !mask, mask);
    dq.write(query, gq);
    dk.write(key, gk);
    dv.write(key, gv);
  }
  return {dq.whole(), dk.whole(), dv.whole()};
}

at::Tensor packed_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const RowLayout& queries,
                            const RowLayout& keys, const AttentionForm& form, double dropout_p, Random* random) {
  if ((dropout_p > 0 && random != nullptr) || !row_attention_serves(q, form.heads)) {
    return plain_attention(q, k, v, queries, keys, form, dropout_p, random);
  }
  const WithoutAutograd guard;
  const bool graph = needs_grad(q) || needs_grad(k) || needs_grad(v);
  std::vector<at::Tensor> logsumexp;
  auto out = row_attention(q, k, v, queries, keys, form, graph ? &logsumexp : nullptr);
  if (!graph) return out;
  auto node = make_node<PackedAttentionNode>();
  node->q = q, node->k = k, node->v = v;
  // The node must not own its output: the two would keep each other alive.
  node->out = out.detach();
  node->logsumexp = std::move(logsumexp);
  node->queries = queries, node->keys = keys;
  node->form = form;
  return attach(out, node, q, k, v);
}

}  // namespace ta
