#pragma once
// Prefix tuning in a graph (adapters/prefix.h): each row gets keys and values in front of its own, which every token of
// the row sees.
//
//   softmax([f(q Kpᵀ); f(q Kᵀ) + bias]) [Vp; V]      q, K, V [rows, heads, tokens, d], Kp, Vp [rows, heads, p, d]
//
// A graph may have rows and heads in one axis (parted_heads.h).
// At scaled_dot_product_attention f is 1/√d. Where attention is written out (written_attention.h), whatever it does to
// all scores alike is done to those of the prefix; positions and masks, which have a value for each key, have 0 there.
// Where heads share keys, a prefix has as many heads as the keys have before they are repeated, as in the adapters
// library. Where tokens see only those before them, they see all of the prefix.

#include "core/adapters/prefix_layer.h"
#include "core/exported/pass.h"
#include "core/exported/prefix_front.h"
#include "core/exported/residuals.h"
#include "core/exported/tree.h"
#include "core/exported/written_attention.h"
#include "core/nn/layer_context.h"

namespace ta::exported {

/// The attentions of one layer: several where a module is called again, or where heads are called one by one.
struct PrefixPlace {
  std::shared_ptr<PrefixLayer> layer = std::make_shared<PrefixLayer>();
  int64_t heads = 0, size = 0;  ///< of the keys, before they are repeated
  int32_t module = -1;          ///< what holds all of it
  struct Attention {
    int32_t node = -1, input = -1;
    std::optional<WrittenAttention> written = std::nullopt;  ///< where it is not one operator
    std::optional<PartedHeads> joined = std::nullopt;        ///< where it is, on tensors of three axes
    int64_t first = 0, heads = 0;                            ///< which of the place's heads it has
  };
  std::vector<Attention> attentions;
};

/// The attention of a sub-layer, with heads and size of its keys; nothing where it has another form, seen at the node
/// `stopped`, or none.
struct KeyForm {
  int64_t heads = 0, size = 0;
  std::vector<PrefixPlace::Attention> attentions;
  int32_t module = -1;  ///< what holds all of it
};
std::optional<KeyForm> key_form(const Graph& graph, const SubLayer& sub, int32_t& stopped);

/// The places must outlive the program. To be called behind add_dropout_hooks: of two hooks the later is asked first.
void add_prefix_hooks(Program& program, const Tree& tree, const std::vector<PrefixPlace>& places);
/// For those of their prefixes that have gates. To be called behind all others, which may answer for a node.
void add_gate_hooks(Program& program, const Tree& tree, const std::vector<PrefixPlace>& places);
/// written_prefix.cc: those at attention that is written out.
void add_written_prefix(Program& program, const PrefixPlace& place, const PrefixPlace::Attention& at, bool source);

/// What stands in front of its keys in a pass. To be called once: what gates read is then released.
Front front_at(const PrefixPlace& place, const PrefixPlace::Attention& at, const Pass& pass, const LayerContext& here);

/// The first node that reads what keys are made of, and these, [.., tokens, d], in a run that is about to.
int32_t reader_of_keys(const PrefixPlace::Attention& at);
at::Tensor keys_of(const PrefixPlace::Attention& at, const Execution& execution);

}  // namespace ta::exported
