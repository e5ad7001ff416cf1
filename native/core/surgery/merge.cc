// An adapter's change of weights in the base model's own, and out again. The tensors that it replaces are kept as they
// are: they may lie in a mapped file, which nothing may write to, and come back bit for bit.

#include "core/error.h"
#include "core/models/network.h"
#include "core/state/key_names.h"
#include "core/surgery/adapter_model.h"

namespace ta {

void AdapterModel::merge_adapter(const std::string& name) {
  const std::string operation = "mergeAdapter '" + name + "'";
  const int64_t index = adapter_index(name);
  if (!merged_.empty()) {
    fail(ErrorCode::invalid_argument, operation, "'" + merged_ + "' is merged already",
         {.hint = "Call resetAdapter() first: one adapter is merged at a time"});
  }
  if (base_) {
    fail(ErrorCode::invalid_argument, operation, "the base model trains",
         {.hint = "Freeze it first: resetAdapter() could not tell its own change from training's"});
  }
  if (trunk_ != at::kFloat) {
    fail(ErrorCode::unsupported, operation, "in a bfloat16 trunk most of an adapter's change would be rounded away",
         {.hint = "Load the model with trunk: 'float32' to merge"});
  }
  std::vector<LoraPlace*> here;
  for (const auto& [place, path] : places_) {
    if (place == &backbone_->shared_place() || !place->module(index)) continue;
    auto* lora = dynamic_cast<LoraPlace*>(place);
    if (lora == nullptr || lora->at(index)->gated()) {
      fail(ErrorCode::unsupported, operation,
           lora == nullptr ? "not all of it is a change of a weight" : "its gate depends on the row",
           {.expected = "LoRA, IA³ or their kin alone, without a gate", .got = path});
    }
    if (!lora->whole().empty()) {
      fail(ErrorCode::unsupported, operation,
           text("the class of '", lora->whole(), "' does more than the product with its weight"),
           {.expected = "Linears that are no more than that",
            .hint = "Leave it apart, or train it without this one (targetModules)"});
    }
    here.push_back(lora);
  }
  for (auto* place : here) place->merge(index);
  merged_ = name;
}

void AdapterModel::reset_adapter() {
  for (const auto& [place, path] : places_)
    if (auto* lora = dynamic_cast<LoraPlace*>(place)) lora->reset();
  merged_.clear();
}

void AdapterModel::check_not_merged(const std::string& operation, const std::string& name) const {
  if (name.empty() || name != merged_) return;
  fail(ErrorCode::invalid_argument, operation, "'" + name + "' is merged into the base model",
       {.hint = "Call resetAdapter() first"});
}

void AdapterModel::check_writable(const std::string& operation, const NamedParameter& parameter) const {
  if (merged_.empty()) return;
  if (const auto owner = key_owner(parameter.name, own_containers(*backbone_));
      owner && owner->kind == KeyOwner::Kind::adapter) {
    check_not_merged(operation, owner->name);
  }
  for (const auto& [place, path] : places_) {
    const auto* lora = dynamic_cast<const LoraPlace*>(place);
    if (lora == nullptr || !lora->holds(parameter.parameter.value)) continue;
    fail(ErrorCode::invalid_argument, operation, parameter.name + " holds the adapter '" + merged_ + "' just now",
         {.hint = "Call resetAdapter() first, which puts the old values back"});
  }
}

}  // namespace ta
