#include "core/training/trainer.h"

#include <cmath>

#include "core/error.h"

namespace ta {

namespace {

std::vector<UpdateGroup> groups_of(const std::vector<FlatParameters*>& parameters, const TrainerOptions& options) {
  return update_groups(parameters, {.learning_rate = options.learning_rate, .weight_decay = options.weight_decay},
                       options.groups);
}

}  // namespace

Trainer::Trainer(AdapterModel& model, const TrainerOptions& options)
    : model_(model),
      options_(options),
      gradients_(model),
      optimizer_(
          make_optimizer(gradients_.parameters(), groups_of(gradients_.parameters(), options), options.optimizer)),
      random_(options.seed, model.device()) {}

StepResult Trainer::step(std::vector<MicroBatch>& batches, const std::atomic<bool>* stop) {
  StepResult result;
  if (batches.empty()) fail(ErrorCode::invalid_argument, "train", "expected at least one batch, got none");
  gradients_.zero();
  const auto share = 1.0 / static_cast<double>(batches.size());
  const auto before = random_.state();
  for (auto& [batch, request] : batches) {
    if (stop != nullptr && *stop) {
      random_.set_state(before);
      fail(ErrorCode::aborted, "train", "stopped between micro-batches");
    }
    request.label_smoothing = options_.label_smoothing;
    result.loss += share * gradients_.add(batch, request, &random_, share);
    result.tokens += batch.layout.tokens();
  }
  const auto fusions = model_.training_fusions();
  for (const auto& fusion : fusions) fusion->add_regularisation();
  result.grad_norm = optimizer_->grad_norm();
  const double factor = options_.schedule.factor(optimizer_->steps());
  result.learning_rate = options_.learning_rate * factor;
  if (!std::isfinite(result.loss) || !std::isfinite(result.grad_norm)) {
    random_.set_state(before);
    fail(ErrorCode::nan_loss, "train",
         text("step ", optimizer_->steps() + 1, " has no finite ", std::isfinite(result.loss) ? "gradient" : "loss"),
         {.expected = "finite numbers",
          .got = text("loss ", result.loss, ", gradient norm ", result.grad_norm),
          .hint = "The parameters are as they were before this step; lower the learning rate or look at the batch"});
  }
  // torch.nn.utils.clip_grad_norm_ divides by the norm plus 1e-6.
  if (options_.max_grad_norm > 0 && result.grad_norm > options_.max_grad_norm) {
    optimizer_->scale_grads(options_.max_grad_norm / (result.grad_norm + 1e-6));
  }
  optimizer_->step(factor);
  for (const auto& fusion : fusions) fusion->cool();
  return result;
}

}  // namespace ta
