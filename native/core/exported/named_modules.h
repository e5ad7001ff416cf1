#pragma once
// Modules of a network that somebody names by a pattern of paths: `*` is any text of one name, `**` any number of
// names. Each must map tokens to tokens of the width that adapters have, which where the graph shows none is that of
// the first; errors name what could be meant.

#include <string>
#include <string_view>
#include <vector>

#include "core/exported/tree.h"

namespace ta::exported {

/// What messages call the operation.
inline constexpr const char* kPlaceAdapters = "place adapters";

bool matches(std::string_view pattern, std::string_view path);

class NamedModules {
 public:
  /// `hidden`: the width; 0: what the first named module gives.
  NamedModules(const Graph& graph, const Tree& tree, const std::string& prefix, int64_t hidden)
      : graph_(graph), tree_(tree), prefix_(prefix), hidden_(hidden) {}

  /// In the order in which they run. `option`: by which the pattern was given.
  std::vector<const SlotPlace*> places(const char* option, const std::string& pattern);
  /// A path as the model has it.
  std::string name(const std::string& path) const { return prefix_.empty() ? path : prefix_ + "." + path; }

 private:
  std::string candidates() const;
  std::string values_of(const ModuleInfo& module) const;
  const SlotPlace* place_at(const std::string& path) const;
  const SlotPlace* checked(const char* option, const ModuleInfo& module);

  const Graph& graph_;
  const Tree& tree_;
  const std::string& prefix_;
  int64_t hidden_;
};

/// Whether all that comes out of a network is one value a row.
bool gives_rows(const Graph& graph);

}  // namespace ta::exported
