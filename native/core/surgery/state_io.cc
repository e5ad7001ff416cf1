#include "core/surgery/state_io.h"

#include <ATen/ops/equal.h>
#include <c10/core/GradMode.h>

#include <unordered_map>
#include <unordered_set>

#include "core/error.h"
#include "core/state/safetensors.h"

namespace ta {

namespace {

StateDict detached(const std::vector<NamedParameter>& parameters) {
  StateDict tensors;
  for (const auto& named : parameters) tensors.add(named.name, named.parameter.value->detach().to(at::kCPU));
  return tensors;
}

// Copies `tensors` (names as in `wanted`) into the parameters, all or nothing.
void assign_strictly(const std::string& operation, const std::vector<NamedParameter>& wanted,
                     const StateDict& tensors) {
  std::vector<std::string> missing, unexpected, misshaped;
  std::unordered_set<std::string> known;
  for (const auto& named : wanted) {
    known.insert(named.name);
    const auto* tensor = tensors.find(named.name);
    if (tensor == nullptr) {
      missing.push_back(named.name);
    } else if (tensor->sizes() != at::IntArrayRef(named.parameter.shape)) {
      misshaped.push_back(
          text(named.name, ": expected ", at::IntArrayRef(named.parameter.shape), ", got ", tensor->sizes()));
    }
  }
  for (const auto& [name, tensor] : tensors)
    if (!known.count(name)) unexpected.push_back(name);
  if (!missing.empty() || !unexpected.empty() || !misshaped.empty()) {
    std::string problem = "the file does not fit";
    if (!missing.empty()) problem += "; missing " + name_list(missing);
    if (!unexpected.empty()) problem += "; unexpected " + name_list(unexpected);
    if (!misshaped.empty()) problem += "; wrong shape " + name_list(misshaped);
    fail(ErrorCode::state_dict, operation, problem,
         {.hint = "Compare its configuration and base model with those it was trained with"});
  }
  c10::NoGradGuard guard;
  for (const auto& named : wanted) named.parameter.value->copy_(*tensors.find(named.name));
}

// PyTorch's xIELU keeps its two constants as buffers in the state dict.
bool is_constant_buffer(const std::string& key) {
  return key.ends_with(".f.beta") || key.ends_with(".f.eps");
}

// Only what belongs to `owner`, under `name`, with the base prefix of this model.
StateDict owned_by(const StateDict& file, const KeyOwner& owner, const std::string& name, const std::string& prefix) {
  StateDict result;
  for (const auto& [key, tensor] : file) {
    const auto modern = modern_key(key);
    const auto found = key_owner(modern);
    if (!found || found->kind != owner.kind || found->name != owner.name || is_constant_buffer(key)) continue;
    result.add(add_base_prefix(rename_owner(modern, owner, name), prefix), tensor);
  }
  return result;
}

// A static head's keys under ours: classifier.dense.weight → heads.<name>.1.weight.
StateDict from_layers(const StateDict& file, const HeadLayers& layers, const std::string& name) {
  StateDict result;
  for (const auto& [key, tensor] : file) {
    for (const auto& [module, index] : layers) {
      if (key.rfind(module + ".", 0) == 0 && key.find('.', module.size() + 1) == std::string::npos) {
        result.add(text("heads.", name, ".", index, key.substr(module.size())), tensor);
      }
    }
  }
  return result;
}

StateDict in_dialect(const StateDict& tensors, KeyDialect dialect) {
  StateDict result;
  for (const auto& rename : convert_keys(tensors.names(), dialect)) result.add(rename.to, tensors.at(rename.from));
  return result;
}

}  // namespace

WeightsFormat parse_weights_format(const std::string& name) {
  if (name == "safetensors") return WeightsFormat::safetensors;
  if (name == "bin") return WeightsFormat::torch;
  fail(ErrorCode::invalid_argument, "write weights", "unknown format",
       {.expected = "safetensors or bin", .got = "'" + name + "'"});
}

void save_adapter(AdapterModel& model, const std::string& name, const std::string& file, WeightsFormat format,
                  KeyDialect dialect) {
  model.adapter_index(name);
  write_weights(file, in_dialect(detached(model.adapter_state(name)), dialect), format);
}

void save_head(AdapterModel& model, const std::string& name, const std::string& file, WeightsFormat format) {
  write_weights(file, detached(model.head_state(name)), format);
}

void load_adapter(AdapterModel& model, const std::string& name, const std::string& from, const std::string& file) {
  model.adapter_index(name);
  const auto tensors = owned_by(read_weights(file), {KeyOwner::Kind::adapter, from}, name, model.backbone().prefix());
  assign_strictly("loadAdapter '" + name + "' from " + file, model.adapter_state(name),
                  in_dialect(tensors, KeyDialect::adapterhub));
}

void load_head(AdapterModel& model, const std::string& name, const std::string& from, const std::string& file,
               const HeadLayers& layers) {
  const std::string operation = "loadHead '" + name + "' from " + file;
  const auto weights = read_weights(file);
  const auto tensors = layers.empty() ? owned_by(weights, {KeyOwner::Kind::head, from}, name, model.backbone().prefix())
                                      : from_layers(weights, layers, name);
  auto wanted = model.head_state(name);
  if (auto tied = model.head(name).tied_key()) {
    // The decoder's weight is the word embedding's, which a head must not change: same values, or another base model.
    const auto key = "heads." + name + "." + *tied;
    const auto* decoder = tensors.find(key);
    const auto& embedding = model.backbone().word_embeddings().weight;
    if (decoder != nullptr && decoder->sizes() == embedding.sizes() &&
        !at::equal(decoder->to(embedding.options()), embedding)) {
      fail(ErrorCode::state_dict, operation, "its decoder is not this model's word embedding",
           {.hint = "The head was trained on another base model"});
    }
    std::erase_if(wanted, [&](const NamedParameter& named) { return named.name == key; });
    StateDict rest;
    for (const auto& [name_in_file, tensor] : tensors)
      if (name_in_file != key) rest.add(name_in_file, tensor);
    assign_strictly(operation, wanted, rest);
    return;
  }
  assign_strictly(operation, wanted, tensors);
}

void save_base(AdapterModel& model, const std::string& file, at::ScalarType dtype) {
  StateDict tensors;
  model.backbone().visit_parameters("", [&](const std::string& name, const Parameter& parameter) {
    if (name.find(".adapters.") == std::string::npos) {
      tensors.add(name, parameter.value->detach().to(at::kCPU).to(dtype));
    }
  });
  write_safetensors(file, tensors);
}

void rewrite_weights(const std::string& source, const std::string& target, WeightsFormat format, KeyDialect dialect) {
  const auto modern = read_weights(source).renamed([](const std::string& key) { return modern_key(key); });
  write_weights(target, in_dialect(modern, dialect), format);
}

void set_parameters(AdapterModel& model, const StateDict& values) {
  std::unordered_map<std::string, NamedParameter> named;
  for (auto& parameter : model.named_parameters()) named.emplace(parameter.name, parameter);
  std::vector<std::string> wrong;
  for (const auto& [name, tensor] : values) {
    auto found = named.find(name);
    if (found == named.end()) {
      wrong.push_back(name + ": no such parameter");
    } else if (tensor.sizes() != at::IntArrayRef(found->second.parameter.shape)) {
      wrong.push_back(
          text(name, ": expected ", at::IntArrayRef(found->second.parameter.shape), ", got ", tensor.sizes()));
    }
  }
  if (!wrong.empty()) fail(ErrorCode::state_dict, "setParameters", name_list(wrong));
  c10::NoGradGuard guard;
  for (const auto& [name, tensor] : values) {
    auto& value = *named.at(name).parameter.value;
    if (name.find(".adapters.") == std::string::npos && name.rfind("heads.", 0) != 0 && !value.requires_grad()) {
      value = tensor.to(at::TensorOptions(at::kFloat).device(model.device())).clone();  // never into a mapped file
    } else {
      value.copy_(tensor);
    }
  }
}

}  // namespace ta
