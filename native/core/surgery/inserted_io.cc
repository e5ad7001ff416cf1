#include "core/surgery/inserted_io.h"

#include <c10/core/GradMode.h>

#include <map>

#include "core/error.h"
#include "core/state/weights_file.h"

namespace ta {

namespace {

std::vector<NamedParameter> inserted_in_base(AdapterModel& model, const std::string& operation) {
  auto parameters = model.named_parameters();
  // What stands in a head goes with the head.
  std::erase_if(parameters, [&](const NamedParameter& named) {
    return model.part_of(named) != Part::inserted || named.name.starts_with("heads.");
  });
  if (!parameters.empty()) return parameters;
  fail(ErrorCode::invalid_argument, operation, "surgery has inserted nothing in the base model",
       {.hint = "Call replaceModule or addAdaptersToModel before"});
}

}  // namespace

void save_inserted(AdapterModel& model, const std::string& file) {
  StateDict tensors;
  for (const auto& named : inserted_in_base(model, "saveSurgery"))
    tensors.add(named.name, named.parameter.value->detach().to(at::kCPU));
  write_weights(file, tensors, WeightsFormat::safetensors);
}

void load_inserted(AdapterModel& model, const std::string& file) {
  const std::string operation = "load the inserted modules of " + file;
  const auto weights = read_weights(file);
  std::vector<std::string> missing, unexpected, misshaped;
  std::map<std::string, at::Tensor*> wanted;
  for (const auto& named : inserted_in_base(model, operation)) {
    wanted.emplace(named.name, named.parameter.value);
    const auto* tensor = weights.find(named.name);
    if (tensor == nullptr) {
      missing.push_back(named.name);
    } else if (tensor->sizes() != named.parameter.value->sizes()) {
      misshaped.push_back(text(named.name, ": expected ", named.parameter.value->sizes(), ", got ", tensor->sizes()));
    }
  }
  for (const auto& [name, tensor] : weights)
    if (!wanted.contains(name)) unexpected.push_back(name);
  if (!missing.empty() || !unexpected.empty() || !misshaped.empty()) {
    std::string problem = "the file does not fit";
    if (!missing.empty()) problem += "; missing " + name_list(missing, all_names);
    if (!unexpected.empty()) problem += "; unexpected " + name_list(unexpected, all_names);
    if (!misshaped.empty()) problem += "; wrong shape " + name_list(misshaped, all_names);
    fail(ErrorCode::state_dict, operation, problem, {.hint = "Do the same surgery on the same base model first"});
  }
  const c10::NoGradGuard guard;
  for (auto& [name, value] : wanted) value->copy_(weights.at(name));
}

}  // namespace ta
