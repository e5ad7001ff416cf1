#pragma once
// The head that an exported network brings along (`LlamaForCausalLM`): what stands between the states of its base model
// and its logits. It answers for single tokens, so it runs by itself, as this library's own heads do:
//
//   logits [n, labels] = head(states [n, hidden])     n: tokens, or the one token of each row that it reads
//
// The base model is the largest of the network's own modules that gives states of tokens. Networks that are written in
// one piece have none: there the states are what the last Linear reads. Where what stands behind tokens mixes them (a
// mean), or there are none (a convolutional network), the states are one value a row.

#include <optional>
#include <string>
#include <vector>

#include "core/exported/products.h"

namespace ta::exported {

struct OwnHead {
  enum class Reads { tokens, first, last };
  int32_t states = -1, logits = -1;  ///< slots
  std::vector<int32_t> nodes;        ///< that lie between, in their order
  Reads reads = Reads::tokens;
  int32_t last_product = -1;  ///< of `nodes`: that with a weight which makes the logits; -1: none
  std::string base;           ///< the path of the base model; empty: no module is that alone
};

/// `logits`: a slot [rows, tokens, labels] or [rows, labels]. `of_rows`: its states may be [rows, n], the last
/// Linear's. Throws ERR_UNSUPPORTED where what stands before them is no such head.
OwnHead find_own_head(const Graph& graph, const Weights& weights, int32_t logits, bool of_rows);

}  // namespace ta::exported
