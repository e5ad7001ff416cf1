#pragma once
// What a configuration asks for is held against the file of weights that it came with before memory is taken for it: in
// a damaged folder one number of a kilobyte's JSON may ask for more than the machine has.

#include <optional>
#include <string>
#include <vector>

#include "core/adapters/flat_parameters.h"

namespace ta {

/// The file, or a model's folder, that parameters are to come from.
struct WeightsSource {
  std::string path;
  double bytes;
};

/// Throws ERR_STATE_DICT where the parameters have far more values than the source can hold, each being a byte at the
/// least. What is only a little too large strict loading tells better, name by name.
void check_held(const std::string& operation, const std::vector<NamedParameter>& parameters,
                const std::optional<WeightsSource>& source);

}  // namespace ta
