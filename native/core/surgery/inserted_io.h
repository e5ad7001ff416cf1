#pragma once
// What surgery inserted in the base model, to and from a file of its own, under the names of the state dict. A module
// that stands in several places is there once, under its first name.

#include "core/surgery/adapter_model.h"

namespace ta {

/// Throws ERR_INVALID_ARGUMENT where nothing was inserted.
void save_inserted(AdapterModel& model, const std::string& file);
/// Strict: missing, unexpected and mis-shaped keys are one ERR_STATE_DICT that lists them, and nothing has changed
/// then.
void load_inserted(AdapterModel& model, const std::string& file);

}  // namespace ta
