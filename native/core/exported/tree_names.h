#pragma once
// Names and sizes of the module tree.

#include <string>
#include <vector>

#include "core/exported/graph.h"

namespace ta::exported {

/// "a.b.weight" → "a.b"; empty where there is no dot.
inline std::string parent_path(const std::string& path) {
  const auto dot = path.rfind('.');
  return dot == std::string::npos ? "" : path.substr(0, dot);
}

/// "a.b.weight" → "weight"
inline std::string last_name(const std::string& path) {
  return path.substr(path.rfind('.') + 1);
}

/// A parameter's sizes.
inline std::vector<int64_t> numbers(const std::vector<Size>& shape) {
  std::vector<int64_t> result;
  for (const auto& size : shape) result.push_back(size.number);
  return result;
}

}  // namespace ta::exported
