#include "core/surgery/adapter_model.h"

#include <c10/core/GradMode.h>

#include <algorithm>
#include <set>
#include <unordered_set>

#include "core/adapters/prefix.h"
#include "core/error.h"
#include "core/models/initialise.h"
#include "core/nn/tensor_handles.h"
#include "core/state/key_names.h"

namespace ta {

namespace {

void check_name(const std::string& operation, const std::string& name) {
  if (name.empty() || name.find('.') != std::string::npos) {
    fail(ErrorCode::invalid_argument, operation, "the name becomes part of parameter names",
         {.expected = "a name without dots, not empty", .got = "'" + name + "'"});
  }
}

template <class Map>
auto& find_named(Map& map, const std::string& operation, const std::string& name) {
  auto found = map.find(name);
  if (found == map.end()) {
    std::vector<std::string> names;
    for (const auto& entry : map) names.push_back(entry.first);
    fail(ErrorCode::invalid_argument, operation, "no '" + name + "' here",
         {.expected = names.empty() ? "one that was added before" : "one of " + name_list(names),
          .got = "'" + name + "'"});
  }
  return found->second;
}

std::vector<NamedParameter> parameters_below(const Module& module, const std::string& prefix) {
  std::vector<NamedParameter> result;
  module.visit_parameters(prefix, [&](const std::string& name, const Parameter& p) { result.push_back({name, p}); });
  return result;
}

void check_fusible(const std::string& operation, const std::string& name, AdapterPlace* place, int64_t index) {
  const auto module = place->module(index);
  const char* why = module ? module->why_not_fused() : nullptr;
  if (why == nullptr) return;
  fail(ErrorCode::unsupported, operation, text("AdapterFusion has no meaning for '", name, "', which ", why),
       {.expected = "bottleneck adapters", .hint = "Put other methods together with Stack"});
}

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

}  // namespace

AdapterModel::AdapterModel(std::shared_ptr<Model> backbone, at::Device device, at::ScalarType trunk)
    : backbone_(std::move(backbone)),
      root_("AdapterModel"),
      heads_container_(std::make_shared<Container>("ModuleDict")),
      output_place_(std::make_shared<OutputPlace>()),
      device_(device),
      trunk_(trunk) {
  root_.add(backbone_->prefix(), backbone_);
  root_.add("heads", heads_container_);
  root_.add("adapters", output_place_);
  backbone_->invertible_place();
  backbone_->prefix_place();
  backbone_->prompt_place();
  backbone_->shared_place();
  find_places();
}

void AdapterModel::find_places() {
  places_.clear();
  std::unordered_set<const Module*> seen;
  root_.visit_modules("", [&](const std::string& path, const Module& module) {
    // The tree is ours; visiting it hands out what it holds as const alone.
    auto* place = dynamic_cast<AdapterPlace*>(const_cast<Module*>(&module));
    // Surgery may have put one module into two places.
    if (place != nullptr && seen.insert(place).second) places_.push_back({place, path});
  });
}

void AdapterModel::put(Entries& entries, const std::string& operation, const std::string& name,
                       const std::vector<PlacedModule>& modules, const Start& start) {
  check_name(operation, name);
  // What stood under this name steps aside, and comes back where the new one cannot be made.
  std::optional<Entry> before;
  std::vector<std::shared_ptr<AdapterModule>> modules_before;
  if (auto found = entries.find(name); found != entries.end()) {
    if (!start.replace) fail(ErrorCode::invalid_argument, operation, "'" + name + "' exists already");
    if (&entries == &adapters_) check_not_merged(operation, name), check_not_shared(operation, name);
    for (const auto& [place, path] : places_) modules_before.push_back(place->module(found->second.index));
    before.emplace(std::move(found->second));
    remove(entries, name, before->index);
  }
  const int64_t index = next_index_++;
  try {
    place(entries, name, index, modules, start);
  } catch (...) {
    remove(entries, name, index);
    if (before) {
      for (size_t i = 0; i < places_.size(); ++i)
        if (modules_before[i]) places_[i].place->add(before->index, name, modules_before[i]);
      entries[name] = std::move(*before);
    }
    throw;
  }
}

void AdapterModel::place(Entries& entries, const std::string& name, int64_t index,
                         const std::vector<PlacedModule>& modules, const Start& start) {
  for (const auto& made : modules) made.place->add(index, name, made.module);
  auto state = state_of(index, name);
  check_held("load the adapter", state, start.source);
  auto& entry = entries[name];
  entry.index = index;
  entry.flat = std::make_unique<FlatParameters>(std::move(state), device_);
  // A seed in the configuration starts every module of one shape alike, as the peer does; otherwise one stream for all.
  Random random(start.seed);
  for (const auto& made : modules) {
    if (made.seed) random = Random(*made.seed);
    made.module->initialise(random);
  }
}

void AdapterModel::remove(Entries& entries, const std::string& name, int64_t index) {
  for (const auto& [place, path] : places_) place->remove(index, name);
  entries.erase(name);
}

void AdapterModel::add_adapter(const std::string& name, const std::vector<AdapterConfig>& configs, uint64_t seed,
                               bool replace, const std::optional<WeightsSource>& source) {
  const std::string operation = "addAdapter '" + name + "'";
  const auto modules = make_modules(operation, configs, *backbone_, *output_place_);
  put(adapters_, operation, name, modules, {seed, replace, source});
}

void AdapterModel::delete_adapter(const std::string& name) {
  check_not_merged("deleteAdapter", name);
  check_not_shared("deleteAdapter", name);
  remove(adapters_, name, find_named(adapters_, "deleteAdapter", name).index);
}

int64_t AdapterModel::adapter_index(const std::string& name) const {
  return find_named(adapters_, "adapter", name).index;
}

void AdapterModel::eject_prefix_tuning(const std::string& name) {
  auto& entry = find_named(adapters_, "ejectPrefixTuning", name);
  auto& pool = backbone_->prefix_place();
  const auto group = std::static_pointer_cast<PrefixGroup>(pool.module(entry.index));
  if (!group) {
    fail(ErrorCode::invalid_argument, "ejectPrefixTuning", "'" + name + "' has no prefix",
         {.expected = "an adapter whose method is prefix tuning, or one of whose is"});
  }
  if (group->config().flat) return;
  auto flat = group->ejected();
  pool.remove(entry.index, name);
  pool.add(entry.index, name, std::move(flat));
  entry.flat = std::make_unique<FlatParameters>(state_of(entry.index, name), device_);
}

void AdapterModel::add_fusion(const std::string& name, const std::vector<std::string>& adapters,
                              const FusionConfig& config, uint64_t seed, bool replace) {
  const std::string operation = "addAdapterFusion '" + name + "'";
  std::vector<int64_t> indices;
  for (const auto& adapter : adapters) indices.push_back(find_named(adapters_, operation, adapter).index);
  std::vector<PlacedModule> modules;
  for (const auto& [place, path] : places_) {
    for (size_t i = 0; i < indices.size(); ++i) check_fusible(operation, adapters[i], place, indices[i]);
    auto* site = dynamic_cast<AdapterSite*>(place);
    const bool here = site != nullptr && std::any_of(indices.begin(), indices.end(),
                                                     [&](int64_t index) { return site->at(index) != nullptr; });
    if (!here) continue;
    modules.push_back(
        {site->fusions().get(), std::make_shared<Fusion>(backbone_->config().hidden_size, config), std::nullopt});
  }
  if (modules.empty()) {
    fail(ErrorCode::invalid_argument, operation, "none of these adapters is a bottleneck in any layer",
         {.expected = "bottleneck adapters", .got = name_list(adapters)});
  }
  put(fusions_, operation, name, modules, {seed, replace, std::nullopt});
}

void AdapterModel::delete_fusion(const std::string& name) {
  remove(fusions_, name, find_named(fusions_, "deleteAdapterFusion", name).index);
}

int64_t AdapterModel::fusion_index(const std::string& name) const {
  return find_named(fusions_, "fusion", name).index;
}

std::vector<std::shared_ptr<Fusion>> AdapterModel::fusion_modules(const std::string& name) const {
  std::vector<std::shared_ptr<Fusion>> modules;
  const auto found = fusions_.find(name);
  if (found == fusions_.end()) return modules;
  for (const auto& [place, path] : places_)
    if (auto module = place->module(found->second.index)) modules.push_back(std::static_pointer_cast<Fusion>(module));
  return modules;
}

std::vector<std::shared_ptr<Fusion>> AdapterModel::training_fusions() const {
  std::vector<std::shared_ptr<Fusion>> modules;
  for (const auto& [name, entry] : fusions_) {
    if (!entry.flat->trainable()) continue;
    for (auto& module : fusion_modules(name)) modules.push_back(std::move(module));
  }
  return modules;
}

void AdapterModel::add_head(const std::string& name, const HeadConfig& config, uint64_t seed, bool replace,
                            const std::optional<WeightsSource>& source) {
  const std::string operation = "addHead '" + name + "'";
  check_name(operation, name);
  if (heads_.count(name) && !replace)
    fail(ErrorCode::invalid_argument, operation, "a head of this name exists already");
  auto head = std::make_shared<Head>(config, *backbone_);
  auto parameters = parameters_below(*head, "heads." + name);
  check_held("load the head", parameters, source);
  auto flat = std::make_unique<FlatParameters>(std::move(parameters), device_);
  Random random(seed);
  for (const auto& named : flat->parameters()) {
    initialise(named.parameter, backbone_->config().initializer_range, random);
    if (named.name == "heads." + name + "." + head->own_words_key().value_or("")) {
      const c10::NoGradGuard guard;
      named.parameter.value->copy_(backbone_->word_embeddings()->weight);
    }
  }
  if (heads_.count(name)) delete_head(name);
  heads_container_->add(name, head);
  heads_[name] = {std::move(head), std::move(flat)};
}

void AdapterModel::delete_head(const std::string& name) {
  find_named(heads_, "deleteHead", name);
  heads_container_->remove(name);
  heads_.erase(name);
}

Head& AdapterModel::head(const std::string& name) {
  return *find_named(heads_, "head", name).head;
}

void AdapterModel::set_trainable(const Trainable& what) {
  for (const auto& name : what.adapters) find_named(adapters_, "train adapter", name);
  for (const auto& name : what.fusions) find_named(fusions_, "train fusion", name);
  for (const auto& name : what.heads) find_named(heads_, "train head", name);
  set_base_trainable(what.base);
  const std::set<std::string> frozen(what.frozen.begin(), what.frozen.end());
  for (auto& [name, adapter] : adapters_) adapter.flat->set_trainable(contains(what.adapters, name), frozen);
  for (auto& [name, sharing] : sharings_) {
    const bool trains = std::any_of(sharing.adapters.begin(), sharing.adapters.end(),
                                    [&](const std::string& adapter) { return contains(what.adapters, adapter); });
    sharing.flat->set_trainable(trains, frozen);
  }
  for (auto& [name, fusion] : fusions_) fusion.flat->set_trainable(contains(what.fusions, name), frozen);
  for (auto& [name, head] : heads_) head.flat->set_trainable(contains(what.heads, name), frozen);
  if (inserted_) inserted_->set_trainable(what.inserted, frozen);
}

void AdapterModel::set_base_trainable(const std::vector<std::string>& names) {
  if (names == base_names_) return;
  if (!names.empty() && !merged_.empty()) check_not_merged("train base parameters", merged_);
  std::set<std::string> wanted(names.begin(), names.end());
  std::vector<NamedParameter> chosen;
  TensorHandles handles;
  for (auto& named : parameters_below(*backbone_, backbone_->prefix())) {
    handles.add(named.parameter.value);
    if (part_of(named) == Part::base && wanted.erase(named.name)) chosen.push_back(std::move(named));
  }
  if (!wanted.empty()) {
    fail(ErrorCode::invalid_argument, "train base parameters", "no such parameter: " + name_list(wanted));
  }
  check_trunk_trains(chosen);
  if (base_) base_->set_trainable(false);
  base_ = chosen.empty() ? nullptr : std::make_unique<FlatParameters>(std::move(chosen), device_);
  if (base_) {
    for (const auto& named : base_->parameters()) handles.assign(named.parameter.value, *named.parameter.value);
    base_->set_trainable(true);
  }
  base_names_ = names;
}

// An optimizer's step is most often smaller than what bfloat16 can tell apart.
void AdapterModel::check_trunk_trains(const std::vector<NamedParameter>& chosen) const {
  std::vector<std::string> narrow;
  for (const auto& named : chosen)
    if (named.parameter.type_in(trunk_) != at::kFloat) narrow.push_back(named.name);
  if (narrow.empty()) return;
  fail(ErrorCode::unsupported, "train base parameters", "matrices of a bfloat16 trunk do not train",
       {.expected = "adapters, heads, biases and LayerNorms",
        .got = name_list(narrow),
        .hint = "Load the model with trunk: 'float32' to train them"});
}

std::vector<FlatParameters*> AdapterModel::trainable() {
  std::vector<FlatParameters*> result;
  for (auto& [name, adapter] : adapters_)
    if (adapter.flat->trainable()) result.push_back(adapter.flat.get());
  for (auto& [name, sharing] : sharings_)
    if (sharing.flat->trainable()) result.push_back(sharing.flat.get());
  for (auto& [name, fusion] : fusions_)
    if (fusion.flat->trainable()) result.push_back(fusion.flat.get());
  for (auto& [name, head] : heads_)
    if (head.flat->trainable()) result.push_back(head.flat.get());
  if (inserted_ && inserted_->trainable()) result.push_back(inserted_.get());
  if (base_) result.push_back(base_.get());
  return result;
}

std::vector<NamedParameter> AdapterModel::named_parameters() {
  std::vector<NamedParameter> result;
  std::unordered_set<const void*> seen;
  for (auto& named : parameters_below(root_, ""))
    if (!named.parameter.buffer && seen.insert(identity_of(named.parameter.value)).second)
      result.push_back(std::move(named));
  return result;
}

std::vector<NamedParameter> AdapterModel::state_of(int64_t index, const std::string& name) const {
  std::vector<NamedParameter> result;
  for (const auto& [place, path] : places_) {
    const auto module = place->module(index);
    if (!module) continue;
    module->visit_parameters(path + "." + name, [&](const std::string& full, const Parameter& parameter) {
      result.push_back({full, parameter});
    });
  }
  return result;
}

std::vector<NamedParameter> AdapterModel::adapter_state(const std::string& name) {
  return state_of(adapter_index(name), name);
}

std::vector<NamedParameter> AdapterModel::fusion_state(const std::string& name) {
  return state_of(fusion_index(name), name);
}

std::vector<NamedParameter> AdapterModel::head_state(const std::string& name) {
  auto& head = this->head(name);
  const std::string prefix = "heads." + name;
  auto result = parameters_below(head, prefix);
  if (auto key = head.tied_key()) {
    auto decoder = backbone_->word_embeddings()->own_parameters()[0];
    result.push_back({prefix + "." + *key, decoder});
  }
  return result;
}

}  // namespace ta
