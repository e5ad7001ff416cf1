#include "core/surgery/strict_assign.h"

#include <c10/core/GradMode.h>

#include <algorithm>
#include <charconv>
#include <unordered_set>

#include "core/error.h"
#include "core/models/network.h"
#include "core/state/integer_weights.h"
#include "core/surgery/misfit.h"

namespace ta {

namespace {

// One more than the layer that a name speaks of: `bert.encoder.layer.3.…` below `bert.encoder.layer.` → 4; 0 where
// none.
int64_t layers_of(const std::string& name, const std::string& path) {
  if (!name.starts_with(path)) return 0;
  int64_t layer = 0;
  const auto* begin = name.data() + path.size();
  const auto [end, error] = std::from_chars(begin, name.data() + name.size(), layer);
  return error == std::errc() && end != begin ? layer + 1 : 0;
}

// What an encoder with a decoder calls the attention that reads the encoder, in T5 and in BART.
bool is_across(const std::string& name) {
  return name.find(".EncDecAttention.") != std::string::npos || name.find(".encoder_attn.") != std::string::npos;
}

// Python's adapters forgets what layers share where a bare class saves.
const char* hint_for(const Misfit& misfit, const StateDict& tensors) {
  const auto is_shared = [](const std::string& name) { return name.find("shared_parameters.") != std::string::npos; };
  const auto is_head = [](const std::string& name) { return name.starts_with("heads."); };
  const bool has_head =
      std::any_of(tensors.begin(), tensors.end(), [&](const auto& entry) { return is_head(entry.first); });
  if (!misfit.missing.empty() && misfit.unexpected.empty() && misfit.misshaped.empty() && !has_head &&
      std::all_of(misfit.missing.begin(), misfit.missing.end(), is_head))
    return "The file holds nothing of the head: withHead: false leaves it out";
  if (!misfit.unexpected.empty() && misfit.missing.empty() && misfit.misshaped.empty() &&
      std::all_of(misfit.unexpected.begin(), misfit.unexpected.end(), is_across))
    return "Python's adapters puts LoRA and (IA)\xC2\xB3 at a decoder's attention to the encoder, too, where a place "
           "of "
           "attention has none here: train it by names of Linears, as PEFT's target_modules";
  const bool forgotten = !misfit.missing.empty() && misfit.unexpected.empty() && misfit.misshaped.empty() &&
                         std::all_of(misfit.missing.begin(), misfit.missing.end(), is_shared);
  return forgotten ? "Python's adapters leaves shared parameters out of what a bare class saves: save it from its "
                     "AutoAdapterModel, or from a class with a head"
                   : "Compare its configuration, base model and surgery with those it was trained with";
}

}  // namespace

void assign_strictly(const std::string& operation, const std::vector<NamedParameter>& wanted, const FromFile& file,
                     LastLayers layers) {
  Misfit misfit;
  IntegerWeights integers;
  std::unordered_set<std::string> known, told;
  for (const auto& named : wanted) {
    known.insert(named.name);
    const auto* tensor = file.tensors.find(named.name);
    if (tensor == nullptr) {
      // A norm that AdapterHub holds twice is one tensor in a plain file: its second name is expected nowhere.
      const auto name = file.expected.find(named.name);
      if (name != file.expected.end()) misfit.missing.push_back(name->second);
    } else if (integers.take(file.spelled(named.name), *tensor, named.parameter.value->scalar_type())) {
    } else if (tensor->sizes() != at::IntArrayRef(named.parameter.shape)) {
      const auto& name = file.spelled(named.name);
      if (!told.insert(name).second) continue;
      misfit.add_misshaped(name, at::IntArrayRef(named.parameter.shape), tensor->sizes());
    }
  }
  for (const auto& [name, tensor] : file.tensors)
    if (!known.count(name) && told.insert(file.spelled(name)).second) misfit.unexpected.push_back(file.spelled(name));
  integers.refuse_any(operation);
  if (layers.there > 0 && layers.there != layers.here) {
    misfit.problem = "it was made for another base model, or is not whole";
    misfit.expected = text("an adapter whose last layer is ", layers.here - 1);
    misfit.got = text("one whose last layer is ", layers.there - 1);
    misfit.refuse_any(operation, "Load the base model that it was trained with, or the whole file");
  }
  misfit.refuse_any(operation, hint_for(misfit, file.tensors));
  c10::NoGradGuard guard;
  for (const auto& named : wanted) named.parameter.value->copy_(*file.tensors.find(named.name));
}

void leave_out_idle(Model& backbone, const std::vector<NamedParameter>& wanted, FromFile& file) {
  const auto path = named(backbone, backbone.layers_path()) + ".";
  const auto places = backbone.places();
  const int64_t layers = places.empty() ? 0 : places.back().layer + 1;
  // Behind the layer's number: what a fusion of this model holds in any layer.
  const auto behind = [&](const std::string& name) { return name.substr(name.find('.', path.size())); };
  std::unordered_set<std::string> names;
  std::unordered_map<std::string, at::IntArrayRef> held;
  for (const auto& one : wanted) {
    names.insert(one.name);
    if (layers_of(one.name, path) > 0) held.emplace(behind(one.name), one.parameter.shape);
  }
  StateDict rest;
  for (const auto& [name, tensor] : file.tensors) {
    const auto count = layers_of(name, path);
    const bool here = count > 0 && count <= layers && !names.contains(name);
    const auto same = here ? held.find(behind(name)) : held.end();
    const bool idle = name.ends_with(".dense.weight") || name.ends_with(".dense.bias");
    if (same != held.end() && same->second == tensor.sizes()) continue;
    if (idle && !names.contains(name) && name.find(".adapter_fusion_layer.") != std::string::npos) continue;
    rest.add(name, tensor);
  }
  file.tensors = std::move(rest);
}

LastLayers last_layers(const Model& backbone, const std::vector<NamedParameter>& wanted, const FromFile& file) {
  const auto path = named(backbone, backbone.layers_path()) + ".";
  LastLayers layers;
  for (const auto& parameter : wanted) layers.here = std::max(layers.here, layers_of(parameter.name, path));
  for (const auto& [name, tensor] : file.tensors) layers.there = std::max(layers.there, layers_of(name, path));
  return layers;
}

}  // namespace ta
