#pragma once
// A trainer handle: one native call a step.

#include <atomic>

#include "binding/model_wrap.h"
#include "core/training/trainer.h"

namespace ta::binding {

class TrainerWrap : public Napi::ObjectWrap<TrainerWrap> {
 public:
  static Napi::Function define(Napi::Env env);

  explicit TrainerWrap(const Napi::CallbackInfo& info);
  void Finalize(Napi::BasicEnv env) override;

  struct State {
    State(std::shared_ptr<ModelState> of, std::unique_ptr<Trainer> made)
        : model(std::move(of)), trainer(std::move(made)) {}
    std::shared_ptr<ModelState> model;
    std::unique_ptr<Trainer> trainer;
    std::atomic<bool> stopped{false};  ///< the step that runs ends between two micro-batches
  };

 private:
  std::shared_ptr<State> state() const;
  Napi::Value step(const Napi::CallbackInfo& info);
  Napi::Value measure(const Napi::CallbackInfo& info);
  Napi::Value stop(const Napi::CallbackInfo& info);
  Napi::Value set_scale(const Napi::CallbackInfo& info);
  Napi::Value keep(const Napi::CallbackInfo& info);
  Napi::Value restore(const Napi::CallbackInfo& info);
  template <class Work>
  Napi::Value on_member(const Napi::CallbackInfo& info, const Work& work);
  Napi::Value save_checkpoint(const Napi::CallbackInfo& info);
  Napi::Value load_checkpoint(const Napi::CallbackInfo& info);
  Napi::Value dispose(const Napi::CallbackInfo& info);

  std::shared_ptr<State> state_;
  Engine* engine_ = nullptr;
  Handles::Entry entry_;
};

/// createTrainer(model, options): a promise, for the optimizer's state of a whole model is much memory.
Napi::Value create_trainer(const Napi::CallbackInfo& info);

}  // namespace ta::binding
