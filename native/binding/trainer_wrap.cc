#include "binding/trainer_wrap.h"

#include "binding/trainer_options.h"
#include "core/error.h"

namespace ta::binding {

namespace {

Napi::Value result_to_js(Napi::Env env, const StepResult& result) {
  auto object = Napi::Object::New(env);
  object.Set("tokens", static_cast<double>(result.tokens));
  auto members = Napi::Array::New(env, result.members.size());
  for (uint32_t i = 0; i < members.Length(); ++i) {
    const auto& from = result.members[i];
    auto member = Napi::Object::New(env);
    member.Set("member", static_cast<double>(from.member));
    member.Set("loss", from.loss);
    member.Set("learningRate", from.learning_rate);
    member.Set("gradNorm", from.grad_norm);
    member.Set("finite", from.finite);
    members.Set(i, member);
  }
  object.Set("members", members);
  return object;
}

struct MicroInput {
  BatchInput batch;
  PassOptions options;
  std::vector<int64_t> head_members;
  std::vector<double> head_weights;
};

MicroInput to_micro_input(const Napi::Object& batch, const Napi::Object& pass) {
  MicroInput input{to_batch(batch), to_pass_options(pass), {}, {}};
  const size_t heads = std::max<size_t>(1, input.options.heads.size());
  if (auto v = pass.Get("headMembers"); present(v)) input.head_members = to_shape(v);
  if (auto v = pass.Get("headWeights"); present(v)) {
    auto weights = v.As<Napi::Array>();
    for (uint32_t i = 0; i < weights.Length(); ++i)
      input.head_weights.push_back(weights.Get(i).As<Napi::Number>().DoubleValue());
  }
  if (!input.head_members.empty() && input.head_members.size() != heads) wrong_type("headMembers", "one for each head");
  if (!input.head_weights.empty() && input.head_weights.size() != heads) wrong_type("headWeights", "one for each head");
  return input;
}

std::vector<MicroInput> to_micro_inputs(const Napi::Value& batch_list, const Napi::Value& pass_list) {
  auto batches = batch_list.As<Napi::Array>(), passes = pass_list.As<Napi::Array>();
  if (passes.Length() != batches.Length()) wrong_type("options", "as many as there are batches");
  std::vector<MicroInput> inputs;
  for (uint32_t i = 0; i < batches.Length(); ++i)
    inputs.push_back(to_micro_input(batches.Get(i).As<Napi::Object>(), passes.Get(i).As<Napi::Object>()));
  return inputs;
}

// Takes the inputs apart.
std::vector<MicroBatch> to_micro_batches(ModelState& model, std::vector<MicroInput>& inputs) {
  std::vector<MicroBatch> batches;
  for (auto& input : inputs) {
    auto* frozen = input.options.frozen_states ? model.frozen_states.get() : nullptr;
    input.options.frozen_states = false;
    auto [batch, request] = model.prepare(std::move(input.batch), input.options);
    batches.push_back(
        {std::move(batch), std::move(request), std::move(input.head_members), std::move(input.head_weights), frozen});
  }
  return batches;
}

}  // namespace

Napi::Function TrainerWrap::define(Napi::Env env) {
  using W = TrainerWrap;
  return DefineClass(
      env, "NativeTrainer",
      {InstanceMethod<&W::step>("step"), InstanceMethod<&W::stop>("stop"), InstanceMethod<&W::measure>("measure"),
       InstanceMethod<&W::set_scale>("setScale"), InstanceMethod<&W::keep>("keep"),
       InstanceMethod<&W::restore>("restore"), InstanceMethod<&W::save_checkpoint>("saveCheckpoint"),
       InstanceMethod<&W::load_checkpoint>("loadCheckpoint"), InstanceMethod<&W::dispose>("dispose")});
}

Napi::Value create_trainer(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    auto env = info.Env();
    auto model = ModelWrap::state_of(info[0]);
    auto options = to_trainer_options(info[1].As<Napi::Object>());
    using State = TrainerWrap::State;
    return Engine::of(env).submit(
        env,
        [model, options] { return std::make_shared<State>(model, std::make_unique<Trainer>(model->model, options)); },
        [](Napi::Env env, std::shared_ptr<State>& state) {
          return Engine::trainer_class(env).New({Napi::External<std::shared_ptr<State>>::New(env, &state)});
        });
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
    auto inputs = to_micro_inputs(info[0], info[1]);
    state()->stopped = false;
    return engine_->submit(
        info.Env(),
        [state = state(), inputs = std::move(inputs), members = to_shape(info[2]), go_on = info[3].ToBoolean().Value(),
         engine = engine_]() mutable {
          auto batches = to_micro_batches(*state->model, inputs);
          const auto stopped = [&] { return state->stopped || engine->stopping(); };
          return state->trainer->step(batches, members, go_on, stopped);
        },
        [](Napi::Env env, StepResult& result) { return result_to_js(env, result); });
  });
}

Napi::Value TrainerWrap::measure(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    return engine_->submit(
        info.Env(),
        [state = state(), inputs = to_micro_inputs(info[0], info[1])]() mutable {
          auto batches = to_micro_batches(*state->model, inputs);
          return state->trainer->measure(batches);
        },
        [](Napi::Env env, MemoryUse& use) {
          auto object = Napi::Object::New(env);
          object.Set("gradients", static_cast<double>(use.gradients));
          object.Set("optimizer", static_cast<double>(use.optimizer));
          object.Set("activations", static_cast<double>(use.activations));
          object.Set("process", static_cast<double>(use.process));
          return object;
        });
  });
}

Napi::Value TrainerWrap::stop(const Napi::CallbackInfo& info) {
  if (state_) state_->stopped = true;
  return info.Env().Undefined();
}

Napi::Value TrainerWrap::set_scale(const Napi::CallbackInfo& info) {
  const double scale = info[1].ToNumber().DoubleValue();
  return on_member(info, [scale](Trainer& trainer, int64_t member) { trainer.set_scale(member, scale); });
}

Napi::Value TrainerWrap::keep(const Napi::CallbackInfo& info) {
  return on_member(info, [](Trainer& trainer, int64_t member) { trainer.keep(member); });
}

Napi::Value TrainerWrap::restore(const Napi::CallbackInfo& info) {
  return on_member(info, [](Trainer& trainer, int64_t member) { trainer.restore(member); });
}

template <class Work>
Napi::Value TrainerWrap::on_member(const Napi::CallbackInfo& info, const Work& work) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    return engine_->submit(
        info.Env(),
        [state = state(), member = info[0].As<Napi::Number>().Int64Value(), work] {
          work(*state->trainer, member);
          return true;
        },
        [](Napi::Env env, bool&) { return env.Undefined(); });
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
