#include "core/surgery/state_tensors.h"

#include <unordered_map>
#include <unordered_set>

#include "core/nn/tensor_handles.h"
#include "core/state/safetensors.h"
#include "core/surgery/vera_files.h"

namespace ta {

namespace {

StateDict detached(const std::vector<NamedParameter>& parameters) {
  StateDict tensors;
  for (const auto& named : parameters)
    tensors.add(named.name, named.parameter.value->detach().to(at::kCPU, at::kFloat));
  return tensors;
}

// The peer has factors for query, key and value where we may have one LoRA for all three: A stands there once for each.
StateDict in_parts(AdapterModel& model, int64_t adapter, const std::vector<NamedParameter>& state) {
  std::unordered_set<const at::Tensor*> whole;
  for (const auto& at : model.backbone().places()) {
    if (at.location != Location::query_key_value) continue;
    const auto* module = static_cast<LoraPlace*>(at.place)->at(adapter);
    if (module == nullptr || !module->parts().whole()) continue;
    for (const auto& parameter : module->own_parameters())
      if (parameter.name == "lora_A") whole.insert(parameter.value);
  }
  StateDict result;
  for (const auto& named : state) {
    const auto value = named.parameter.value->detach().to(at::kCPU);
    result.add(named.name, whole.contains(named.parameter.value) ? value.repeat({3, 1}) : value);
  }
  return result;
}

}  // namespace

StateDict adapter_tensors(AdapterModel& model, const std::string& name, KeyDialect dialect) {
  auto tensors = in_parts(model, model.adapter_index(name), model.adapter_state(name));
  const bool plain = detect_key_dialect(tensors.names()) == KeyDialect::plain;
  return plain ? std::move(tensors) : in_dialect("save the adapter '" + name + "'", tensors, dialect);
}

StateDict fusion_tensors(AdapterModel& model, const std::string& name) {
  return detached(model.fusion_state(name));
}

StateDict head_tensors(AdapterModel& model, const std::string& name) {
  return detached(model.head_state(name));
}

void SharedTensors::write(const std::string& file, WeightsFormat format) const {
  if (format == WeightsFormat::safetensors) {
    SafetensorsMetadata metadata = {{"format", "pt"}};
    metadata.insert(metadata.end(), aliases.begin(), aliases.end());
    return write_safetensors(file, tensors, metadata);
  }
  auto all = tensors;
  for (const auto& [other, first] : aliases) all.add(other, all.at(first));
  write_weights(file, all, format);
}

SharedTensors base_tensors(AdapterModel& model, at::ScalarType dtype, const std::string& prefix) {
  SharedTensors result;
  std::unordered_map<const void*, std::string> written;
  model.backbone().visit_parameters("", [&](const std::string& name, const Parameter& parameter) {
    const auto part = model.part_of({name, parameter});
    if (part != Part::base && part != Part::inserted) return;
    const auto [first, added] = written.emplace(identity_of(parameter.value), prefix + name);
    if (added) {
      result.tensors.add(prefix + name, parameter.value->detach().to(at::kCPU).to(dtype));
    } else {
      result.aliases.emplace_back(prefix + name, first->second);
    }
  });
  return result;
}

StateDict in_dialect(const std::string& operation, const StateDict& tensors, KeyDialect dialect) {
  StateDict result;
  for (const auto& rename : convert_keys(tensors.names(), dialect)) result.add(rename.to, tensors.at(rename.from));
  return vera_in_dialect(operation, result, dialect);
}

}  // namespace ta
