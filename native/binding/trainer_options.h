#pragma once
// What a trainer is told: rates, groups, optimizer, schedule.

#include "binding/napi.h"
#include "core/training/trainer.h"

namespace ta::binding {

TrainerOptions to_trainer_options(const Napi::Object& object);

}  // namespace ta::binding
