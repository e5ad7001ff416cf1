// The global names that a checkpoint may use, and what calling one gives. Nothing outside this list is ever looked up,
// so nothing outside it can be reached by a file.
#pragma once

#include <optional>
#include <string>

#include "core/state/pickle_value.h"

namespace ta {

// True for the names that call_torch_global knows and for torch.FloatStorage and its like.
bool is_known_global(const std::string& name);

// The element type of "torch.FloatStorage" and its like.
std::optional<at::ScalarType> storage_dtype(const std::string& global);

// What REDUCE does: name(*arguments). Fails with ERR_FILE_FORMAT when the arguments do not fit.
PickleValue call_torch_global(const std::string& name, const PickleValue::Items& arguments, const std::string& source);

}  // namespace ta
