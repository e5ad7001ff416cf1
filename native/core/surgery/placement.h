#pragma once
// Which part of an adapter stands at which place of a model, by its configuration.

#include <string>
#include <utility>

#include "core/config/adapter_config.h"
#include "core/models/model.h"

namespace ta {

struct PlacedModule {
  AdapterPlace* place;
  std::shared_ptr<AdapterModule> module;
  std::optional<uint64_t> seed;  ///< its configuration's own
};

/// New modules, not yet at their places. Throws ERR_INVALID_ARGUMENT: sizes for another number of layers, two
/// configurations for one place, no place at all; ERR_OUT_OF_RANGE: a size that is too large.
/// `behind`: the place on the last hidden state.
std::vector<PlacedModule> make_modules(const std::string& operation, const std::vector<AdapterConfig>& configs,
                                       Model& model, AdapterPlace& behind);

}  // namespace ta
