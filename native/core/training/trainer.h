#pragma once
// One optimizer step: forward and backward over each micro-batch, clip, optimizer, schedule. Everything that a resumed
// run needs to go on bit for bit is here: trained values, the optimizer's state, step number, random state.

#include "core/training/gradients.h"
#include "core/training/optimizer_choice.h"
#include "core/training/schedule.h"

#include <atomic>

namespace ta {

struct TrainerOptions {
  double learning_rate = 5e-5;
  double weight_decay = 0;
  std::vector<ParameterGroup> groups{};  ///< parameters with a learning rate or a decay of their own
  OptimizerOptions optimizer{};
  double max_grad_norm = 1.0;  ///< 0: no clipping
  Schedule schedule{};
  double label_smoothing = 0;
  uint64_t seed = 42;
};

struct StepResult {
  double loss = 0;           ///< mean of the micro-batches' losses
  double learning_rate = 0;  ///< used in this step by what is in no group
  double grad_norm = 0;      ///< before clipping
  int64_t tokens = 0;
};

struct MicroBatch {
  PackedBatch batch;
  ForwardRequest request;
};

class Trainer {
 public:
  /// Trains what the model's set_trainable chose. Throws ERR_INVALID_ARGUMENT where nothing trains.
  Trainer(AdapterModel& model, const TrainerOptions& options);

  /// Throws ERR_NAN_LOSS, the parameters as they were before the step; ERR_ABORTED where `stop` turns true between
  /// micro-batches, nothing updated.
  StepResult step(std::vector<MicroBatch>& batches, const std::atomic<bool>* stop);

  int64_t steps() const { return optimizer_->steps(); }
  /// Writes everything atomically as one safetensors file; `user` is the caller's own text.
  void save(const std::string& file, const std::string& user);
  /// Checks names, shapes and checksum before anything changes; returns the caller's text.
  std::string load(const std::string& file);

 private:
  AdapterModel& model_;
  TrainerOptions options_;
  Gradients gradients_;
  std::unique_ptr<Optimizer> optimizer_;
  Random random_;
};

}  // namespace ta
