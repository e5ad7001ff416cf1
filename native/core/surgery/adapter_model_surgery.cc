// AdapterModel's part in surgery: memory of what is new, and names after the tree has changed.
#include <unordered_set>

#include "core/error.h"
#include "core/models/network.h"
#include "core/state/key_names.h"
#include "core/surgery/adapter_model.h"

namespace ta {

namespace {

// Of several things that could be meant none is taken.
void check_clear(const Model& backbone, const std::vector<Replacement>& replacements) {
  const auto* network = as_network(backbone);
  if (network == nullptr) return;
  const auto front = named(backbone, "");
  for (const auto& [path, with] : replacements) {
    const auto why = path.starts_with(front) ? network->why_unclear(path.substr(front.size())) : std::string();
    if (why.empty()) continue;
    fail(ErrorCode::invalid_argument, "replaceModule '" + path + "'", "it cannot be told what stands there: " + why,
         {.expected = "a module that is called once, takes one value a token first, and gives one",
          .hint = "namedModules(pattern, { shapes: true }) lists what modules take and give"});
  }
}

}  // namespace

int64_t AdapterModel::replace_modules(const std::vector<Replacement>& replacements, uint64_t seed,
                                      const std::optional<WeightsSource>& source) {
  check_not_merged("replace modules", merged_);  // resetAdapter() must find every Linear again
  check_clear(*backbone_, replacements);
  auto done = surgery_.replace(replacements);
  try {
    lay_out_inserted(source);
  } catch (...) {
    surgery_.undo(done.operation);
    throw;
  }
  Random random(seed);
  for (const auto& layer : done.made) layer->initialise(random);
  rename_all();
  return done.operation;
}

void AdapterModel::undo_replacement(int64_t operation) {
  check_not_merged("undo the replacement", merged_);
  surgery_.undo(operation);
  lay_out_inserted();
  rename_all();
}

// One buffer for all of it, as it is now; values that exist are kept, and so is what trains and what stands still.
void AdapterModel::lay_out_inserted(const std::optional<WeightsSource>& source) {
  std::unordered_set<const at::Tensor*> still;
  if (inserted_) {
    for (const auto& named : inserted_->parameters())
      if (inserted_->frozen().contains(named.name)) still.insert(named.parameter.value);
  }
  std::vector<NamedParameter> parameters;
  std::set<std::string> frozen;
  root_.visit_parameters("", [&](const std::string& name, const Parameter& parameter) {
    if (!surgery_.made(parameter.value)) return;
    parameters.push_back({name, parameter});
    if (still.contains(parameter.value)) frozen.insert(name);
  });
  check_held("load the surgery", parameters, source);
  const bool trains = inserted_ && inserted_->trainable();
  inserted_ = parameters.empty() ? nullptr : std::make_unique<FlatParameters>(std::move(parameters), device_);
  if (inserted_ && trains) inserted_->set_trainable(true, frozen);
}

void AdapterModel::rename_all() {
  find_places();
  // A place that was out of the tree for a while may hold what was deleted meanwhile.
  std::unordered_set<int64_t> live;
  for (const auto* entries : {&adapters_, &fusions_})
    for (const auto& [name, entry] : *entries) live.insert(entry.index);
  for (const auto& [place, path] : places_)
    for (int64_t index = 0; index < next_index_; ++index)
      if (place->module(index) && !live.contains(index)) place->remove(index, place->name_of(index));
  std::unordered_map<const at::Tensor*, std::string> names;
  root_.visit_parameters(
      "", [&](const std::string& name, const Parameter& parameter) { names.emplace(parameter.value, name); });
  for (auto* entries : {&adapters_, &fusions_})
    for (auto& [name, entry] : *entries) entry.flat->rename(names);
  for (auto& [name, sharing] : sharings_) sharing.flat->rename(names);
  for (auto& [name, head] : heads_) head.flat->rename(names);
  if (inserted_) inserted_->rename(names);
  if (!base_) return;
  base_->rename(names);
  base_names_.clear();
  for (const auto& named : base_->parameters()) base_names_.push_back(named.name);
}

Part AdapterModel::part_of(const NamedParameter& named) const {
  if (surgery_.made(named.parameter.value)) return Part::inserted;
  const auto owner = key_owner(named.name, own_containers(*backbone_));
  if (!owner) return Part::base;
  if (owner->kind == KeyOwner::Kind::head) return Part::head;
  return owner->kind == KeyOwner::Kind::fusion ? Part::fusion : Part::adapter;
}

}  // namespace ta
