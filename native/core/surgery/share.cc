// Parameters that several adapters share: MTL-LoRA's A and up-projections, which in its paper all tasks have in common
// (Yang et al. 2024, arXiv 2410.09437). They lie in a buffer of their own, which trains while one of the adapters does.
// Files of weights know nothing of it: each adapter's holds all that it needs. Its config names the group.

#include <algorithm>

#include "core/adapters/lora_kinds.h"
#include "core/error.h"
#include "core/surgery/adapter_model.h"

namespace ta {

namespace {

bool is_shared(const std::string& name) {
  return name.ends_with(".lora_A") || name.ends_with(".lora_B");
}

/// What trained before buffers were laid out anew, and trains again.
struct Training {
  bool trains;
  std::set<std::string> frozen;
};

// While its tensors are still where the buffer knows them.
Training stop(FlatParameters& flat) {
  Training before{flat.trainable(), flat.frozen()};
  flat.set_trainable(false);
  return before;
}

}  // namespace

// One for each place, null where the adapter has none.
std::vector<MtlLora*> AdapterModel::mtl_modules(const std::string& operation, const std::string& name) const {
  const int64_t index = adapter_index(name);
  std::vector<MtlLora*> result;
  for (const auto& [place, path] : places_) {
    const auto module = place->module(index);
    result.push_back(dynamic_cast<MtlLora*>(module.get()));
    if (!module || result.back() != nullptr) continue;
    fail(ErrorCode::invalid_argument, operation, "'" + name + "' is not MTL-LoRA alone",
         {.expected = "adapters of the method mtl_lora", .got = text(module->type(), " at ", path)});
  }
  return result;
}

// The adapter's buffer, without what lies in another.
void AdapterModel::lay_out(const std::string& name, const std::set<const at::Tensor*>& elsewhere) {
  auto& entry = adapters_.at(name);
  auto own = state_of(entry.index, name);
  std::erase_if(own, [&](const NamedParameter& named) { return elsewhere.contains(named.parameter.value); });
  entry.flat = std::make_unique<FlatParameters>(std::move(own), device_);
}

void AdapterModel::share_parameters(const std::string& group, const std::vector<std::string>& adapters,
                                    const std::string& reference) {
  const auto operation = "shareParameters '" + group + "'";
  if (sharings_.contains(group)) fail(ErrorCode::invalid_argument, operation, "a group of this name exists already");
  const auto source = mtl_modules(operation, reference);
  std::vector<std::vector<MtlLora*>> modules;
  for (const auto& name : adapters) {
    check_not_merged(operation, name);
    check_not_shared(operation, name);
    const auto& own = modules.emplace_back(mtl_modules(operation, name));
    for (size_t i = 0; i < own.size(); ++i) {
      const bool alike =
          (own[i] == nullptr) == (source[i] == nullptr) &&
          (own[i] == nullptr || (own[i]->own_parameters()[0].shape == source[i]->own_parameters()[0].shape &&
                                 own[i]->own_parameters()[1].shape == source[i]->own_parameters()[1].shape));
      if (alike) continue;
      fail(ErrorCode::invalid_argument, operation,
           "'" + name + "' and '" + reference + "' differ at " + places_[i].path,
           {.expected = "adapters of one configuration"});
    }
  }
  std::vector<Training> before;
  for (const auto& name : adapters) before.push_back(stop(*adapters_.at(name).flat));
  for (const auto& own : modules)
    for (size_t i = 0; i < own.size(); ++i)
      if (own[i] != nullptr && own[i] != source[i]) own[i]->share(*source[i]);
  // Under the names of the one that was added first, which is the first in the tree.
  const auto first = *std::min_element(adapters.begin(), adapters.end(), [&](const auto& a, const auto& b) {
    return adapter_index(a) < adapter_index(b);
  });
  auto shared = state_of(adapter_index(first), first);
  std::erase_if(shared, [](const NamedParameter& named) { return !is_shared(named.name); });
  std::set<const at::Tensor*> tensors;
  for (const auto& named : shared) tensors.insert(named.parameter.value);
  auto flat = std::make_unique<FlatParameters>(std::move(shared), device_);
  for (size_t i = 0; i < adapters.size(); ++i) {
    lay_out(adapters[i], tensors);
    adapters_.at(adapters[i]).flat->set_trainable(before[i].trains, before[i].frozen);
    if (before[i].trains) flat->set_trainable(true, before[i].frozen);
  }
  sharings_[group] = {adapters, std::move(flat)};
}

void AdapterModel::unshare_parameters(const std::string& group) {
  const auto operation = "unshareParameters '" + group + "'";
  const auto found = sharings_.find(group);
  if (found == sharings_.end()) fail(ErrorCode::invalid_argument, operation, "no group of this name");
  const auto adapters = found->second.adapters;
  found->second.flat->set_trainable(false);
  for (const auto& name : adapters) {
    const auto before = stop(*adapters_.at(name).flat);
    for (auto* module : mtl_modules(operation, name))
      if (module != nullptr) module->unshare();
    lay_out(name, {});
    adapters_.at(name).flat->set_trainable(before.trains, before.frozen);
  }
  sharings_.erase(found);
}

void AdapterModel::check_not_shared(const std::string& operation, const std::string& name) const {
  for (const auto& [group, sharing] : sharings_) {
    if (std::find(sharing.adapters.begin(), sharing.adapters.end(), name) == sharing.adapters.end()) continue;
    fail(ErrorCode::invalid_argument, operation, "'" + name + "' shares parameters, in the group '" + group + "'",
         {.hint = "Call unshareParameters('" + group + "') first"});
  }
}

}  // namespace ta
