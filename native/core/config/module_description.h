#pragma once
// What surgery is asked to put in a place: an expression over the modules that are there and new ones.
// lib/config/module-description.ts makes and checks it.

#include <cstdint>
#include <string>
#include <vector>

namespace ta {

struct ModuleDescription {
  enum class Kind {
    module,        ///< the one that stands at `path` now
    sequential,    ///< parts, one after the other
    parallel,      ///< ParallelLayer(parts[0], parts[1], scale)
    adapter,       ///< AdapterLayer(hidden_size, sizes[0], activation)
    hierarchical,  ///< HierarchicalAdapter(hidden_size, sizes, activation)
    dynamic,       ///< DynamicAdapter(hidden_size, sizes[0])
    fused          ///< parts side by side under `names`, and the fusion of what they give
  };
  Kind kind = Kind::module;
  int64_t id = -1;  ///< the same number is the same module, wherever it stands; -1: one of its own
  std::string path{};
  std::vector<ModuleDescription> parts{};
  std::vector<std::string> names{};
  int64_t hidden_size = 0;
  std::vector<int64_t> sizes{};
  std::string activation = "relu";
  bool soft_mask = false;
  double temperature = 1.0;
  bool identity_start = true;
  int64_t heads = 8;
  double scale = 1.0;
};

struct Replacement {
  std::string path;
  ModuleDescription with;
};

}  // namespace ta
