#pragma once
// Descriptions made into layers.

#include <map>

#include "core/adapters/inserted_layer.h"
#include "core/config/module_description.h"

namespace ta {

/// What descriptions came to: new layers in the order in which they start; all layers of surgery that are used, new or
/// not; modules by their description's id, so that one description gives one module.
struct BuiltModules {
  std::vector<std::shared_ptr<InsertedLayer>> made, used;
  std::map<int64_t, std::shared_ptr<Layer>> by_id;
};

/// `root`: where Kind::module is looked up. `known`: what earlier descriptions made; new modules are added to `built`.
/// Throws ERR_INVALID_ARGUMENT and ERR_OUT_OF_RANGE: no such module, sizes that do not fit each other or have no end.
std::shared_ptr<Layer> build_module(const Module& root, const std::string& operation, const ModuleDescription& what,
                                    const std::map<int64_t, std::weak_ptr<Layer>>& known, BuiltModules& built);

}  // namespace ta
