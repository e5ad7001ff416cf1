#include "core/surgery/inserted_io.h"

#include <c10/core/GradMode.h>

#include <map>

#include "core/error.h"
#include "core/state/integer_weights.h"
#include "core/state/weights_file.h"
#include "core/surgery/misfit.h"

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
  Misfit misfit;
  IntegerWeights integers;
  std::map<std::string, at::Tensor*> wanted;
  for (const auto& named : inserted_in_base(model, operation)) {
    wanted.emplace(named.name, named.parameter.value);
    const auto* tensor = weights.find(named.name);
    if (tensor == nullptr) {
      misfit.missing.push_back(named.name);
    } else if (integers.take(named.name, *tensor, named.parameter.value->scalar_type())) {
    } else if (tensor->sizes() != named.parameter.value->sizes()) {
      misfit.add_misshaped(named.name, named.parameter.value->sizes(), tensor->sizes());
    }
  }
  for (const auto& [name, tensor] : weights)
    if (!wanted.contains(name)) misfit.unexpected.push_back(name);
  integers.refuse_any(operation);
  misfit.refuse_any(operation, "Do the same surgery on the same base model first");
  const c10::NoGradGuard guard;
  for (auto& [name, value] : wanted) value->copy_(weights.at(name));
}

}  // namespace ta
