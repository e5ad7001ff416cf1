#pragma once
// Places in the module tree by PyTorch's paths, `bert.encoder.layer.0.attention.self.query`.

#include "core/nn/module.h"

namespace ta {

/// A slot and the module that has it.
struct SlotPlace {
  std::shared_ptr<Module> owner;
  std::string name;
  std::shared_ptr<Layer> occupant;
};

/// The module at a path; null where there is none. The root itself has the path ''.
std::shared_ptr<Module> find_module(const Module& root, const std::string& path);

/// Throws ERR_INVALID_ARGUMENT where there is no module of this path, or one that surgery may not replace, with the
/// nearest ones that it may.
SlotPlace find_slot(const Module& root, const std::string& operation, const std::string& path);

/// The paths that surgery may replace.
std::vector<std::string> slot_paths(const Module& root);

}  // namespace ta
