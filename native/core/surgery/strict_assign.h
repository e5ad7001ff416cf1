#pragma once
// What a file holds for one adapter or head goes into the model's parameters whole or not at all: missing, unexpected
// and mis-shaped keys are one error that lists them by the file's own names.

#include <string>
#include <unordered_map>
#include <vector>

#include "core/adapters/flat_parameters.h"
#include "core/models/model.h"
#include "core/state/state_dict.h"

namespace ta {

/// Tensors under the model's names, and what the file itself calls them.
struct FromFile {
  StateDict tensors;
  std::unordered_map<std::string, std::string> spelling;  ///< the model's name → the file's
  std::unordered_map<std::string, std::string> expected;  ///< the model's name → how the file would call it

  const std::string& spelled(const std::string& name) const {
    const auto found = spelling.find(name);
    return found == spelling.end() ? name : found->second;
  }
};

/// Where a file's adapter or fusion ends, and where the model's does: layers, both 0 where it is not known.
struct LastLayers {
  int64_t here = 0, there = 0;
};
LastLayers last_layers(const Model& backbone, const std::vector<NamedParameter>& wanted, const FromFile& file);

/// Throws ERR_STATE_DICT; nothing has changed then. Where the layers are not as many, it says so beside the names.
void assign_strictly(const std::string& operation, const std::vector<NamedParameter>& wanted, const FromFile& file,
                     LastLayers layers = {});

/// Takes from a fusion's tensors those that do nothing: of layers in which none of its adapters stands, since Python's
/// library makes the fusion in every layer, and the `dense` of one that has no query, key and value there.
void leave_out_idle(Model& backbone, const std::vector<NamedParameter>& wanted, FromFile& file);

}  // namespace ta
