#pragma once
// Tensors of a checkpoint that a network has no place for. That a checkpoint holds more than the network may be right
// (a head, a buffer that the graph makes itself), or the sign of another network: whoever loads it decides by the
// names.

#include <string>
#include <unordered_set>
#include <vector>

#include "core/state/state_dict.h"

namespace ta {

/// Names of `weights`, as they stand there, that are not among `known`, which are names behind `prefix`. Left out are
/// tensors of whole numbers and truth values, which are buffers, and second names of a tensor that has its place.
std::vector<std::string> unplaced_weights(const StateDict& weights, const std::string& prefix,
                                          const std::unordered_set<std::string>& known);

}  // namespace ta
