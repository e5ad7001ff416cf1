#pragma once
// A backbone's weights from files: names with or without the base prefix, old LayerNorm names, tensors bound over the
// mapped file where they already are of the wanted type on the CPU, converted otherwise.

#include <functional>

#include "core/models/model.h"
#include "core/state/state_dict.h"

namespace ta {

struct LoadReport {
  std::vector<std::string> missing;     ///< parameters that stay without values
  std::vector<std::string> unexpected;  ///< keys that no parameter wants (heads of other tasks, position_ids)
  std::vector<std::string> unplaced;    ///< the file's names of those that may be weights (unplaced_weights.h)
  bool has_prefix = false;              ///< the file's names have the prefix of a class with a head
};

/// `keeps_memory`: a parameter that is not of the base model but stands in it, and has memory of its own.
/// `trunk`: the type of the base model's matrices, at::kFloat or at::kBFloat16. Each is converted by itself, once.
/// Throws ERR_STATE_DICT, listing every key whose shape does not fit; nothing is changed then.
LoadReport load_base_weights(Model& model, const StateDict& weights, at::Device device,
                             const std::function<bool(const Parameter&)>& keeps_memory = {},
                             at::ScalarType trunk = at::kFloat);

}  // namespace ta
