#pragma once
// Where rows, heads, tokens and features stand among the axes of what attention multiplies. The two products of
// attention that is written out are matrices' or einsum's, which may have the axes in any order:
//
//   s = q kᵀ     bhqd · bhkd → bhqk, bqhd · bkhd → bhqk, qbhd · kbhd → qkbh, bqgnd · bkgd → bgnqk, …       y = w v

#include <ATen/core/Tensor.h>

#include <optional>
#include <vector>

#include "core/exported/attention_block.h"
#include "core/exported/parted_heads.h"

namespace ta::exported {

/// The axes in this order: rows, heads (none, one, or those that share keys and which of them), tokens, and features
/// or keys. Three axes may have rows · heads in the first.
using Axes = std::vector<int64_t>;

struct HeadAxes {
  Axes query, key, scores, value, out;
  bool matrices = true;              ///< both products are matrices': all axes are in order but the last two of the key
  bool apart = true;                 ///< rows and heads are different axes
  int32_t weights = -1;              ///< the slot of w that the second product reads
  int64_t heads = 0, key_heads = 0;  ///< 0: not told by the axes
};

/// Of the two products of an attention; nothing where they have another form, seen at the node `stopped`. `rows`: the
/// size that the stream's rows have.
std::optional<HeadAxes> read_axes(const Graph& graph, const AttentionCore& core, const Size& rows, int32_t& stopped);

/// Whether the first factor of a product of scores makes the keys: a softmax over its tokens.
bool keys_come_first(const Graph& graph, int32_t scores, int32_t softmax);

/// [rows, heads, tokens, features]. Where axes are in turn, rows and heads may be apart here or not.
at::Tensor heads_apart(const at::Tensor& given, const Axes& axes, const PartedHeads& parted);
/// The other way round: a tensor of those numbers with its axes where `like` has them, whose last in order may have
/// another size.
at::Tensor out_of_order(const at::Tensor& ordered, const at::Tensor& like, const Axes& axes, const PartedHeads& parted);

}  // namespace ta::exported
