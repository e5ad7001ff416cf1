// The two dialects of key_names.h. The plain name is the canonical one: a key is first brought there, then written.
#include <set>

#include "core/error.h"
#include "core/state/key_names.h"

namespace ta {
namespace {

// A key taken apart at a bottleneck's part: "B." + part + ".weight". B is empty for an adapter saved on its own.
struct BottleneckKey {
  std::string module;  // with the dot at its end
  std::string rest;    // from the part's name on
};

constexpr std::string_view down = "adapter_down.";
constexpr std::string_view up = "adapter_up.";
constexpr std::string_view plain_down = "down_project.";
constexpr std::string_view plain_up = "up_project.";
constexpr std::string_view norm_before = "adapter_norm_before.";

// Where `part` begins as a component of its own; the last place, since a name further up may be anything.
std::optional<BottleneckKey> find_part(const std::string& key, std::string_view part) {
  std::size_t at = key.rfind(part);
  while (at != std::string::npos && at > 0 && key[at - 1] != '.') at = key.rfind(part, at - 1);
  if (at == std::string::npos) return std::nullopt;
  return BottleneckKey{key.substr(0, at), key.substr(at)};
}

// The modules whose adapter_down begins with a norm: there is an adapter_norm_before beside it, or an adapter_down.1.
std::set<std::string> modules_with_norm_before(const std::vector<std::string>& keys) {
  std::set<std::string> modules;
  for (const std::string& key : keys) {
    if (const auto found = find_part(key, norm_before)) modules.insert(found->module);
    // Its own weight or bias: adapter_down.1.f.weight is an activation's parameter, without a norm before.
    const auto second = find_part(key, "adapter_down.1.");
    if (second && (second->rest == "adapter_down.1.weight" || second->rest == "adapter_down.1.bias")) {
      modules.insert(second->module);
    }
  }
  return modules;
}

std::string plain_key(const std::string& key, const std::set<std::string>& normed) {
  if (const auto found = find_part(key, up)) {
    return found->module + std::string(plain_up) + found->rest.substr(up.size());
  }
  const auto found = find_part(key, down);
  if (!found) return key;
  const std::string inner = found->rest.substr(down.size());
  const bool norm_first = normed.contains(found->module);
  if (inner.starts_with("0.") && norm_first) return found->module + std::string(norm_before) + inner.substr(2);
  if (inner.starts_with(norm_first ? "1." : "0.")) return found->module + std::string(plain_down) + inner.substr(2);
  return key;
}

// One name, or two for the norm that AdapterHub's files hold twice.
std::vector<std::string> adapterhub_keys(const std::string& plain, const std::set<std::string>& normed) {
  if (const auto found = find_part(plain, plain_up)) {
    return {found->module + std::string(up) + found->rest.substr(plain_up.size())};
  }
  if (const auto found = find_part(plain, plain_down)) {
    const char* index = normed.contains(found->module) ? "1." : "0.";
    return {found->module + std::string(down) + index + found->rest.substr(plain_down.size())};
  }
  if (const auto found = find_part(plain, norm_before)) {
    return {plain, found->module + std::string(down) + "0." + found->rest.substr(norm_before.size())};
  }
  return {plain};
}

[[noreturn]] void fail_collision(const std::string& key, const std::string& name) {
  fail(ErrorCode::state_dict, "convert keys", "two tensors would be named '" + name + "'",
       {.got = "'" + key + "' beside another", .hint = "The file mixes two key dialects."});
}

}  // namespace

KeyDialect parse_key_dialect(std::string_view name) {
  if (name == "adapterhub") return KeyDialect::adapterhub;
  if (name == "plain") return KeyDialect::plain;
  fail(ErrorCode::invalid_argument, "choose key dialect", "unknown dialect",
       {.expected = "'adapterhub' or 'plain'", .got = "'" + std::string(name) + "'"});
}

KeyDialect detect_key_dialect(const std::vector<std::string>& keys) {
  for (const std::string& key : keys) {
    if (find_part(key, down) || find_part(key, up)) return KeyDialect::adapterhub;
    if (find_part(key, plain_down) || find_part(key, plain_up)) return KeyDialect::plain;
  }
  return KeyDialect::adapterhub;
}

std::vector<KeyRename> convert_keys(const std::vector<std::string>& keys, KeyDialect to) {
  const std::set<std::string> normed = modules_with_norm_before(keys);
  std::vector<KeyRename> renames;
  std::set<std::string> taken;
  for (const std::string& key : keys) {
    const std::string plain = plain_key(key, normed);
    const std::vector<std::string> names =
        to == KeyDialect::plain ? std::vector<std::string>{plain} : adapterhub_keys(plain, normed);
    for (const std::string& name : names) {
      if (taken.insert(name).second) renames.push_back({key, name});
      // The two copies of a norm meet here; anything else would be two tensors under one name.
      else if (!find_part(plain, norm_before))
        fail_collision(key, name);
    }
  }
  return renames;
}

}  // namespace ta
