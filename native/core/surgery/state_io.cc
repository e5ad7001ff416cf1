#include "core/surgery/state_io.h"

#include <ATen/ops/equal.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <set>
#include <unordered_map>

#include "core/error.h"
#include "core/models/network.h"
#include "core/nn/tensor_handles.h"
#include "core/surgery/state_tensors.h"
#include "core/surgery/strict_assign.h"
#include "core/surgery/vera_files.h"

namespace ta {

namespace {

// The peer's state dict has a prefix beside the layers, and again in each of them.
constexpr std::string_view kPool = ".prefix_tuning.pool.";

constexpr std::string_view kBeside = "prefix_tuning.prefix_tunings.";

// What the model's own prefixes stand below: of an exported class with a head that is the network inside, `model.`.
std::string place_of_prefixes(const std::vector<NamedParameter>& wanted, const Model& backbone) {
  for (const auto& one : wanted)
    if (const auto at = one.name.find(kBeside); at != std::string::npos) return one.name.substr(0, at);
  return named(backbone, "");
}

std::string without_pool(const std::string& key, const std::string& place) {
  const auto at = key.find(kPool);
  return at == std::string::npos ? key : place + "prefix_tuning." + key.substr(at + kPool.size());
}

// A key of any file as this model has it.
std::string with_our_prefix(const std::string& key, const Model& backbone) {
  return add_base_prefix(strip_base_prefix(key, file_prefix(backbone)), backbone.prefix());
}

// Leaves out what the file has once more.
StateDict without_copies(const StateDict& tensors) {
  std::set<std::string> beside;
  for (const auto& [key, tensor] : tensors) {
    const auto at = key.find(kBeside);
    if (at != std::string::npos) beside.insert(key.substr(at + std::string_view("prefix_tuning.").size()));
  }
  StateDict result;
  for (const auto& [key, tensor] : tensors) {
    const auto at = key.find(kPool);
    if (at == std::string::npos || !beside.contains(key.substr(at + kPool.size()))) result.add(key, tensor);
  }
  return result;
}

// Only what belongs to `owner`, under `name`, with the base prefix of this model and AdapterHub's names inside.
// `is_there`: whether a file that has others of the kind must have some of it.
FromFile owned_by(const StateDict& file, const KeyOwner& owner, const std::string& name, const Model& backbone,
                  const std::vector<NamedParameter>& wanted, bool is_there = true) {
  StateDict own;
  std::unordered_map<std::string, std::string> keys;
  std::set<std::string> others;
  bool prefixed = false;
  const auto& containers = own_containers(backbone);
  const auto place = place_of_prefixes(wanted, backbone);
  for (const auto& [key, tensor] : file) {
    const auto modern = modern_key(key);
    const auto found = key_owner(modern, containers);
    if (!found || found->kind != owner.kind) continue;
    if (found->name != owner.name) {
      others.insert(found->name);
      continue;
    }
    prefixed = prefixed || has_base_prefix(modern, backbone.prefix());
    const auto here = without_pool(with_our_prefix(rename_owner(modern, owner, name, containers), backbone), place);
    if (const auto* before = own.find(here); before != nullptr && here.find(".prefix_tunings.") != here.npos) {
      if (before->is_same(tensor) || at::equal(*before, tensor)) continue;
      fail(ErrorCode::state_dict, "read the prefix", key + " is not what another layer has of it",
           {.expected = "one prefix for all layers", .hint = "The file was changed by hand; save the adapter again"});
    }
    own.add(here, tensor);
    keys.emplace(here, key);
  }
  if (is_there && own.empty() && !others.empty() && !wanted.empty()) {
    fail(ErrorCode::state_dict, "load '" + owner.name + "'", "the file holds nothing of that name",
         {.expected = "tensors of '" + owner.name + "'",
          .got = "those of " + name_list(others),
          .hint = "A config names its tensors: write their name into the one beside the file"});
  }
  FromFile result;
  const bool bare = !prefixed && !own.empty();
  std::vector<std::string> names;
  for (const auto& named : wanted) names.push_back(named.name);
  const auto theirs = detect_key_dialect(own.names()), ours_is = detect_key_dialect(names);
  for (const auto& [from, to] : convert_keys(own.names(), ours_is)) {
    result.tensors.add(to, own.at(from));
    result.spelling.emplace(to, keys.at(from));
  }
  std::vector<KeyRename> renames;
  if (theirs != ours_is) {
    renames = convert_keys(names, theirs);
  } else {
    for (const auto& ours : names) renames.push_back({ours, ours});
  }
  for (const auto& [ours, spelled] : renames) {
    const auto renamed = rename_owner(spelled, {owner.kind, name}, owner.name, containers);
    result.expected.emplace(ours, bare ? strip_base_prefix(renamed, backbone.prefix()) : renamed);
  }
  return result;
}

// A static head's keys under ours: classifier.dense.weight → heads.<name>.1.weight.
FromFile from_layers(const StateDict& file, const HeadLayers& layers, const std::string& name,
                     const std::vector<NamedParameter>& wanted) {
  FromFile result;
  for (const auto& [key, tensor] : file) {
    const auto modern = modern_key(key);
    const auto end = modern.rfind('.');
    for (const auto& [module, index] : layers) {
      if (end == std::string::npos || modern.compare(0, end, module) != 0) continue;
      const auto here = text("heads.", name, ".", index, modern.substr(end));
      // A decoder's bias stands in a pickled file twice: `lm_head.bias` and `lm_head.decoder.bias` are one tensor.
      if (const auto* before = result.tensors.find(here)) {
        if (before->is_same(tensor) || at::equal(*before, tensor)) continue;
        fail(ErrorCode::state_dict, "read the head", key + " is not what " + result.spelling.at(here) + " is",
             {.expected = "one tensor under both names", .hint = "The file was changed by hand"});
      }
      result.tensors.add(here, tensor);
      result.spelling.emplace(here, key);
    }
  }
  for (const auto& named : wanted) {
    auto& expected = result.expected[named.name] = named.name;
    for (const auto& [module, index] : layers) {
      const auto prefix = text("heads.", name, ".", index, ".");
      if (named.name.starts_with(prefix)) expected = module + "." + named.name.substr(prefix.size());
    }
  }
  return result;
}

// The one adapter or head that these keys belong to gets another name. A network's own modules may be called as what
// holds adapters: an owner is then named in every key, and where several names are, `from` tells which it is.
StateDict renamed_to(const StateDict& tensors, const std::string& from, const std::string& name,
                     const std::string& source) {
  std::set<std::string> all, names;
  for (const auto& key : tensors.names()) {
    const auto here = possible_owners(key);
    if (here.empty()) continue;
    if (all.empty()) names = here;
    std::erase_if(names, [&](const std::string& one) { return !here.contains(one); });
    all.insert(here.begin(), here.end());
  }
  const auto old = names.size() == 1 ? *names.begin() : from;
  if (!names.contains(old)) {
    const char* hint = names.size() > 1 ? "Convert the folder, whose config has the name" : "";
    fail(ErrorCode::state_dict, "rename '" + source + "'", "the file holds not just one adapter or head",
         {.expected = "tensors of one name", .got = all.empty() ? "none" : name_list(all), .hint = hint});
  }
  return tensors.renamed([&](const std::string& key) { return rename_possible_owner(key, old, name); });
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
  write_weights(file, adapter_tensors(model, name, dialect), format);
}

void save_head(AdapterModel& model, const std::string& name, const std::string& file, WeightsFormat format) {
  write_weights(file, head_tensors(model, name), format);
}

void load_adapter(AdapterModel& model, const std::string& name, const std::string& from, const std::string& file) {
  model.adapter_index(name);
  const auto wanted = model.adapter_state(name);
  const KeyOwner owner{KeyOwner::Kind::adapter, from};
  const auto operation = "load the adapter '" + from + "' of " + file;
  auto found = owned_by(read_weights_at(file), owner, name, model.backbone(), wanted);
  found.tensors = vera_in_dialect(operation, found.tensors, KeyDialect::plain);
  assign_strictly(operation, wanted, found, last_layers(model.backbone(), wanted, found));
}

void save_fusion(AdapterModel& model, const std::string& name, const std::string& file, WeightsFormat format) {
  write_weights(file, fusion_tensors(model, name), format);
}

void load_fusion(AdapterModel& model, const std::string& name, const std::string& from, const std::string& file) {
  const auto wanted = model.fusion_state(name);
  const auto operation = "load the fusion '" + from + "' of " + file;
  auto found = owned_by(read_weights_at(file), {KeyOwner::Kind::fusion, from}, name, model.backbone(), wanted);
  leave_out_idle(model.backbone(), wanted, found);
  assign_strictly(operation, wanted, found, last_layers(model.backbone(), wanted, found));
}

void load_head(AdapterModel& model, const std::string& name, const std::string& from, const std::string& file,
               const HeadLayers& layers, const std::vector<FoldedLinear>& folded) {
  const std::string operation = "load the head" + (from.empty() ? "" : " '" + from + "'") + " of " + file;
  auto weights = read_weights_at(file);
  for (const auto& one : folded) weights = with_folded(weights, one, model, operation);
  auto wanted = model.head_state(name);
  const KeyOwner owner{KeyOwner::Kind::head, from};
  // A head that is one tied matrix lies in a whole model's file under the word embedding's name alone.
  const bool is_tied_alone = model.head(name).tied_key().has_value() && wanted.size() == 1;
  auto found = layers.empty() ? owned_by(weights, owner, name, model.backbone(), wanted, !is_tied_alone)
                              : from_layers(weights, layers, name, wanted);
  if (auto tied = model.head(name).tied_key()) {
    // The decoder's weight is the word embedding's, which a head must not change: same values, or another base model.
    const auto key = "heads." + name + "." + *tied;
    const auto* decoder = found.tensors.find(key);
    const auto& embedding = model.backbone().word_embeddings()->weight;
    if (decoder != nullptr && decoder->sizes() == embedding.sizes() &&
        !at::equal(decoder->to(embedding.options()), embedding)) {
      fail(ErrorCode::state_dict, operation, "its decoder is not this model's word embedding",
           {.hint = "The head was trained on another base model"});
    }
    std::erase_if(wanted, [&](const NamedParameter& named) { return named.name == key; });
    StateDict rest;
    for (const auto& [name_in_file, tensor] : found.tensors)
      if (name_in_file != key) rest.add(name_in_file, tensor);
    found.tensors = std::move(rest);
  }
  assign_strictly(operation, wanted, found);
}

void save_base(AdapterModel& model, const std::string& file, at::ScalarType dtype, WeightsFormat format) {
  base_tensors(model, dtype, "").write(file, format);
}

void save_whole(AdapterModel& model, const std::string& file, at::ScalarType dtype, const WholeParts& parts) {
  auto whole = base_tensors(model, dtype, named(model.backbone(), ""));
  const auto add = [&](const StateDict& part) {
    for (const auto& [name, tensor] : part) whole.tensors.add(name, tensor);
  };
  for (const auto& name : parts.adapters) add(adapter_tensors(model, name, KeyDialect::adapterhub));
  for (const auto& name : parts.fusions) add(fusion_tensors(model, name));
  for (const auto& name : parts.heads) add(head_tensors(model, name));
  whole.write(file, WeightsFormat::safetensors);
}

void rewrite_weights(const std::string& source, const std::string& target, WeightsFormat format, KeyDialect dialect,
                     const std::string& from, const std::string& name) {
  auto modern = without_copies(read_weights(source).renamed([](const std::string& key) { return modern_key(key); }));
  if (!name.empty()) modern = renamed_to(modern, from, name, source);
  write_weights(target, in_dialect("rewrite " + source, modern, dialect), format);
}

void set_parameters(AdapterModel& model, const StateDict& values) {
  std::unordered_map<std::string, NamedParameter> named;  // a shared one under each of its names
  TensorHandles handles;
  model.root().visit_parameters("", [&](const std::string& name, const Parameter& parameter) {
    named.emplace(name, NamedParameter{name, parameter});
    handles.add(parameter.value);
  });
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
  if (!wrong.empty()) fail(ErrorCode::state_dict, "loadStateDict", "the values do not fit: " + name_list(wrong));
  for (const auto& [name, tensor] : values) model.check_writable("loadStateDict", named.at(name));
  c10::NoGradGuard guard;
  for (const auto& [name, tensor] : values) {
    auto& value = *named.at(name).parameter.value;
    if (model.part_of(named.at(name)) == Part::base && !value.requires_grad()) {
      const auto type = value.defined() ? value.scalar_type() : at::kFloat;
      // Never into a mapped file.
      handles.assign(&value, tensor.to(at::TensorOptions(type).device(model.device())).clone());
    } else {
      value.copy_(tensor);
    }
  }
}

}  // namespace ta
