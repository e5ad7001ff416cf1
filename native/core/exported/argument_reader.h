#pragma once
// An operator's arguments, from the archive's tagged unions to what its schema asks for. Python is generous here, and a
// graph records what Python wrote: a number where a tensor belongs (x * 0.5), an integer for a float, one number for a
// pair. All of it is settled while the graph is read, so that running it asks nothing.

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/exported/graph.h"
#include "core/exported/operators.h"
#include "core/state/json.h"

namespace ta::exported {

enum class ValueKind : uint8_t { tensor, integer, real, boolean };

/// Names of one graph or branch. Slots are the whole graph's.
struct Scope {
  explicit Scope(const std::vector<ValueKind>& slot_kinds) : kinds(slot_kinds) {}
  /// ERR_FILE_FORMAT: nothing before gave a value of this name and kind.
  int32_t tensor(const std::string& name, const std::string& what) const;
  int32_t number(const std::string& name, const std::string& what) const;
  ValueKind kind(int32_t slot) const { return kinds[static_cast<std::size_t>(slot)]; }

  std::unordered_map<std::string, int32_t> slots;
  const std::vector<ValueKind>& kinds;
};

/// For an argument of an ATen operator.
Argument read_argument(const Json& json, const c10::Argument& schema, const Scope& scope, const std::string& what);
/// For everything else: a value, or a constant as it stands.
Argument read_plain_argument(const Json& json, const Scope& scope, const std::string& what);

}  // namespace ta::exported
