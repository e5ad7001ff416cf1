#pragma once
// scaled_dot_product_attention with what a node of the graph asks for, where something of it is another's: dropout's
// random numbers, or the keys.
//
//   dropout(softmax(q kᵀ · scale + mask)) v      q [rows, heads, tokens, d]; heads of k and v may be fewer

#include "core/exported/execution.h"
#include "core/nn/random.h"

namespace ta::exported {

struct AttentionInputs {
  at::Tensor q, k, v, mask;  ///< mixed_precision.h; mask may be undefined; true: seen, or what is added
  bool causal = false;
  double scale = 1, dropout = 0;
};

AttentionInputs attention_inputs(const Execution& execution, int32_t node);
/// Dropout acts where `random` is given.
at::Tensor attend(const AttentionInputs& inputs, Random* random);

}  // namespace ta::exported
