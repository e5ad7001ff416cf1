#include "core/models/base_weights.h"

#include <unordered_set>

#include "core/error.h"
#include "core/state/key_names.h"

namespace ta {

LoadReport load_base_weights(Model& model, const StateDict& weights, at::Device device) {
  const auto prefix = model.prefix();
  const auto named =
      weights.renamed([&](const std::string& key) { return strip_base_prefix(modern_key(key), prefix); });

  LoadReport report;
  std::unordered_set<std::string> known;
  std::vector<std::string> misshaped;
  std::vector<std::pair<at::Tensor*, at::Tensor>> found;
  model.visit_parameters("", [&](const std::string& name, const Parameter& parameter) {
    if (key_owner(name)) return;
    known.insert(name);
    const auto* tensor = named.find(name);
    if (tensor == nullptr) {
      report.missing.push_back(prefix + "." + name);
    } else if (tensor->sizes() != at::IntArrayRef(parameter.shape)) {
      misshaped.push_back(text(name, ": expected ", at::IntArrayRef(parameter.shape), ", got ", tensor->sizes()));
    } else {
      found.emplace_back(parameter.value, *tensor);
    }
  });
  if (!misshaped.empty()) {
    fail(ErrorCode::state_dict, "load base weights",
         text("shapes that do not fit config.json: ", name_list(misshaped)));
  }
  for (const auto& [name, tensor] : named)
    if (!known.count(name)) report.unexpected.push_back(name);
  const auto options = at::TensorOptions(at::kFloat).device(device);
  for (auto& [value, tensor] : found) *value = tensor.to(options).contiguous();
  return report;
}

}  // namespace ta
