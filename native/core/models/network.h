#pragma once
// What a model tells of itself whose modules are a network's own, not a family's that this library wrote: paths of
// Linears, shapes, and why a module is no place for surgery. Families need none of it.

#include <map>
#include <set>
#include <string>
#include <vector>

#include "core/models/model.h"

namespace ta {

/// What a module takes and gives, in PyTorch's form.
struct ModuleShapes {
  struct Dimension {
    int64_t number = -1;
    std::string name;  ///< of a size that differs from call to call; empty: `number` counts
  };
  using Shape = std::vector<Dimension>;
  std::vector<Shape> inputs, outputs;
  int64_t calls = 1;  ///< how often a pass calls it
};

/// A Linear that configurations may name by its path below the model.
struct NamedLinear {
  std::string path;
  LoraPlace* place;
};

class NamedNetwork {
 public:
  virtual ~NamedNetwork() = default;
  /// In front of names in files of classes with a head: PyTorch's base_model_prefix. Names may lack it there.
  virtual std::string file_prefix() const = 0;
  virtual std::vector<NamedLinear> named_linears() const = 0;
  /// Paths of its modules that are called as what holds adapters here (`loras`), as names of parameters have them.
  virtual const std::set<std::string>& own_containers() const = 0;
  /// Weights that are another one's tensor, by that one's name.
  virtual std::map<std::string, std::string> tied_weights() const = 0;
  /// Names of parameters and buffers in modules that stand under several names, each with the first; surgery and
  /// adapters inside of such a module count.
  virtual std::map<std::string, std::string> other_names() const = 0;
  /// Of the module at a path below the model; null where there is none of it in the network.
  virtual const ModuleShapes* shapes_at(const std::string& path) const = 0;
  /// Why it cannot be told what would stand at a path; empty: it can, or there is nothing more to say.
  virtual std::string why_unclear(const std::string& path) const = 0;
  /// Of the keys in a layer's attention, all heads; fewer than the hidden size where heads share keys.
  virtual int64_t key_features() const = 0;
  /// A prefix's keys [p, layers, heads · d] as they are where positions begin behind it; `back`: the other way round.
  /// Throws ERR_UNSUPPORTED where no keys of this network say the same.
  virtual at::Tensor turned_keys(const at::Tensor& keys, bool back) = 0;
};

/// Null: the model is a family of ours.
inline const NamedNetwork* as_network(const Model& model) {
  return dynamic_cast<const NamedNetwork*>(&model);
}

/// For key_owner (key_names.h): what looks like adapters and is the network's own.
inline const std::set<std::string>& own_containers(const Model& model) {
  static const std::set<std::string> none;
  const auto* network = as_network(model);
  return network == nullptr ? none : network->own_containers();
}

/// The name of what stands at `path` below the model.
inline std::string named(const Model& model, const std::string& path) {
  return model.prefix().empty() ? path : model.prefix() + "." + path;
}

/// The prefix of names in files.
inline std::string file_prefix(const Model& model) {
  const auto* network = as_network(model);
  return network == nullptr ? model.prefix() : network->file_prefix();
}

}  // namespace ta
