#include "core/training/trainer.h"

#include <ATen/TensorOperators.h>
#include <c10/core/GradMode.h>

#include <cmath>

#include "core/error.h"
#include "core/nn/threads.h"

namespace ta {

namespace {

std::vector<FlatParameters*> checked_trainable(AdapterModel& model) {
  auto trainable = model.trainable();
  if (trainable.empty()) {
    fail(ErrorCode::invalid_argument, "train", "nothing trains",
         {.hint = "Call trainAdapter(name), or unfreeze parameters, before training"});
  }
  return trainable;
}

at::Tensor loss_of(AdapterModel& model, const PackedBatch& batch, ForwardRequest& request, Random* random) {
  if (!batch.labels) fail(ErrorCode::invalid_argument, "train", "the batch has no labels");
  request.logits = false;
  auto loss = forward(model, batch, request, random).loss;
  if (!loss.defined()) {
    fail(ErrorCode::invalid_argument, "train", "there is no loss without a head",
         {.hint = "Add a head and make it active"});
  }
  return loss;
}

}  // namespace

Trainer::Trainer(AdapterModel& model, const TrainerOptions& options)
    : model_(model),
      options_(options),
      optimizer_(checked_trainable(model), options.adamw),
      random_(options.seed, model.device()) {}

StepResult Trainer::step(std::vector<MicroBatch>& batches, const std::atomic<bool>* stop) {
  StepResult result;
  if (batches.empty()) fail(ErrorCode::invalid_argument, "train", "expected at least one batch, got none");
  optimizer_.zero_grads();
  const auto share = 1.0 / static_cast<double>(batches.size());
  const auto before = random_.state();
  for (auto& [batch, request] : batches) {
    if (stop != nullptr && *stop) {
      random_.set_state(before);
      fail(ErrorCode::aborted, "train", "stopped between micro-batches");
    }
    const ThreadScope threads(batch.layout.tokens(), model_.backbone().config().hidden_size);
    c10::AutoGradMode grad_mode(true);
    request.label_smoothing = options_.label_smoothing;
    auto loss = loss_of(model_, batch, request, &random_);
    result.loss += loss.item<double>() * share;
    result.tokens += batch.layout.tokens();
    if (batches.size() > 1) loss = loss * share;
    if (!loss.requires_grad()) {
      fail(ErrorCode::invalid_argument, "train", "no trainable parameter takes part in this batch's loss",
           {.hint = "Make the adapter that trains the active one"});
    }
    loss.backward();
  }
  result.grad_norm = optimizer_.grad_norm();
  result.learning_rate = options_.learning_rate * options_.schedule.factor(optimizer_.steps());
  if (!std::isfinite(result.loss) || !std::isfinite(result.grad_norm)) {
    random_.set_state(before);
    fail(ErrorCode::nan_loss, "train",
         text("step ", optimizer_.steps() + 1, " has no finite ", std::isfinite(result.loss) ? "gradient" : "loss"),
         {.expected = "finite numbers",
          .got = text("loss ", result.loss, ", gradient norm ", result.grad_norm),
          .hint = "The parameters are as they were before this step; lower the learning rate or look at the batch"});
  }
  // torch.nn.utils.clip_grad_norm_ divides by the norm plus 1e-6.
  if (options_.max_grad_norm > 0 && result.grad_norm > options_.max_grad_norm) {
    optimizer_.scale_grads(options_.max_grad_norm / (result.grad_norm + 1e-6));
  }
  optimizer_.step(result.learning_rate);
  return result;
}

double accumulate_gradients(AdapterModel& model, const PackedBatch& batch, ForwardRequest request) {
  for (auto* flat : checked_trainable(model)) flat->zero_grads();
  const ThreadScope threads(batch.layout.tokens(), model.backbone().config().hidden_size);
  c10::AutoGradMode grad_mode(true);
  auto loss = loss_of(model, batch, request, nullptr);
  if (loss.requires_grad()) loss.backward();
  return loss.item<double>();
}

}  // namespace ta
