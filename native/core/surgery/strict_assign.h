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

/// Throws ERR_STATE_DICT; nothing has changed then.
void assign_strictly(const std::string& operation, const std::vector<NamedParameter>& wanted, const FromFile& file);

/// Takes from a fusion's tensors those that do nothing: of layers in which none of its adapters stands, since Python's
/// library makes the fusion in every layer, and the `dense` of one that has no query, key and value there.
void leave_out_idle(Model& backbone, const std::vector<NamedParameter>& wanted, FromFile& file);

/// Throws ERR_STATE_DICT where the file's adapter reaches a deeper or a lower layer than this model's.
void check_layers(const std::string& operation, const Model& backbone, const std::vector<NamedParameter>& wanted,
                  const FromFile& file);

}  // namespace ta
