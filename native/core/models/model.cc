#include "core/models/model.h"

namespace ta {

// All four are made after the family's own children, so that they stand last, as in the peer.
InvertiblePlace& Model::invertible_place() {
  if (!invertible_) child("invertible_adapters", invertible_ = std::make_shared<InvertiblePlace>());
  return *invertible_;
}

AdapterPlace& Model::prefix_place() {
  if (!prefixes_) {
    auto pool = std::make_shared<Container>("PrefixTuningPool");
    pool->add("prefix_tunings", prefixes_ = std::make_shared<AdapterPlace>());
    child("prefix_tuning", pool);
  }
  return *prefixes_;
}

PromptPlace& Model::prompt_place() {
  if (!prompts_) {
    auto layer = std::make_shared<Container>("PromptTuningLayer");
    layer->add("prompt_tunings", prompts_ = std::make_shared<PromptPlace>());
    child("prompt_tuning", layer);
  }
  return *prompts_;
}

AdapterPlace& Model::shared_place() {
  if (!shared_) child("shared_parameters", shared_ = std::make_shared<AdapterPlace>());
  return *shared_;
}

}  // namespace ta
