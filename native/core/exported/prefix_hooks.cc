#include "core/exported/prefix_hooks.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

#include "core/error.h"
#include "core/exported/attend.h"
#include "core/exported/hooks.h"
#include "core/nn/layer_context.h"

namespace ta::exported {

namespace {

/// What stands in front of the keys of each row, [rows, p, features]; shorter ones begin with what `seen` [rows, p]
/// says no to. Undefined: all is seen.
struct Front {
  at::Tensor k, v, seen;
};

/// The prefixes of one run of rows, the one that comes first in front of the tokens.
struct Part {
  struct Prefix {
    const at::Tensor* keys;  ///< values stand right behind them
    at::Tensor gate;         ///< [rows, 1 or 2]; undefined: none
    double dropout;
  };
  std::vector<Prefix> prefixes;
  int64_t rows = 0, length = 0;
};

Part part_of(const PrefixLayer& layer, const RowSegment& segment, const at::Tensor& x, const RowLayout& x_rows,
             const ForwardContext& context) {
  Part part{{}, segment.last - segment.first, 0};
  if (!segment.setup) return part;
  segment.setup->visit([&](const Composition& one) {
    const auto* keys =
        one.kind == Composition::Kind::adapter ? context.prefixes->keys(one.index, layer.layer) : nullptr;
    if (keys == nullptr) return;
    Part::Prefix prefix{keys, {}, context.prefixes->dropout(one.index)};
    if (const auto gate = std::static_pointer_cast<PrefixGate>(layer.gates().module(one.index))) {
      if (!x.defined())
        fail(ErrorCode::unsupported, "forward", "what a gate of a prefix reads was not found in this graph",
             {.expected = "a prefix without a gate"});
      const int64_t from = x_rows.starts()[segment.first], to = x_rows.starts()[segment.last];
      prefix.gate = gate->forward(x.narrow(0, from, to - from), x_rows.rows(segment.first, segment.last));
    }
    part.length += keys->size(0);
    part.prefixes.insert(part.prefixes.begin(), std::move(prefix));
  });
  return part;
}

// which: 0 keys, 1 values.   [rows, p, features]
at::Tensor side_of(const Part& part, int which, int64_t longest, const at::Tensor& like, Random* random) {
  std::vector<at::Tensor> pieces;
  if (part.length < longest)
    pieces.push_back(at::zeros({part.rows, longest - part.length, like.size(1)}, like.options()));
  for (const auto& [keys, gate, p] : part.prefixes) {
    const auto& one = keys[which];
    auto own = one.unsqueeze(0).expand({part.rows, one.size(0), one.size(1)});
    if (gate.defined()) own = own * gate.select(1, which == 0 ? 0 : -1).view({part.rows, 1, 1});
    pieces.push_back(dropout(own, p, random));
  }
  return pieces.size() == 1 ? pieces[0] : at::cat(pieces, 1);
}

Front front_of(const PrefixLayer& layer, const at::Tensor& x, const RowLayout& x_rows, const ForwardContext& context) {
  std::vector<Part> parts;
  for (const auto& segment : *context.segments) parts.push_back(part_of(layer, segment, x, x_rows, context));
  const auto& longest =
      *std::max_element(parts.begin(), parts.end(), [](const Part& a, const Part& b) { return a.length < b.length; });
  const auto& like = *longest.prefixes[0].keys;
  std::vector<at::Tensor> k, v, seen;
  for (const auto& part : parts) {
    k.push_back(side_of(part, 0, longest.length, like, context.random));
    v.push_back(side_of(part, 1, longest.length, like, context.random));
    const auto flags = like.options().dtype(at::kBool);
    seen.push_back(at::cat(
        {at::zeros({part.rows, longest.length - part.length}, flags), at::ones({part.rows, part.length}, flags)}, 1));
  }
  const bool alike =
      std::all_of(parts.begin(), parts.end(), [&](const Part& part) { return part.length == longest.length; });
  return {at::cat(k), at::cat(v), alike ? at::Tensor() : at::cat(seen)};
}

bool is(const Graph& graph, int32_t node, std::string_view name) {
  return node >= 0 && graph.nodes[node].operator_name() == name;
}

// [rows, p, heads · d] → [rows, heads of the queries, p, d]
at::Tensor in_heads(const at::Tensor& front, const PrefixPlace& place, int64_t heads) {
  auto split = front.view({front.size(0), front.size(1), place.heads, place.size}).transpose(1, 2);
  return place.heads == heads ? split : split.repeat_interleave(heads / place.heads, 1);
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
  // What the keys were made of; where nobody reads it behind them it is gone.
  at::Tensor x;
  if (at.input >= 0 && execution.has(at.input)) x = pass.rows.pack(execution.tensor(at.input));
  const auto front = front_of(*place.layer, x, pass.rows.layout(), here);
  const int64_t length = front.k.size(1);
  if (inputs.causal) {
    const int64_t tokens = inputs.k.size(-2);
    inputs.mask = at::ones({inputs.q.size(-2), tokens}, inputs.q.options().dtype(at::kBool)).tril();
    inputs.causal = false;
  }
  inputs.mask = with_front(inputs.mask, front.seen, inputs, length);
  inputs.k = at::cat({in_heads(front.k, place, inputs.k.size(1)), inputs.k}, 2);
  inputs.v = at::cat({in_heads(front.v, place, inputs.v.size(1)), inputs.v}, 2);
  execution.set(execution.program().graph().nodes[at.node].outputs[0], attend(inputs, pass.context.random));
  return true;
}

}  // namespace

std::optional<std::pair<int64_t, int64_t>> key_heads(const Graph& graph, const AttentionCore& core) {
  if (!is(graph, core.node, "aten.scaled_dot_product_attention.default")) return std::nullopt;
  const auto& shape = graph.slots[core.key].shape;
  if (shape.size() != 4 || shape[1].number < 1 || shape[3].number < 1) return std::nullopt;
  if (graph.slots[core.value].shape.size() != 4 || graph.slots[core.value].shape[3] != shape[3]) return std::nullopt;
  int64_t heads = shape[1].number;
  // reshape(expand(unsqueeze(k))): each head of the keys for several of the queries.
  const int32_t joined = graph.slots[core.key].producer;
  if (is(graph, joined, "aten.reshape.default") || is(graph, joined, "aten.view.default")) {
    const int32_t repeated = graph.nodes[joined].slot(0);
    const auto& five = graph.slots[repeated].shape;
    const bool is_repeated = five.size() == 5 && is(graph, graph.slots[repeated].producer, "aten.expand.default");
    if (is_repeated && five[1].number > 0 && five[1].number * five[2].number == heads) heads = five[1].number;
  }
  return std::pair(heads, shape[3].number);
}

void add_prefix_hooks(Program& program, const Tree& tree, const std::vector<PrefixPlace>& places) {
  for (const auto& place : places) {
    for (const auto& at : place.attentions) {
      const bool source = of_source(program, tree, at.input);
      program.hook({at.node, at.node}, [&place, at, source](Execution& execution, const void* p) {
        return attend_behind_prefixes(place, at, execution, static_cast<const Pass*>(p)->side(source));
      });
    }
  }
}

}  // namespace ta::exported
