#include "binding/trainer_wrap.h"

#include "binding/trainer_options.h"
#include "core/error.h"

namespace ta::binding {

namespace {

Napi::Value result_to_js(Napi::Env env, const StepResult& result) {
  auto object = Napi::Object::New(env);
  object.Set("loss", result.loss);
  object.Set("learningRate", result.learning_rate);
  object.Set("gradNorm", result.grad_norm);
  object.Set("tokens", static_cast<double>(result.tokens));
  return object;
}

}  // namespace

Napi::Function TrainerWrap::define(Napi::Env env) {
  using W = TrainerWrap;
  return DefineClass(env, "NativeTrainer",
                     {InstanceMethod<&W::step>("step"), InstanceAccessor<&W::step_count>("stepCount"),
                      InstanceMethod<&W::save_checkpoint>("saveCheckpoint"),
                      InstanceMethod<&W::load_checkpoint>("loadCheckpoint"), InstanceMethod<&W::dispose>("dispose")});
}

Napi::Value create_trainer(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    auto env = info.Env();
    auto model = ModelWrap::state_of(info[0]);
    auto options = to_trainer_options(info[1].As<Napi::Object>());
    using State = TrainerWrap::State;
    auto state = Engine::of(env).run([model, options] {
      return std::make_shared<State>(State{model, std::make_unique<Trainer>(model->model, options)});
    });
    return Engine::trainer_class(env).New({Napi::External<std::shared_ptr<State>>::New(env, &state)});
  });
}

TrainerWrap::TrainerWrap(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  if (info.Length() != 1 || !info[0].IsExternal()) {
    throw Napi::TypeError::New(info.Env(), "NativeTrainer: made by createTrainer alone");
  }
  state_ = *info[0].As<Napi::External<std::shared_ptr<State>>>().Data();
  engine_ = &Engine::of(info.Env());
  entry_ = engine_->track(*this);
}

void TrainerWrap::Finalize(Napi::BasicEnv) {
  state_.reset();
}

std::shared_ptr<TrainerWrap::State> TrainerWrap::state() const {
  if (!state_) fail(ErrorCode::disposed, "trainer", "it was disposed of", {.hint = "Make a new one to go on"});
  return state_;
}

Napi::Value TrainerWrap::step(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    auto batches = info[0].As<Napi::Array>(), passes = info[1].As<Napi::Array>();
    if (passes.Length() != batches.Length()) wrong_type("options", "as many as there are batches");
    std::vector<std::pair<BatchInput, PassOptions>> inputs;
    for (uint32_t i = 0; i < batches.Length(); ++i)
      inputs.emplace_back(to_batch(batches.Get(i).As<Napi::Object>()),
                          to_pass_options(passes.Get(i).As<Napi::Object>()));
    return engine_->submit(
        info.Env(),
        [state = state(), inputs = std::move(inputs), engine = engine_]() mutable {
          std::vector<MicroBatch> batches;
          for (auto& [input, options] : inputs) {
            auto [batch, request] = state->model->prepare(std::move(input), options);
            batches.push_back({std::move(batch), std::move(request)});
          }
          return state->trainer->step(batches, &engine->stopping());
        },
        [](Napi::Env env, StepResult& result) { return result_to_js(env, result); });
  });
}

Napi::Value TrainerWrap::step_count(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const auto steps = engine_->run([state = state()] { return state->trainer->steps(); });
    return Napi::Number::New(info.Env(), static_cast<double>(steps));
  });
}

Napi::Value TrainerWrap::save_checkpoint(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    return engine_->submit(
        info.Env(),
        [state = state(), file = info[0].As<Napi::String>().Utf8Value(),
         user = info[1].As<Napi::String>().Utf8Value()] {
          state->trainer->save(file, user);
          return true;
        },
        [](Napi::Env env, bool&) { return env.Undefined(); });
  });
}

Napi::Value TrainerWrap::load_checkpoint(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    return engine_->submit(
        info.Env(),
        [state = state(), file = info[0].As<Napi::String>().Utf8Value()] { return state->trainer->load(file); },
        [](Napi::Env env, std::string& user) { return Napi::String::New(env, user); });
  });
}

Napi::Value TrainerWrap::dispose(const Napi::CallbackInfo& info) {
  if (state_) engine_->release_later(std::exchange(state_, nullptr));
  return info.Env().Undefined();
}

}  // namespace ta::binding
