#pragma once
// Parts of a configuration that want one place.

#include <string>

#include "core/models/model.h"

namespace ta {

/// Throws ERR_INVALID_ARGUMENT, which names the place.
[[noreturn]] void refuse_meeting(const std::string& operation, const Place& at);

}  // namespace ta
