#pragma once
// The learning rate's factor at each step, as transformers.get_scheduler gives it (4.57). With w the warm-up's steps, T
// all steps and r = (t - w) / (T - w), after a warm-up t / w:
//   linear: 1 - r;  cosine: ½ (1 + cos 2π c r);  cosine with restarts: ½ (1 + cos π (c r mod 1)), 0 at the end;
//   polynomial: (1 - m) (1 - r)^p + m;  constant: 1;  inverse square root: (1 + (t - w) / s)^-½;
//   cosine with a minimum: (1 - m) cosine + m;  warm-up, stable, decay: 1 for a while, then down to m
// c: cycles, m: minimum, p: power, s: timescale.

#include <cstdint>
#include <optional>

namespace ta {

enum class ScheduleKind {
  linear,
  cosine,
  cosine_with_restarts,
  polynomial,
  constant,
  constant_with_warmup,
  inverse_sqrt,
  cosine_with_min_lr,
  cosine_warmup_with_min_lr,
  warmup_stable_decay
};

/// How the factor goes between its minimum and 1.
enum class ScheduleShape { linear, cosine, one_minus_sqrt };

struct Schedule {
  ScheduleKind kind = ScheduleKind::linear;
  int64_t warmup_steps = 0;
  int64_t total_steps = 0;
  double cycles = 0.5;
  double power = 1;
  double minimum = 0;                    ///< as a factor, not as a learning rate
  std::optional<double> warmup_start{};  ///< cosine_warmup_with_min_lr: the factor at step 0; none: 1 / warmup_steps
  double timescale = 10000;
  int64_t stable_steps = 0;
  int64_t decay_steps = 0;
  ScheduleShape warmup_shape = ScheduleShape::linear;
  ScheduleShape decay_shape = ScheduleShape::cosine;

  /// Factor for the step with this number, counted from 0.
  double factor(int64_t step) const;

 private:
  double warmup(double step) const;
  double after_warmup(double step) const;
  double stable_then_decay(double step) const;
  double waves(double progress) const;
  double above_minimum(double factor) const;
};

}  // namespace ta
