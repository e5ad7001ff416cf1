#pragma once
// What prefixes put in front of the keys of each row of a batch, whatever form its attention has.

#include "core/adapters/prefix_layer.h"

namespace ta::exported {

/// Shorter ones begin with what `seen` [rows, p] says no to. Undefined: all is seen.
struct Front {
  at::Tensor k, v;  ///< [rows, p, features]
  at::Tensor seen;
};

/// x: what keys are made of, [tokens of x_rows, hidden], for gates; it may be undefined. Some row must have a prefix.
Front front_of(const PrefixLayer& layer, const at::Tensor& x, const RowLayout& x_rows, const ForwardContext& context);

/// [rows, p, key heads · d] → [rows, heads, p, d]: each head of the keys for several of the queries.
at::Tensor in_heads(const at::Tensor& front, int64_t key_heads, int64_t heads);

}  // namespace ta::exported
