#pragma once
#include "core/nn/module.h"

namespace ta {

/// PyTorch's Dropout by its name: the block around it drops, so surgery finds it and puts nothing in its place.
inline std::shared_ptr<Container> named_dropout() {
  return std::make_shared<Container>("Dropout");
}

}  // namespace ta
