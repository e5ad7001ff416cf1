#include "core/state/key_names.h"

#include <algorithm>
#include <array>
#include <cctype>

#include "core/error.h"

namespace ta {
namespace {

using Parts = std::vector<std::string>;

Parts split(std::string_view key) {
  Parts parts;
  for (std::size_t start = 0;;) {
    const std::size_t dot = key.find('.', start);
    parts.emplace_back(key.substr(start, dot == std::string_view::npos ? dot : dot - start));
    if (dot == std::string_view::npos) return parts;
    start = dot + 1;
  }
}

std::string join(const Parts& parts) {
  std::string key;
  for (std::size_t i = 0; i < parts.size(); ++i) key += (i > 0 ? "." : "") + parts[i];
  return key;
}

template <std::size_t N>
bool one_of(std::string_view part, const std::array<std::string_view, N>& names) {
  return std::find(names.begin(), names.end(), part) != names.end();
}

// The component after one of these is an adapter's name.
constexpr std::array<std::string_view, 8> adapter_containers = {
    "adapters", "invertible_adapters", "prefix_tunings",   "prefix_gates", "loras",
    "refts",    "prompt_tunings",      "shared_parameters"};

struct FoundOwner {
  KeyOwner::Kind kind;
  std::size_t part;  // the component that is the name
};

constexpr std::string_view fusion_container = "adapter_fusion_layer";

std::optional<FoundOwner> find_owner(const Parts& parts, const std::set<std::string>& own) {
  // A head stands beside the base model, never inside it.
  if (parts.size() > 2 && parts[0] == "heads") return FoundOwner{KeyOwner::Kind::head, 1};
  for (std::size_t i = 0; i + 1 < parts.size(); ++i) {
    if (!holds_by_name(parts[i])) continue;
    if (!own.empty() && own.contains(join({parts.begin(), parts.begin() + static_cast<int64_t>(i) + 1}))) continue;
    const auto kind = parts[i] == fusion_container ? KeyOwner::Kind::fusion : KeyOwner::Kind::adapter;
    return FoundOwner{kind, i + 1};
  }
  return std::nullopt;
}

// The components that may be an owner's name.
std::vector<std::size_t> possible_parts(const Parts& parts) {
  if (parts.size() > 2 && parts[0] == "heads") return {1};
  std::vector<std::size_t> found;
  for (std::size_t i = 0; i + 1 < parts.size(); ++i)
    if (holds_by_name(parts[i])) found.push_back(i + 1);
  return found;
}

std::string lower(std::string_view text) {
  std::string result(text);
  std::transform(result.begin(), result.end(), result.begin(), [](unsigned char c) { return std::tolower(c); });
  return result;
}

}  // namespace

bool holds_by_name(std::string_view module) {
  return module == fusion_container || one_of(module, adapter_containers);
}

std::optional<KeyOwner> key_owner(std::string_view key, const std::set<std::string>& own) {
  const Parts parts = split(key);
  const auto found = find_owner(parts, own);
  if (!found) return std::nullopt;
  return KeyOwner{found->kind, parts[found->part]};
}

std::string rename_owner(std::string_view key, const KeyOwner& owner, std::string_view new_name,
                         const std::set<std::string>& own) {
  Parts parts = split(key);
  const auto found = find_owner(parts, own);
  if (found && found->kind == owner.kind && parts[found->part] == owner.name) parts[found->part] = new_name;
  return join(parts);
}

std::set<std::string> possible_owners(std::string_view key) {
  const Parts parts = split(key);
  std::set<std::string> names;
  for (const std::size_t part : possible_parts(parts)) names.insert(parts[part]);
  return names;
}

std::string rename_possible_owner(std::string_view key, std::string_view name, std::string_view new_name) {
  Parts parts = split(key);
  const auto possible = possible_parts(parts);
  const auto found =
      std::find_if(possible.rbegin(), possible.rend(), [&](std::size_t part) { return parts[part] == name; });
  if (found != possible.rend()) parts[*found] = new_name;
  return join(parts);
}

bool has_base_prefix(std::string_view key, std::string_view prefix) {
  return !prefix.empty() && key.size() > prefix.size() && key.starts_with(prefix) && key[prefix.size()] == '.';
}

std::string add_base_prefix(std::string_view key, std::string_view prefix) {
  const bool beside = has_base_prefix(key, "heads") || has_base_prefix(key, "adapters");
  if (prefix.empty() || has_base_prefix(key, prefix) || beside) return std::string(key);
  return std::string(prefix) + "." + std::string(key);
}

std::string strip_base_prefix(std::string_view key, std::string_view prefix) {
  return std::string(has_base_prefix(key, prefix) ? key.substr(prefix.size() + 1) : key);
}

std::string modern_key(std::string_view key) {
  static constexpr std::array<std::string_view, 4> old_containers = {
      "attention_text_task_adapters", "attention_text_lang_adapters", "layer_text_task_adapters",
      "layer_text_lang_adapters"};
  Parts parts = split(key);
  for (std::string& part : parts) {
    if (one_of(part, old_containers)) part = "adapters";
    if (part == "invertible_lang_adapters") part = "invertible_adapters";
  }
  // Only a norm's: a parameter of another module may well be called beta.
  if (parts.size() > 1 && lower(parts[parts.size() - 2]).find("norm") != std::string::npos) {
    if (parts.back() == "gamma") parts.back() = "weight";
    if (parts.back() == "beta") parts.back() = "bias";
  }
  return join(parts);
}

}  // namespace ta
