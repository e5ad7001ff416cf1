#include "core/models/base_weights.h"

#include <ATen/ops/equal.h>
#include <c10/core/GradMode.h>

#include <map>
#include <memory>
#include <unordered_set>
#include <vector>

#include "core/error.h"
#include "core/models/network.h"
#include "core/models/unplaced_weights.h"
#include "core/nn/tensor_handles.h"
#include "core/state/integer_weights.h"
#include "core/state/key_names.h"
#include "core/state/mapped_storage.h"

namespace ta {

namespace {

// A file has a tensor of several names under one of them, or under each.
class TiedWeights {
 public:
  TiedWeights(const StateDict& weights, const NamedNetwork* network) : weights_(weights) {
    if (network == nullptr) return;
    for (const auto& [name, first] : network->tied_weights()) {
      auto& group = groups_[first];
      if (!group) group = std::make_shared<std::vector<std::string>>(1, first);
      group->push_back(name);
      groups_[name] = group;
      check_same(first, name);
    }
  }

  const at::Tensor* find(const std::string& name) const {
    const auto* own = weights_.find(name);
    const auto group = groups_.find(name);
    if (own != nullptr || group == groups_.end()) return own;
    for (const auto& other : *group->second)
      if (const auto* tensor = weights_.find(other)) return tensor;
    return nullptr;
  }

 private:
  void check_same(const std::string& first, const std::string& name) const {
    const auto *one = weights_.find(first), *other = weights_.find(name);
    if (one == nullptr || other == nullptr || one->sizes() != other->sizes() || at::equal(*one, *other)) return;
    fail(ErrorCode::state_dict, "load base weights",
         text("the model has one tensor for '", first, "' and '", name, "', and the file has two"),
         {.hint = "Load a checkpoint in which they are tied, or export that one"});
  }

  const StateDict& weights_;
  std::map<std::string, std::shared_ptr<std::vector<std::string>>> groups_;
};

}  // namespace

LoadReport load_base_weights(Model& model, const StateDict& weights, at::Device device,
                             const std::function<bool(const Parameter&)>& keeps_memory, at::ScalarType trunk) {
  const auto prefix = file_prefix(model);
  const auto named =
      weights.renamed([&](const std::string& key) { return strip_base_prefix(modern_key(key), prefix); });

  const TiedWeights tied(named, as_network(model));
  LoadReport report;
  for (const auto& [name, tensor] : weights) report.has_prefix |= has_base_prefix(name, prefix);
  std::unordered_set<std::string> known;
  std::vector<std::string> misshaped;
  IntegerWeights integers;
  struct Found {
    at::Tensor* value;
    at::Tensor tensor;
    bool keeps;
    at::ScalarType type;
  };
  std::vector<Found> found;
  std::vector<std::pair<const at::Tensor*, std::string>> missing;
  std::unordered_set<const at::Tensor*> there;
  const auto& containers = own_containers(model);
  model.visit_parameters("", [&](const std::string& name, const Parameter& parameter) {
    const bool keeps = keeps_memory && keeps_memory(parameter);
    if (!keeps && key_owner(ta::named(model, name), containers)) return;
    known.insert(name);
    const auto* tensor = tied.find(name);
    // A buffer of an exported graph may be of another type.
    const auto type = parameter.value->defined() ? parameter.value->scalar_type() : parameter.type_in(trunk);
    if (tensor == nullptr) {
      missing.emplace_back(parameter.value, name);
    } else if (integers.take(name, *tensor, type)) {
      // A packed one has another shape, too.
    } else if (tensor->sizes() != at::IntArrayRef(parameter.shape)) {
      misshaped.push_back(text(name, ": expected ", at::IntArrayRef(parameter.shape), ", got ", tensor->sizes()));
    } else {
      found.push_back({parameter.value, *tensor, keeps, type});
      there.insert(parameter.value);
    }
  });
  // A tensor that stands in several places may be there under one of its names.
  for (const auto& [value, name] : missing)
    if (!there.contains(value)) report.missing.push_back(ta::named(model, name));
  integers.refuse_any("load base weights");
  if (!misshaped.empty()) {
    fail(ErrorCode::state_dict, "load base weights",
         text("shapes that do not fit config.json: ", name_list(misshaped)));
  }
  if (const auto* network = as_network(model))
    for (const auto& [name, first] : network->tied_weights())
      if (known.contains(first)) known.insert(name);
  for (const auto& [name, tensor] : named)
    if (!known.count(name)) report.unexpected.push_back(name);
  if (as_network(model) != nullptr) report.unplaced = unplaced_weights(weights, prefix, known);
  const c10::NoGradGuard guard;
  // A tied weight is one tensor, whatever the file has of it.
  TensorHandles handles;
  for (const auto& one : found) handles.add(one.value);
  for (auto& [value, tensor, keeps, type] : found) {
    if (keeps) {
      value->copy_(tensor);
    } else {
      handles.assign(value, tensor.to(at::TensorOptions(type).device(device)).contiguous());
    }
    if (!value->is_alias_of(tensor)) drop_pages(tensor);
  }
  return report;
}

}  // namespace ta
