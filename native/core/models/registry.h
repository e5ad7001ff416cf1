#pragma once
// model_type → the class that implements it.

#include "core/models/model.h"

namespace ta {

/// Throws ERR_UNSUPPORTED with the families there are; ERR_INVALID_ARGUMENT where sizes do not fit each other.
std::shared_ptr<Model> make_model(const ModelConfig& config);

}  // namespace ta
