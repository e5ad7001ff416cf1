#pragma once
// Prefix tuning in a graph (adapters/prefix.h): at scaled_dot_product_attention each row gets keys and values in front
// of its own, which every token of the row sees.
//
//   softmax([q Kpᵀ; q Kᵀ + mask] / √d) [Vp; V]      q, K, V [rows, heads, tokens, d], Kp, Vp [rows, heads, p, d]
//
// Where heads share keys, a prefix has as many heads as the keys have before they are repeated, as in the adapters
// library. Where tokens see only those before them, they see all of the prefix.

#include "core/adapters/prefix_layer.h"
#include "core/exported/pass.h"
#include "core/exported/residuals.h"
#include "core/exported/tree.h"

namespace ta::exported {

/// The attentions of one layer: several where a module is called again.
struct PrefixPlace {
  std::shared_ptr<PrefixLayer> layer = std::make_shared<PrefixLayer>();
  int64_t heads = 0, size = 0;  ///< of the keys, before they are repeated
  struct Attention {
    int32_t node, input;
  };
  std::vector<Attention> attentions;
};

/// Heads and size of the keys that a node of scaled_dot_product_attention reads; nothing where it has another form.
std::optional<std::pair<int64_t, int64_t>> key_heads(const Graph& graph, const AttentionCore& core);

/// The places must outlive the program. To be called behind add_dropout_hooks: of two hooks the later is asked first.
void add_prefix_hooks(Program& program, const Tree& tree, const std::vector<PrefixPlace>& places);

}  // namespace ta::exported
