// Blocks of a graph as calls of the library. A pass in which surgery has put something else into one of a block's
// modules, a mask says more than a kernel's flag, or dropout acts inside, runs the nodes as they are.

#include <algorithm>
#include <map>
#include <optional>

#include "core/adapters/prefix_layer.h"
#include "core/exported/attention_mask.h"
#include "core/exported/blocks.h"
#include "core/exported/hooks.h"
#include "core/nn/frozen.h"
#include "core/nn/layer_context.h"
#include "core/nn/rms_norm.h"
#include "core/nn/rotary.h"

namespace ta::exported {

namespace {

using Layers = std::map<int32_t, LinearLayer*>;  // by the node of the product

// Modules that a block runs without asking who stands there: all that it touches but those that it lies inside of,
// which are asked before it.
std::vector<const SlotPlace*> modules_of(const Tree& tree, const Range& nodes) {
  std::vector<const SlotPlace*> result;
  for (const auto& place : tree.slots()) {
    const bool apart = place.nodes.last < nodes.first || nodes.last < place.nodes.first;
    const bool around = place.nodes.first <= nodes.first && nodes.last <= place.nodes.last;
    if (!apart && !around) result.push_back(&place);
  }
  return result;
}

bool intact(const std::vector<const SlotPlace*>& places) {
  for (const auto* place : places)
    if (place->slot->layer != place->own) return false;
  return true;
}

bool is_plain(const LinearLayer& layer, const ForwardContext& context) {
  return layer.frozen() && !layer.extended(context);
}

Affine affine_of(const LinearLayer& layer) {
  return {layer.transposed() ? layer.weight.t() : layer.weight, layer.bias};
}

struct AttentionLayers {
  LinearLayer *query, *key, *value, *output;  // output may be null
};

at::Tensor attend_at_once(const AttentionLayers& own, const at::Tensor& x, const AttentionForm& form,
                          const ForwardContext& here) {
  const auto& rows = *here.layout;
  const bool plain = is_plain(*own.query, here) && is_plain(*own.key, here) && is_plain(*own.value, here);
  if (plain && (own.output == nullptr || is_plain(*own.output, here))) {
    std::optional<Affine> output;
    if (own.output != nullptr) output = affine_of(*own.output);
    return frozen_attention(x, x, {affine_of(*own.query), affine_of(*own.key), affine_of(*own.value), output}, rows,
                            rows, form);
  }
  const auto y = packed_attention(own.query->forward(x, here), own.key->forward(x, here), own.value->forward(x, here),
                                  rows, rows, form, 0, nullptr);
  return own.output == nullptr ? y : own.output->forward(y, here);
}

// Nothing where the pass needs the nodes themselves.
std::optional<AttentionForm> form_in(const AttentionBlock& block, const Execution& execution, const Pass& pass) {
  if (!pass.rows.even() || (block.dropout > 0 && pass.context.random != nullptr)) return std::nullopt;
  if (!pass.fits(execution, block.x)) return std::nullopt;
  if (block.mask < 0) return AttentionForm(block.heads, block.causal);
  const auto form = pass.form_of(block.mask, execution.tensor(block.mask));
  if (form == MaskForm::other || block.causal) return std::nullopt;
  return AttentionForm(block.heads, form == MaskForm::causal);
}

void add_attention(Program& program, const Tree& tree, const Layers& layers, const AttentionBlock& block,
                   int64_t layer) {
  const auto at = [&](int32_t node) {
    const auto found = layers.find(node);
    return found == layers.end() ? nullptr : found->second;
  };
  const AttentionLayers own{at(block.products[0]), at(block.products[1]), at(block.products[2]), at(block.output)};
  if (own.query == nullptr || own.key == nullptr || own.value == nullptr || !tree.is_token(block.x)) return;
  if (block.output >= 0 && own.output == nullptr) return;
  // Prefixes stand at the node inside.
  const auto prefix = std::make_shared<PrefixLayer>();
  prefix->layer = layer;
  program.shortcut(block.nodes, [block, layer, own, prefix, source = of_source(program, tree, block.x),
                                 modules = modules_of(tree, block.nodes)](Execution& execution, const void* p) {
    const auto& pass = static_cast<const Pass*>(p)->side(source);
    if (!intact(modules)) return false;
    const LayerContext here(pass.context, layer);
    if (layer >= 0 && prefix->acts(here)) return false;
    const auto form = form_in(block, execution, pass);
    if (!form) return false;
    const auto x = pass.packed(execution, block.x);
    if (!x.device().is_cpu() || x.scalar_type() != at::kFloat) return false;
    pass.give(execution, block.out, attend_at_once(own, x, *form, here), block.x);
    return true;
  });
}

void add_feed_forward(Program& program, const Tree& tree, const Layers& layers, const FeedForwardBlock& block,
                      int64_t layer) {
  const auto first = layers.find(block.first), second = layers.find(block.second);
  if (first == layers.end() || second == layers.end() || !tree.is_token(block.x)) return;
  program.shortcut(block.nodes,
                   [block, layer, in = first->second, out = second->second, source = of_source(program, tree, block.x),
                    modules = modules_of(tree, block.nodes)](Execution& execution, const void* p) {
                     const auto& pass = static_cast<const Pass*>(p)->side(source);
                     if (!pass.folds() || !intact(modules) || !pass.fits(execution, block.x)) return false;
                     const LayerContext here(pass.context, layer);
                     if (!is_plain(*in, here) || !is_plain(*out, here)) return false;
                     const auto x = pass.packed(execution, block.x);
                     if (x.scalar_type() != at::kFloat) return false;
                     const auto y = frozen_feed_forward(x, affine_of(*in), block.act, affine_of(*out));
                     pass.give(execution, block.out, y, block.x);
                     return true;
                   });
}

void add_rms_norm(Program& program, const Tree& tree, const RmsNormBlock& block) {
  program.shortcut(block.nodes, [block, modules = modules_of(tree, block.nodes)](Execution& execution, const void*) {
    const auto x = execution.tensor(block.x), weight = execution.tensor(block.weight);
    const bool is_plain = x.device().is_cpu() && x.scalar_type() == at::kFloat && weight.scalar_type() == at::kFloat &&
                          !weight.requires_grad();
    const bool fits = x.dim() > 0 && x.numel() > 0 && weight.dim() == 1 && weight.size(0) == x.size(-1);
    if (!is_plain || !fits || !intact(modules)) return false;
    execution.set(block.out, frozen_rms_norm(x, weight, block.eps));
    return true;
  });
}

void add_rotary(Program& program, const Tree& tree, const RotaryBlock& block) {
  program.shortcut(block.nodes, [block, modules = modules_of(tree, block.nodes)](Execution& execution, const void*) {
    const auto x = execution.tensor(block.x), cos = execution.tensor(block.cos), sin = execution.tensor(block.sin);
    if (!rotates(x, cos, sin) || !intact(modules)) return false;
    execution.set(block.out, rotate(x, cos, sin));
    return true;
  });
}

}  // namespace

void add_block_hooks(Program& program, const Tree& tree, const std::vector<int64_t>& layer_of,
                     const std::vector<Range>& kept) {
  const Weights weights(program.graph());
  const auto is_kept = [&](const Range& nodes) {
    return std::any_of(kept.begin(), kept.end(),
                       [&](const Range& one) { return one.first <= nodes.last && nodes.first <= one.last; });
  };
  Layers layers;
  for (const auto& linear : tree.linears())
    for (const auto& product : linear.products)
      if (!linear.whole) layers[product.node] = linear.layer.get();
  for (const auto& block : find_attention_blocks(program.graph(), weights))
    if (!is_kept(block.nodes)) add_attention(program, tree, layers, block, layer_of[block.nodes.first]);
  for (const auto& block : find_feed_forward_blocks(program.graph(), weights))
    if (!is_kept(block.nodes)) add_feed_forward(program, tree, layers, block, layer_of[block.nodes.first]);
  for (const auto& block : find_rms_norm_blocks(program.graph(), weights))
    if (!is_kept(block.nodes)) add_rms_norm(program, tree, block);
  for (const auto& block : find_rotary_blocks(program.graph(), weights))
    if (!is_kept(block.nodes)) add_rotary(program, tree, block);
}

}  // namespace ta::exported
