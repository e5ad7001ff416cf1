#include "core/surgery/adapter_model.h"

#include <algorithm>
#include <set>
#include <unordered_set>

#include "core/error.h"
#include "core/models/initialise.h"

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

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// Which configuration stands at which site.
std::vector<std::pair<const SitePlace*, const BottleneckConfig*>> place_adapters(
    const std::string& operation, const std::vector<BottleneckConfig>& configs, const std::vector<SitePlace>& places) {
  constexpr int64_t largest = 1 << 20;
  const int64_t layers = places.empty() ? 0 : places.back().layer + 1;
  for (const auto& config : configs) {
    if (static_cast<int64_t>(config.bottleneck_sizes.size()) == layers) continue;
    fail(ErrorCode::invalid_argument, operation, "bottleneck sizes do not fit the model",
         {.expected = text(layers, " sizes, one a layer"), .got = text(config.bottleneck_sizes.size())});
  }
  std::vector<std::pair<const SitePlace*, const BottleneckConfig*>> chosen;
  for (const auto& place : places) {
    const BottleneckConfig* here = nullptr;
    for (const auto& config : configs) {
      const bool wanted = place.location == Location::attention ? config.mh_adapter : config.output_adapter;
      if (!wanted || config.bottleneck_sizes[place.layer] == 0) continue;
      if (config.bottleneck_sizes[place.layer] > largest) {
        fail(ErrorCode::out_of_range, operation, text("the bottleneck of layer ", place.layer, " is too large"),
             {.expected = text("at most ", largest),
              .got = text(config.bottleneck_sizes[place.layer]),
              .hint = "The bottleneck is the hidden size divided by reductionFactor"});
      }
      if (here != nullptr) {
        fail(ErrorCode::invalid_argument, operation,
             text("two configurations want the same place in layer ", place.layer));
      }
      here = &config;
    }
    if (here != nullptr) chosen.emplace_back(&place, here);
  }
  if (chosen.empty()) {
    fail(ErrorCode::invalid_argument, operation, "the configuration names no place in this model",
         {.hint = "Set mh_adapter or output_adapter, and leave out fewer layers"});
  }
  return chosen;
}

}  // namespace

AdapterModel::AdapterModel(std::shared_ptr<Model> backbone, at::Device device)
    : backbone_(std::move(backbone)),
      root_("AdapterModel"),
      heads_container_(std::make_shared<Container>("ModuleDict")),
      device_(device) {
  root_.add(backbone_->prefix(), backbone_);
  root_.add("heads", heads_container_);
}

void AdapterModel::add_adapter(const std::string& name, const std::vector<BottleneckConfig>& configs, uint64_t seed,
                               bool replace) {
  const std::string operation = "addAdapter '" + name + "'";
  check_name(operation, name);
  const auto places = backbone_->sites();
  const auto chosen = place_adapters(operation, configs, places);

  // What stood under this name steps aside, and comes back where the new one cannot be made.
  std::optional<Adapter> before;
  std::vector<std::shared_ptr<Bottleneck>> modules_before;
  if (auto found = adapters_.find(name); found != adapters_.end()) {
    if (!replace) fail(ErrorCode::invalid_argument, operation, "an adapter of this name exists already");
    for (const auto& place : places) modules_before.push_back(place.site->at(found->second.index));
    before.emplace(std::move(found->second));
    remove_adapter(name, before->index);
  }
  const int64_t index = next_index_++;
  try {
    make_adapter(name, index, chosen, seed);
  } catch (...) {
    remove_adapter(name, index);
    if (before) {
      for (size_t i = 0; i < places.size(); ++i)
        if (modules_before[i]) places[i].site->add(before->index, name, modules_before[i]);
      adapters_[name] = std::move(*before);
    }
    throw;
  }
}

void AdapterModel::make_adapter(const std::string& name, int64_t index, const Placement& chosen, uint64_t seed) {
  std::vector<std::pair<std::shared_ptr<Bottleneck>, const BottleneckConfig*>> made;
  for (const auto& [place, config] : chosen) {
    auto adapter =
        std::make_shared<Bottleneck>(backbone_->config().hidden_size, config->bottleneck_sizes[place->layer], *config);
    place->site->add(index, name, adapter);
    made.emplace_back(std::move(adapter), config);
  }
  auto& entry = adapters_[name];
  entry.index = index;
  entry.flat = std::make_unique<FlatParameters>(adapter_state(name), device_);
  // A seed in the configuration starts every module of one shape alike, as the peer does; otherwise one stream for all.
  Random random(seed, device_);
  for (const auto& [adapter, config] : made) {
    if (config->init_weights_seed) random = Random(*config->init_weights_seed, device_);
    adapter->initialise(random);
  }
}

