#include "core/surgery/model_state.h"

#include <ATen/ops/equal.h>

#include <unordered_map>
#include <unordered_set>

#include "core/error.h"
#include "core/models/network.h"
#include "core/nn/tensor_handles.h"
#include "core/state/key_names.h"
#include "core/state/weights_file.h"
#include "core/surgery/misfit.h"
#include "core/surgery/state_io.h"
#include "core/surgery/state_tensors.h"

namespace ta {

namespace {

std::unordered_map<std::string, Parameter> by_name(AdapterModel& model) {
  std::unordered_map<std::string, Parameter> result;
  model.root().visit_parameters(
      "", [&](const std::string& name, const Parameter& parameter) { result.emplace(name, parameter); });
  return result;
}

}  // namespace

std::vector<NameInFile> shared_names(AdapterModel& model) {
  std::vector<NameInFile> result;
  std::unordered_map<const void*, std::string> first;
  std::unordered_set<std::string> known;
  model.root().visit_parameters("", [&](const std::string& name, const Parameter& parameter) {
    if (!known.insert(name).second) return;
    const auto [before, added] = first.emplace(identity_of(parameter.value), name);
    if (!added || parameter.buffer) result.push_back({before->second, name});
  });
  if (const auto* network = as_network(model.backbone())) {
    const auto& backbone = model.backbone();
    for (const auto& [other, own] : network->other_names()) {
      if (known.contains(named(backbone, own)) && known.insert(named(backbone, other)).second)
        result.push_back({named(backbone, own), named(backbone, other)});
    }
  }
  return result;
}

void save_state(AdapterModel& model, const std::string& file, at::ScalarType dtype, WeightsFormat format,
                const std::vector<NameInFile>& names) {
  const auto parameters = by_name(model);
  SharedTensors state;
  std::unordered_map<const void*, std::string> written;
  for (const auto& [theirs, ours] : names) {
    const auto* value = parameters.at(ours).value;
    const auto [before, added] = written.emplace(identity_of(value), theirs);
    if (added)
      state.tensors.add(theirs, value->detach().to(at::kCPU).to(dtype));
    else
      state.aliases.emplace_back(theirs, before->second);
  }
  state.write(file, format);
}

void load_state(AdapterModel& model, const std::string& file, const std::vector<NameInFile>& names,
                const std::vector<std::string>& required) {
  const std::string operation = "load the weights of " + file;
  const auto parameters = by_name(model);
  std::unordered_map<std::string, std::string> ours_of, theirs_of;
  for (const auto& [theirs, ours] : names) {
    ours_of.emplace(theirs, ours);
    theirs_of.emplace(ours, theirs);
  }

  StateDict found;
  std::unordered_set<const void*> covered;
  Misfit misfit;
  const auto weights = read_weights_at(file);
  for (const auto& [key, tensor] : weights) {
    auto at = ours_of.find(key);
    if (at == ours_of.end()) at = ours_of.find(modern_key(key));
    if (at == ours_of.end()) {
      misfit.unexpected.push_back(key);
      continue;
    }
    const auto& parameter = parameters.at(at->second);
    if (tensor.sizes() != at::IntArrayRef(parameter.shape)) {
      misfit.add_misshaped(key, at::IntArrayRef(parameter.shape), tensor.sizes());
    } else if (const auto* before = found.find(at->second); before == nullptr) {
      found.add(at->second, tensor);
      covered.insert(identity_of(parameter.value));
    } else if (!before->is_same(tensor) && !at::equal(*before, tensor)) {
      fail(
          ErrorCode::state_dict, operation, key + " is not what another name has of the same parameter",
          {.expected = "one tensor under both names", .hint = "The model ties them; the file is of one that does not"});
    }
  }
  for (const auto& name : required)
    if (!covered.contains(identity_of(parameters.at(name).value))) misfit.missing.push_back(theirs_of.at(name));
  misfit.refuse_any(operation,
                    "Do the same surgery on the same base model, and add the same adapters and heads, before");
  set_parameters(model, found);
}

}  // namespace ta
