#pragma once
// The learning rate's factor at each step, as transformers.get_{linear,cosine,constant}_schedule_with_warmup give it.

#include <cstdint>

namespace ta {

enum class ScheduleKind { linear, cosine, constant, constant_with_warmup };

struct Schedule {
  ScheduleKind kind = ScheduleKind::linear;
  int64_t warmup_steps = 0;
  int64_t total_steps = 0;

  /// Factor for the step with this number, counted from 0.
  double factor(int64_t step) const;
};

}  // namespace ta
