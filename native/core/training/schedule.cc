#include "core/training/schedule.h"

#include <algorithm>
#include <cmath>

namespace ta {

namespace {

constexpr double kPi = 3.14159265358979323846;

double at_least_one(int64_t steps) {
  return static_cast<double>(std::max<int64_t>(1, steps));
}

}  // namespace

double Schedule::factor(int64_t step) const {
  if (kind == ScheduleKind::constant) return 1;
  const auto number = static_cast<double>(step);
  return step < warmup_steps ? warmup(number) : after_warmup(number);
}

double Schedule::warmup(double step) const {
  const double progress = step / at_least_one(warmup_steps);
  if (kind == ScheduleKind::cosine_warmup_with_min_lr) {
    // The first step already moves, and the last of the warm-up is at the top.
    if (!warmup_start) return (step + 1) / at_least_one(warmup_steps);
    return *warmup_start + (1 - *warmup_start) * step / at_least_one(warmup_steps - 1);
  }
  if (kind != ScheduleKind::warmup_stable_decay) return progress;
  switch (warmup_shape) {
    case ScheduleShape::linear:
      return above_minimum(progress);
    case ScheduleShape::cosine:
      return above_minimum(0.5 * (1 - std::cos(kPi * progress)));
    case ScheduleShape::one_minus_sqrt:
      return above_minimum(1 - std::sqrt(1 - progress));
  }
  return progress;
}

double Schedule::after_warmup(double step) const {
  const double since = step - static_cast<double>(warmup_steps);
  const double length = at_least_one(total_steps - warmup_steps);
  switch (kind) {
    case ScheduleKind::linear:
      return std::max(0.0, (static_cast<double>(total_steps) - step) / length);
    case ScheduleKind::cosine:
      return std::max(0.0, waves(since / length));
    case ScheduleKind::cosine_with_restarts:
      if (since >= length) return 0;
      return std::max(0.0, 0.5 * (1 + std::cos(kPi * std::fmod(cycles * since / length, 1.0))));
    case ScheduleKind::polynomial:
      return since >= length ? minimum : above_minimum(std::pow(1 - since / length, power));
    case ScheduleKind::inverse_sqrt:
      return 1 / std::sqrt((since + timescale) / timescale);
    case ScheduleKind::cosine_with_min_lr:
      return above_minimum(waves(since / length));
    case ScheduleKind::cosine_warmup_with_min_lr:
      return above_minimum(waves((since + 1) / length));
    case ScheduleKind::warmup_stable_decay:
      return stable_then_decay(since);
    case ScheduleKind::constant:
    case ScheduleKind::constant_with_warmup:
      break;
  }
  return 1;
}

double Schedule::stable_then_decay(double since) const {
  const auto stable = static_cast<double>(stable_steps);
  if (since < stable) return 1;
  if (since >= stable + static_cast<double>(decay_steps)) return minimum;
  const double progress = (since - stable) / at_least_one(decay_steps);
  switch (decay_shape) {
    case ScheduleShape::linear:
      return above_minimum(1 - progress);
    case ScheduleShape::cosine:
      return above_minimum(waves(progress));
    case ScheduleShape::one_minus_sqrt:
      return above_minimum(1 - std::sqrt(progress));
  }
  return 1;
}

double Schedule::waves(double progress) const {
  return 0.5 * (1 + std::cos(kPi * cycles * 2 * progress));
}

double Schedule::above_minimum(double factor) const {
  return std::max(0.0, factor * (1 - minimum) + minimum);
}

}  // namespace ta
