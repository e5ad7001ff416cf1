#include "core/training/optimizer_choice.h"

namespace ta {

namespace {

template <class Kind, class Options>
std::unique_ptr<Optimizer> made(const std::vector<FlatParameters*>& parameters, std::vector<UpdateGroup> groups,
                                const Options& options) {
  return std::make_unique<Kind>(parameters, std::move(groups), options);
}

}  // namespace

std::unique_ptr<Optimizer> make_optimizer(const std::vector<FlatParameters*>& parameters,
                                          std::vector<UpdateGroup> groups, const OptimizerOptions& options) {
  if (const auto* sgd = std::get_if<SgdOptions>(&options)) return made<Sgd>(parameters, std::move(groups), *sgd);
  if (const auto* lion = std::get_if<LionOptions>(&options)) return made<Lion>(parameters, std::move(groups), *lion);
  if (const auto* factored = std::get_if<AdafactorOptions>(&options)) {
    return made<Adafactor>(parameters, std::move(groups), *factored);
  }
  return made<AdamW>(parameters, std::move(groups), std::get<AdamWOptions>(options));
}

}  // namespace ta
