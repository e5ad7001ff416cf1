#include "core/models/base_weights.h"

#include <c10/core/GradMode.h>

#include <unordered_set>

#include "core/error.h"
#include "core/models/network.h"
#include "core/state/key_names.h"

namespace ta {

LoadReport load_base_weights(Model& model, const StateDict& weights, at::Device device,
                             const std::function<bool(const Parameter&)>& keeps_memory, at::ScalarType trunk) {
  const auto prefix = file_prefix(model);
  const auto named =
      weights.renamed([&](const std::string& key) { return strip_base_prefix(modern_key(key), prefix); });

  LoadReport report;
  std::unordered_set<std::string> known;
  std::vector<std::string> misshaped;
  struct Found {
    at::Tensor* value;
    at::Tensor tensor;
    bool keeps;
    at::ScalarType type;
  };
  std::vector<Found> found;
  std::vector<std::pair<const at::Tensor*, std::string>> missing;
  std::unordered_set<const at::Tensor*> there;
  model.visit_parameters("", [&](const std::string& name, const Parameter& parameter) {
    const bool keeps = keeps_memory && keeps_memory(parameter);
    if (!keeps && key_owner(name)) return;
    known.insert(name);
    const auto* tensor = named.find(name);
    if (tensor == nullptr) {
      missing.emplace_back(parameter.value, name);
    } else if (tensor->sizes() != at::IntArrayRef(parameter.shape)) {
      misshaped.push_back(text(name, ": expected ", at::IntArrayRef(parameter.shape), ", got ", tensor->sizes()));
    } else {
      found.push_back({parameter.value, *tensor, keeps, parameter.type_in(trunk)});
      there.insert(parameter.value);
    }
  });
  // A tensor that stands in several places may be there under one of its names.
  for (const auto& [value, name] : missing)
    if (!there.contains(value)) report.missing.push_back(ta::named(model, name));
  if (!misshaped.empty()) {
    fail(ErrorCode::state_dict, "load base weights",
         text("shapes that do not fit config.json: ", name_list(misshaped)));
  }
  for (const auto& [name, tensor] : named)
    if (!known.count(name)) report.unexpected.push_back(name);
  const c10::NoGradGuard guard;
  for (auto& [value, tensor, keeps, type] : found) {
    if (keeps) {
      value->copy_(tensor);
    } else {
      // A buffer of an exported graph may be of another type.
      const auto kept = value->defined() ? value->scalar_type() : type;
      *value = tensor.to(at::TensorOptions(kept).device(device)).contiguous();
    }
  }
  return report;
}

}  // namespace ta