void AdapterModel::remove_adapter(const std::string& name, int64_t index) {
  for (const auto& place : backbone_->sites()) place.site->remove(index, name);
  adapters_.erase(name);
}

void AdapterModel::delete_adapter(const std::string& name) {
  remove_adapter(name, find_named(adapters_, "deleteAdapter", name).index);
}

int64_t AdapterModel::adapter_index(const std::string& name) const {
  return find_named(adapters_, "adapter", name).index;
}

void AdapterModel::add_head(const std::string& name, const HeadConfig& config, uint64_t seed, bool replace) {
  const std::string operation = "addHead '" + name + "'";
  check_name(operation, name);
  if (heads_.count(name) && !replace)
    fail(ErrorCode::invalid_argument, operation, "a head of this name exists already");
  auto head = std::make_shared<Head>(config, *backbone_);
  auto flat = std::make_unique<FlatParameters>(parameters_below(*head, "heads." + name), device_);
  Random random(seed);
  for (const auto& named : flat->parameters()) {
    initialise(named.parameter, backbone_->config().initializer_range, random);
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
  for (const auto& name : what.heads) find_named(heads_, "train head", name);
  set_base_trainable(what.base);
  const std::set<std::string> frozen(what.frozen.begin(), what.frozen.end());
  for (auto& [name, adapter] : adapters_) adapter.flat->set_trainable(contains(what.adapters, name), frozen);
  for (auto& [name, head] : heads_) head.flat->set_trainable(contains(what.heads, name), frozen);
}

void AdapterModel::set_base_trainable(const std::vector<std::string>& names) {
  if (names == base_names_) return;
  std::set<std::string> wanted(names.begin(), names.end());
  std::vector<NamedParameter> chosen;
  for (auto& named : parameters_below(*backbone_, backbone_->prefix())) {
    if (named.name.find(".adapters.") == std::string::npos && wanted.erase(named.name))
      chosen.push_back(std::move(named));
  }
  if (!wanted.empty()) {
    fail(ErrorCode::invalid_argument, "train base parameters", "no such parameter: " + name_list(wanted));
  }
  if (base_) base_->set_trainable(false);
  base_ = chosen.empty() ? nullptr : std::make_unique<FlatParameters>(std::move(chosen), device_);
  if (base_) base_->set_trainable(true);
  base_names_ = names;
}

std::vector<FlatParameters*> AdapterModel::trainable() {
  std::vector<FlatParameters*> result;
  for (auto& [name, adapter] : adapters_)
    if (adapter.flat->trainable()) result.push_back(adapter.flat.get());
  for (auto& [name, head] : heads_)
    if (head.flat->trainable()) result.push_back(head.flat.get());
  if (base_) result.push_back(base_.get());
  return result;
}

std::vector<NamedParameter> AdapterModel::named_parameters() {
  std::vector<NamedParameter> result;
  std::unordered_set<const at::Tensor*> seen;
  for (auto& named : parameters_below(root_, ""))
    if (seen.insert(named.parameter.value).second) result.push_back(std::move(named));
  return result;
}

std::vector<NamedParameter> AdapterModel::adapter_state(const std::string& name) {
  const std::string part = ".adapters." + name + ".";
  std::vector<NamedParameter> result;
  for (auto& named : parameters_below(*backbone_, backbone_->prefix()))
    if (named.name.find(part) != std::string::npos) result.push_back(std::move(named));
  return result;
}

std::vector<NamedParameter> AdapterModel::head_state(const std::string& name) {
  auto& head = this->head(name);
  const std::string prefix = "heads." + name;
  auto result = parameters_below(head, prefix);
  if (auto key = head.tied_key()) {
    auto decoder = backbone_->word_embeddings().own_parameters()[0];
    result.push_back({prefix + "." + *key, decoder});
  }
  return result;
}

}  // namespace ta
