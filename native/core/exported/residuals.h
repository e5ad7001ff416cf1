#pragma once
// Where adapters stand in a graph that nobody described, found by its structure alone. A transformer is one stream of
// hidden states that sub-layers read and add to:
//
//   out = r + h        r: the stream [rows, tokens, hidden];  h: made of r, by at least one product with a weight
//   out = LN(r + h)    where a LayerNorm of the same layer reads the sum and nobody else does (post-LN)
// Such a sum inside a numbered module (`layers.3`), or where no module has a number, in one of its own, ends a
// sub-layer. One in which tokens attend to each other (scaled_dot_product_attention, or a softmax between two products
// of values) is the layer's attention; in a layer that has none one with a convolution over tokens stands for it. The
// last of the others is its feed-forward block. Where both are made of one r and added together (GPT-J, GPT-NeoX,
// Falcon) or one after the other, (r + h₁) + h₂, the second one's stream is what the first leaves, as in the adapters
// library. A layer that has one sub-layer alone has one site, its output. What an attention reads from elsewhere than r
// (a decoder's cross-attention) is left out, and said so. Where tokens are merged on the way (Swin), the layers are
// those whose stream has the output's tokens. A network with an encoder and a decoder has two streams of one width; the
// encoder's layers are the first ones.

#include <string>
#include <vector>

#include "core/exported/sub_layer.h"

namespace ta::exported {

struct Residuals {
  std::vector<Size> shape;      ///< of the stream; that of an encoder in front of a decoder has other columns
  int32_t begin = -1;           ///< the slot that the first sub-layer reads
  std::vector<int32_t> layers;  ///< their modules, in the order in which they run
  std::vector<SubLayer> sub_layers;
  std::vector<std::string> left_out;  ///< what looked like a sub-layer and is none, and why
};

/// `output`: the slot of the last hidden state. `source`: [rows, columns] of an encoder's tokens in a graph whose
/// stream is its decoder's; empty elsewhere.
Residuals find_residuals(const Graph& graph, int32_t output, const std::vector<Size>& source = {});

/// One sentence for each site, each layer's Linears, and what was left out.
std::vector<std::string> explain(const Graph& graph, const Residuals& residuals);
/// A text for each site that two placements have alike where adapters stand at the same values of one graph.
std::vector<std::string> describe_sites(const Graph& graph, const Residuals& residuals);

}  // namespace ta::exported
