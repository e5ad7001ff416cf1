#pragma once
// A model handle. Its tensors are touched on the engine thread alone; jobs own the state, so a handle may be disposed
// of or collected while work is queued.

#include <atomic>
#include <map>

#include "binding/engine.h"
#include "binding/pass_options.h"
#include "core/training/frozen_states.h"

namespace ta::binding {

/// What a model handle stands for.
struct ModelState {
  ModelState(std::shared_ptr<Model> backbone, at::Device device, at::ScalarType trunk)
      : model(std::move(backbone), device, trunk) {}
  AdapterModel model;
  std::unique_ptr<FrozenStates> frozen_states;  ///< null: nothing is kept

  /// A batch for the core, with the states of frozen layers where the options want them and they are kept.
  std::pair<PackedBatch, ForwardRequest> prepare(BatchInput input, const PassOptions& options);
};

class ModelWrap : public Napi::ObjectWrap<ModelWrap> {
 public:
  static Napi::Function define(Napi::Env env);
  /// The state behind a handle from JavaScript; throws ERR_DISPOSED, or a TypeError for anything that is no model.
  static std::shared_ptr<ModelState> state_of(const Napi::Value& value);

  explicit ModelWrap(const Napi::CallbackInfo& info);
  void Finalize(Napi::BasicEnv env) override;

 private:
  std::shared_ptr<ModelState> state() const;
  template <class Work>
  Napi::Value sync(const Napi::CallbackInfo& info, Work work);
  template <class Work>
  Napi::Value async(const Napi::CallbackInfo& info, Work work);

  Napi::Value load_weights(const Napi::CallbackInfo& info);
  Napi::Value init_weights(const Napi::CallbackInfo& info);
  Napi::Value add_adapter(const Napi::CallbackInfo& info);
  Napi::Value delete_adapter(const Napi::CallbackInfo& info);
  Napi::Value eject_prefix_tuning(const Napi::CallbackInfo& info);
  Napi::Value merge_adapter(const Napi::CallbackInfo& info);
  Napi::Value average_adapters(const Napi::CallbackInfo& info);
  Napi::Value average_heads(const Napi::CallbackInfo& info);
  Napi::Value reset_adapter(const Napi::CallbackInfo& info);
  Napi::Value share_parameters(const Napi::CallbackInfo& info);
  Napi::Value unshare_parameters(const Napi::CallbackInfo& info);
  Napi::Value add_fusion(const Napi::CallbackInfo& info);
  Napi::Value delete_fusion(const Napi::CallbackInfo& info);
  Napi::Value fusion_temperature(const Napi::CallbackInfo& info);
  Napi::Value set_fusion_temperature(const Napi::CallbackInfo& info);
  Napi::Value add_head(const Napi::CallbackInfo& info);
  Napi::Value delete_head(const Napi::CallbackInfo& info);
  Napi::Value set_trainable(const Napi::CallbackInfo& info);
  Napi::Value replace_modules(const Napi::CallbackInfo& info);
  Napi::Value undo_replacement(const Napi::CallbackInfo& info);
  Napi::Value save_inserted(const Napi::CallbackInfo& info);
  Napi::Value load_inserted(const Napi::CallbackInfo& info);
  Napi::Value named_parameters(const Napi::CallbackInfo& info);
  Napi::Value named_modules(const Napi::CallbackInfo& info);
  Napi::Value parameter(const Napi::CallbackInfo& info);
  Napi::Value set_parameters(const Napi::CallbackInfo& info);
  Napi::Value forward(const Napi::CallbackInfo& info);
  Napi::Value forward_each(const Napi::CallbackInfo& info);
  Napi::Value measure_each(const Napi::CallbackInfo& info);
  Napi::Value generate(const Napi::CallbackInfo& info);
  Napi::Value stop_generating(const Napi::CallbackInfo& info);
  Napi::Value gradients(const Napi::CallbackInfo& info);
  Napi::Value open_frozen_states(const Napi::CallbackInfo& info);
  Napi::Value close_frozen_states(const Napi::CallbackInfo& info);
  Napi::Value save_adapter(const Napi::CallbackInfo& info);
  Napi::Value save_fusion(const Napi::CallbackInfo& info);
  Napi::Value load_fusion(const Napi::CallbackInfo& info);
  Napi::Value save_head(const Napi::CallbackInfo& info);
  Napi::Value load_adapter(const Napi::CallbackInfo& info);
  Napi::Value save_peft_adapter(const Napi::CallbackInfo& info);
  Napi::Value load_peft_adapter(const Napi::CallbackInfo& info);
  Napi::Value load_head(const Napi::CallbackInfo& info);
  Napi::Value save_base(const Napi::CallbackInfo& info);
  Napi::Value save_whole(const Napi::CallbackInfo& info);
  Napi::Value shared_names(const Napi::CallbackInfo& info);
  Napi::Value save_state(const Napi::CallbackInfo& info);
  Napi::Value load_state(const Napi::CallbackInfo& info);
  Napi::Value dispose(const Napi::CallbackInfo& info);

  std::shared_ptr<ModelState> state_;
  /// A generation that may be stopped, or that tells its tokens.
  struct Writing {
    std::shared_ptr<std::atomic<bool>> stopped;
    std::shared_ptr<Napi::FunctionReference> written;  ///< this thread's alone to free; others know it weakly
  };
  std::map<int64_t, Writing> writings_;  ///< JavaScript's thread only
  Engine* engine_ = nullptr;
  Handles::Entry entry_;
};

/// Nothing to give back but that it is done.
struct Done {};
inline Napi::Value to_js(Napi::Env env, const Done&) {
  return env.Undefined();
}

inline std::string text_of(const Napi::CallbackInfo& info, size_t i) {
  return info[i].As<Napi::String>().Utf8Value();
}

template <class Work>
Napi::Value ModelWrap::sync(const Napi::CallbackInfo& info, Work work) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    auto result = engine_->run([state = state(), work = std::move(work)]() mutable { return work(*state); });
    return to_js(info.Env(), result);
  });
}

template <class Work>
Napi::Value ModelWrap::async(const Napi::CallbackInfo& info, Work work) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    return engine_->submit(
        info.Env(), [state = state(), work = std::move(work)]() mutable { return work(*state); },
        [](Napi::Env env, auto& result) -> Napi::Value { return to_js(env, result); });
  });
}

/// createModel(config, device, trunk)
Napi::Value create_model(const Napi::CallbackInfo& info);

}  // namespace ta::binding
