#include "core/exported/prefix_hooks.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

#include "core/exported/attend.h"
#include "core/exported/hooks.h"
#include "core/exported/mixed_precision.h"
#include "core/exported/prefix_front.h"
#include "core/exported/row_order.h"
#include "core/nn/layer_context.h"

namespace ta::exported {

namespace {

// What a mask has in front: nothing that hides, but what shorter prefixes do not have.
at::Tensor front_mask(const at::Tensor& mask, const at::Tensor& seen, int64_t rows, int64_t length) {
  auto sizes = mask.sizes().vec();
  while (sizes.size() < 4) sizes.insert(sizes.begin(), 1);
  sizes.back() = length;
  if (seen.defined()) sizes[0] = rows;
  const bool is_bool = mask.scalar_type() == at::kBool;
  auto front = is_bool ? at::ones(sizes, mask.options()) : at::zeros(sizes, mask.options());
  if (!seen.defined()) return front;
  const auto hidden = seen.logical_not().view({rows, 1, 1, length});
  return is_bool ? front.masked_fill(hidden, false)
                 : front.masked_fill(hidden, -std::numeric_limits<double>::infinity());
}

at::Tensor with_front(at::Tensor mask, const at::Tensor& seen, const AttentionInputs& own, int64_t length) {
  if (!mask.defined() && !seen.defined()) return mask;
  const int64_t rows = own.q.size(0), tokens = own.k.size(-2);
  if (!mask.defined()) mask = at::ones({1, 1, 1, tokens}, own.q.options().dtype(at::kBool));
  while (mask.dim() < 4) mask = mask.unsqueeze(0);
  auto sizes = mask.sizes().vec();
  if (seen.defined()) sizes[0] = rows;
  sizes.back() = tokens;
  return at::cat({front_mask(mask, seen, rows, length), mask.expand(sizes)}, -1);
}

// As four axes, which a mask of three has, too, or can be spread to.
void part(AttentionInputs& inputs, const PartedHeads& joined) {
  const int64_t count = inputs.q.size(0);
  for (auto* one : {&inputs.q, &inputs.k, &inputs.v}) *one = heads_apart(*one, joined);
  auto& mask = inputs.mask;
  if (!mask.defined() || mask.dim() != 3) return;
  mask = mask.size(0) == count ? heads_apart(mask, joined) : mask.unsqueeze(0);
}

bool attend_behind_prefixes(const PrefixPlace& place, const PrefixPlace::Attention& at, Execution& execution,
                            const Pass& pass) {
  const LayerContext here(pass.context, place.layer->layer);
  if (!place.layer->acts(here)) return false;
  auto inputs = attention_inputs(execution, at.node);
  if (at.joined) part(inputs, *at.joined);
  const auto front = front_at(place, at, pass, here);
  const int64_t length = front.k.size(1);
  if (inputs.causal) {
    const int64_t tokens = inputs.k.size(-2);
    inputs.mask = at::ones({inputs.q.size(-2), tokens}, inputs.q.options().dtype(at::kBool)).tril();
    inputs.causal = false;
  }
  inputs.mask = with_front(inputs.mask, front.seen, inputs, length);
  inputs.k = at::cat({in_heads(front.k, at.heads, inputs.k.size(1)), inputs.k}, 2);
  inputs.v = at::cat({in_heads(front.v, at.heads, inputs.v.size(1)), inputs.v}, 2);
  auto y = attend(inputs, pass.context.random);
  if (at.joined) y = rows_first(y, *at.joined).flatten(0, 1);
  const int32_t out = execution.program().graph().nodes[at.node].outputs[0];
  execution.set(out, as_slot(execution, out, y));
  return true;
}

// Whether some prefix of the pass has a gate in this layer.
bool has_gate(const PrefixLayer& layer, const ForwardContext& here) {
  if (!layer.acts(here)) return false;
  bool any = false;
  for (const auto& segment : *here.segments) {
    if (!segment.setup) continue;
    segment.setup->visit([&](const Composition& one) {
      any = any || (one.kind == Composition::Kind::adapter && layer.gates().module(one.index) != nullptr);
    });
  }
  return any;
}

// What keys are made of is gone where they are read: it is kept by the first node that reads it.
void add_gate_hook(Program& program, const Tree& tree, const PrefixPlace& place, const PrefixPlace::Attention& at,
                   bool source) {
  const auto& graph = program.graph();
  if (at.input < 0) return;
  const auto& users = graph.slots[at.input].users;
  const auto first =
      std::find_if(users.begin(), users.end(), [&](int32_t user) { return makes_tensor(graph, graph.nodes[user]); });
  if (first == users.end()) return;
  const auto& streams = tree.streams();
  const auto order = row_order(graph, source ? streams.source : streams.tokens, at.input);
  program.hook(tree.product_at(*first), [&place, &at, source, order](Execution& execution, const void* p) {
    const auto& pass = static_cast<const Pass*>(p)->side(source);
    const LayerContext here(pass.context, place.layer->layer);
    if (!has_gate(*place.layer, here)) return false;
    auto x = widened(execution.tensor(at.input));
    if (order == RowOrder::tokens) x = x.reshape({pass.rows.columns(), pass.rows.rows(), x.size(-1)}).transpose(0, 1);
    pass.left[reader_of_keys(at)] = {pass.rows.pack(x)};
    return false;
  });
}

}  // namespace

Front front_at(const PrefixPlace& place, const PrefixPlace::Attention& at, const Pass& pass, const LayerContext& here) {
  at::Tensor x;
  if (const auto found = pass.left.find(reader_of_keys(at)); found != pass.left.end()) {
    x = found->second.front();
    pass.left.erase(found);
  }
  auto front = front_of(*place.layer, x, pass.rows.layout(), here);
  if (at.heads == place.heads) return front;
  for (auto* side : {&front.k, &front.v}) *side = side->narrow(2, at.first * place.size, at.heads * place.size);
  return front;
}

int32_t reader_of_keys(const PrefixPlace::Attention& at) {
  return at.written ? at.written->scores : at.node;
}

at::Tensor keys_of(const PrefixPlace::Attention& at, const Execution& execution) {
  if (!at.written) return attention_inputs(execution, at.node).k;
  return execution.tensor(at.written->key).permute(at.written->axes.key);
}

void add_gate_hooks(Program& program, const Tree& tree, const std::vector<PrefixPlace>& places) {
  for (const auto& place : places)
    for (const auto& at : place.attentions) add_gate_hook(program, tree, place, at, of_source(program, tree, at.input));
}

void add_prefix_hooks(Program& program, const Tree& tree, const std::vector<PrefixPlace>& places) {
  for (const auto& place : places) {
    for (const auto& at : place.attentions) {
      const bool source = of_source(program, tree, at.input);
      if (at.written) {
        add_written_prefix(program, place, at, source);
        continue;
      }
      program.hook({at.node, at.node}, [&place, at, source](Execution& execution, const void* p) {
        return attend_behind_prefixes(place, at, execution, static_cast<const Pass*>(p)->side(source));
      });
    }
  }
}

}  // namespace ta::exported
