#pragma once
// First values of parameters that no file provides, by Hugging Face's rules (PreTrainedModel._init_weights): weights
// and embeddings N(0, initializer_range) with the padding row at zero, biases 0, LayerNorm weights 1. Positions that
// start as sines and cosines: p[i, j] = sin(i / 10000^(2⌊j/2⌋/size)), the cosine for odd j (Vaswani et al. 2017).

#include "core/nn/module.h"
#include "core/nn/random.h"

namespace ta {

/// Gives every parameter below `module` that has no memory yet its first values, on `device`. Returns their names.
/// `trunk`: the type of its matrices; their values are those of float32, rounded.
std::vector<std::string> initialise_missing(Module& module, const std::string& prefix, double std, Random& random,
                                            at::Device device, at::ScalarType trunk = at::kFloat);

/// First values for one parameter, in place.
void initialise(const Parameter& parameter, double std, Random& random);

}  // namespace ta
