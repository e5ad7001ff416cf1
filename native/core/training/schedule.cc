#include "core/training/schedule.h"

#include <algorithm>
#include <cmath>

namespace ta {

double Schedule::factor(int64_t step) const {
  if (kind == ScheduleKind::constant) return 1.0;
  if (step < warmup_steps) return static_cast<double>(step) / static_cast<double>(std::max<int64_t>(1, warmup_steps));
  if (kind == ScheduleKind::constant_with_warmup) return 1.0;
  const double left = static_cast<double>(std::max<int64_t>(1, total_steps - warmup_steps));
  if (kind == ScheduleKind::linear) return std::max(0.0, static_cast<double>(total_steps - step) / left);
  constexpr double kPi = 3.14159265358979323846;
  const double progress = static_cast<double>(step - warmup_steps) / left;
  return std::max(0.0, 0.5 * (1.0 + std::cos(kPi * progress)));
}

}  // namespace ta
