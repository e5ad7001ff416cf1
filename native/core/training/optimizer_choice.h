#pragma once
// Which optimizer trains, and the one made of it.

#include <memory>
#include <variant>

#include "core/training/adafactor.h"
#include "core/training/adamw.h"
#include "core/training/lion.h"
#include "core/training/sgd.h"

namespace ta {

using OptimizerOptions = std::variant<AdamWOptions, SgdOptions, AdafactorOptions, LionOptions>;

std::unique_ptr<Optimizer> make_optimizer(const std::vector<FlatParameters*>& parameters,
                                          std::vector<UpdateGroup> groups, const OptimizerOptions& options);

}  // namespace ta
