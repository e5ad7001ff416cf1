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

/// A path that surgery may replace, and the place that it leads to: one place has several paths where a module around
/// it stands in several places.
struct SlotPath {
  std::string path;
  const Slot* slot;
};

/// The paths that surgery may replace.
std::vector<SlotPath> slot_paths(const Module& root);

}  // namespace ta
