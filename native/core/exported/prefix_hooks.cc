#include "core/exported/prefix_hooks.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

#include "core/exported/attend.h"
#include "core/exported/hooks.h"
#include "core/exported/prefix_front.h"
#include "core/exported/row_order.h"
#include "core/nn/layer_context.h"

namespace ta::exported {

namespace {

bool is_attention(const Node& node) {
  return node.operator_name() == "aten.scaled_dot_product_attention.default";
}

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

bool attend_behind_prefixes(const PrefixPlace& place, const PrefixPlace::Attention& at, Execution& execution,
                            const Pass& pass) {
  const LayerContext here(pass.context, place.layer->layer);
  if (!place.layer->acts(here)) return false;
  auto inputs = attention_inputs(execution, at.node);
  const auto front = front_of(*place.layer, gate_input(at, pass), pass.rows.layout(), here);
  const int64_t length = front.k.size(1);
  if (inputs.causal) {
    const int64_t tokens = inputs.k.size(-2);
    inputs.mask = at::ones({inputs.q.size(-2), tokens}, inputs.q.options().dtype(at::kBool)).tril();
    inputs.causal = false;
  }
  inputs.mask = with_front(inputs.mask, front.seen, inputs, length);
  inputs.k = at::cat({in_heads(front.k, place.heads, inputs.k.size(1)), inputs.k}, 2);
  inputs.v = at::cat({in_heads(front.v, place.heads, inputs.v.size(1)), inputs.v}, 2);
  execution.set(execution.program().graph().nodes[at.node].outputs[0], attend(inputs, pass.context.random));
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
  program.hook({*first, *first}, [&place, &at, source, order](Execution& execution, const void* p) {
    const auto& pass = static_cast<const Pass*>(p)->side(source);
    const LayerContext here(pass.context, place.layer->layer);
    if (!has_gate(*place.layer, here)) return false;
    auto x = execution.tensor(at.input);
    if (order == RowOrder::tokens) x = x.reshape({pass.rows.columns(), pass.rows.rows(), x.size(-1)}).transpose(0, 1);
    pass.left[reader_of_keys(at)] = {pass.rows.pack(x)};
    return false;
  });
}

}  // namespace

at::Tensor gate_input(const PrefixPlace::Attention& at, const Pass& pass) {
  const auto found = pass.left.find(reader_of_keys(at));
  if (found == pass.left.end()) return {};
  const auto x = found->second.front();
  pass.left.erase(found);
  return x;
}

std::optional<KeyForm> key_form(const Graph& graph, const SubLayer& sub, int32_t& stopped) {
  if (!sub.core) return std::nullopt;
  const auto& core = *sub.core;
  stopped = core.node;
  if (!is_attention(graph.nodes[core.node])) {
    const auto& stream = graph.slots[sub.out].shape;
    const auto written = stream.empty() ? std::nullopt : read_attention(graph, core, stream[0], stopped);
    return written ? std::optional(KeyForm{written->key_heads, written->size, written}) : std::nullopt;
  }
  const auto& shape = graph.slots[core.key].shape;
  if (shape.size() != 4 || shape[1].number < 1 || shape[3].number < 1) return std::nullopt;
  if (graph.slots[core.value].shape.size() != 4 || graph.slots[core.value].shape[3] != shape[3]) return std::nullopt;
  return KeyForm{heads_before_repeat(graph, core.key, shape[1].number), shape[3].number};
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
