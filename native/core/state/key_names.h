// The names of tensors in files, and how one spelling becomes another. Text only: no tensors, no files.
//
// Two dialects for the inside of a bottleneck adapter:
//   adapterhub  adapter_down.0.weight  adapter_up.weight     what Hugging Face's `adapters` writes
//   plain       down_project.weight    up_project.weight     what an adapter written by hand has
// With a LayerNorm before the down-projection (ln_before) AdapterHub's file holds that norm twice, as
// adapter_norm_before.* and as adapter_down.0.*, and the projection is adapter_down.1.*. Everything else
// (adapter_norm_after, gate, scaling, …) has the same name in both.
//
// All names are compared component by component, so an adapter 'a' is never mistaken for 'ab'.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ta {

enum class KeyDialect { adapterhub, plain };

// "adapterhub" or "plain"; ERR_INVALID_ARGUMENT otherwise.
KeyDialect parse_key_dialect(std::string_view name);

// The dialect that the keys of a file speak; adapterhub when nothing tells (a head, a LoRA).
KeyDialect detect_key_dialect(const std::vector<std::string>& keys);

struct KeyRename {
  std::string from;
  std::string to;
};

// Every key with its name in the dialect `to`, in the order of `keys`, whatever dialect each is in.
// To plain, the second copy of a norm before the projection is left out; to adapterhub it is added, so that one `from`
// may come twice.
std::vector<KeyRename> convert_keys(const std::vector<std::string>& keys, KeyDialect to);

// Whose tensor a key names: "bert.encoder.layer.0.output.adapters.sst2.adapter_up.bias" is adapter 'sst2'.
struct KeyOwner {
  enum class Kind { adapter, fusion, head };
  Kind kind;
  std::string name;
};
// `own`: paths of a network's own modules that are called as what holds adapters (`decoder.adapters`).
std::optional<KeyOwner> key_owner(std::string_view key, const std::set<std::string>& own = {});
// Whether a module of this name holds adapters, or fusions, by their names.
bool holds_by_name(std::string_view module);

// The key with its owner's name replaced when it belongs to exactly `owner`, else unchanged.
std::string rename_owner(std::string_view key, const KeyOwner& owner, std::string_view new_name,
                         const std::set<std::string>& own = {});

// The names that a key's owner may have where nobody says which modules are a network's own: one behind each module
// that is called as what holds adapters. Empty: the key is nobody's.
std::set<std::string> possible_owners(std::string_view key);

// The key with the last of these that is `name` replaced.
std::string rename_possible_owner(std::string_view key, std::string_view name, std::string_view new_name);

// "bert" + "encoder.x" and back. Adding leaves keys that have the prefix, and those of heads and adapters that stand
// beside the base model, as they are.
bool has_base_prefix(std::string_view key, std::string_view prefix);
std::string add_base_prefix(std::string_view key, std::string_view prefix);
std::string strip_base_prefix(std::string_view key, std::string_view prefix);

// Names of files from years ago: adapter containers of adapter-transformers 1.x, and LayerNorm's gamma and beta in base
// checkpoints converted from TensorFlow. Any other key is returned as it is.
std::string modern_key(std::string_view key);

}  // namespace ta
