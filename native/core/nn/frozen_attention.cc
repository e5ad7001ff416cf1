#include "core/nn/attention.h"
#include "core/nn/frozen.h"
#include "core/nn/gemm.h"
#include "core/nn/node.h"

namespace ta {

namespace {

struct AttentionNode : BackwardNode {
  std::vector<at::Tensor> logsumexp;
  at::Tensor q, k, v, context;
  at::Tensor wq, wk, wv, wo;
  RowLayout queries, keys;  // copies: the batch may be gone when backward runs
  AttentionForm form{1};
  bool same = false;  // queries come from the same tensor as keys

  variable_list backward(const at::Tensor& g) override {
    auto d = row_attention_backward(wo.defined() ? times(g, wo) : g, q, k, v, context, logsumexp, queries, keys, form);
    auto dx = times(d.k, wk).add_(times(d.v, wv));
    auto dxq = times(d.q, wq);
    if (same) return {dx.add_(dxq)};
    return {dx, dxq};
  }
  void release_variables() override {
    logsumexp.clear();
    for (auto* tensor : {&q, &k, &v, &context, &wq, &wk, &wv, &wo}) tensor->reset();
  }
};

}  // namespace

at::Tensor frozen_attention(const at::Tensor& xq, const at::Tensor& x, const AttentionWeights& w,
                            const RowLayout& queries, const RowLayout& keys, const AttentionForm& form) {
  const WithoutAutograd guard;
  auto q = affine(xq, w.query.weight, w.query.bias);
  auto k = affine(x, w.key.weight, w.key.bias);
  auto v = affine(x, w.value.weight, w.value.bias);
  const bool graph = needs_grad(x) || needs_grad(xq);
  std::vector<at::Tensor> logsumexp;
  auto context = row_attention(q, k, v, queries, keys, form, graph ? &logsumexp : nullptr);
  auto y = w.output ? affine(context, w.output->weight, w.output->bias) : context;
  if (!graph) return y;
  auto node = make_node<AttentionNode>();
  node->logsumexp = std::move(logsumexp);
  node->q = q, node->k = k, node->v = v;
  // The node must not own its output: the two would keep each other alive.
  node->context = w.output ? context : context.detach();
  node->wq = w.query.weight, node->wk = w.key.weight, node->wv = w.value.weight;
  if (w.output) node->wo = w.output->weight;
  node->queries = queries, node->keys = keys;
  node->form = form;
  node->same = xq.is_same(x);
  return node->same ? attach(y, node, x) : attach(y, node, x, xq);
}

}  // namespace ta
