#include "binding/engine.h"

#include "core/error.h"
#include "core/nn/allocation_meter.h"

namespace ta::binding {

namespace {

struct InstanceData {
  std::shared_ptr<Engine> engine;
  bool ended = false;
  Napi::FunctionReference model, trainer;
};

InstanceData& instance(Napi::Env env) {
  return *env.GetInstanceData<InstanceData>();
}

[[noreturn]] void fail_ended() {
  fail(ErrorCode::aborted, "engine", "this environment is shutting down",
       {.hint = "Start no work in an 'exit' listener"});
}

}  // namespace

void Engine::define_classes(Napi::Env env, Napi::Function model, Napi::Function trainer) {
  auto* data = new InstanceData;
  data->model = Napi::Persistent(model);
  data->trainer = Napi::Persistent(trainer);
  env.SetInstanceData(data);
}

Napi::Function Engine::model_class(Napi::Env env) {
  return instance(env).model.Value();
}
Napi::Function Engine::trainer_class(Napi::Env env) {
  return instance(env).trainer.Value();
}

Engine& Engine::of(Napi::Env env) {
  auto& data = instance(env);
  if (!data.engine) {
    if (data.ended) fail_ended();
    data.engine = std::make_shared<Engine>(env);
    env.AddCleanupHook([engine = data.engine] {
      engine->handles_->hold_all();
      engine->shutdown();
      engine->to_js_.Release();
    });
  }
  return *data.engine;
}

void Engine::end(Napi::Env env) {
  auto& data = instance(env);
  data.ended = true;
  if (data.engine) data.engine->shutdown();
}

Engine::Engine(Napi::Env env) {
  use_large_blocks();
  meter_allocations();
  to_js_ = Channel::New(env, "torch-adapters engine", 0, 1, this);
  to_js_.Unref(env);
  thread_ = std::thread([this] { loop(); });
}

Engine::~Engine() {
  shutdown();
}

// On JavaScript's thread alone, as often as one likes.
void Engine::shutdown() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
  jobs_.clear();
}

void Engine::loop() {
  for (;;) {
    std::function<void()> job;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return stopping_ || !jobs_.empty(); });
      if (stopping_) return;
      job = std::move(jobs_.front());
      jobs_.pop_front();
    }
    job();
  }
}

void Engine::post(std::function<void()> work) {
  {
    std::lock_guard lock(mutex_);
    if (stopping_) fail_ended();
    jobs_.push_back(std::move(work));
  }
  wake_.notify_one();
}

void Engine::send(Message message) {
  auto* boxed = new Message(std::move(message));
  if (to_js_.NonBlockingCall(boxed) != napi_ok) delete boxed;
}

void Engine::deliver(Napi::Env env, Napi::Function, Engine* engine, Message* message) {
  std::unique_ptr<Message> owned(message);
  if (static_cast<napi_env>(env) == nullptr) return;  // the environment is gone, and perhaps the engine
  Napi::HandleScope scope(env);
  try {
    message->call(env);
  } catch (...) {
    // The environment is ending and takes no more values: nobody is left to tell.
  }
  if (message->settles) engine->release(env);
}

// Work in flight keeps the process alive, an idle engine does not.
void Engine::hold(Napi::Env env) {
  if (pending_++ == 0) to_js_.Ref(env);
}

void Engine::release(Napi::Env env) {
  if (--pending_ == 0) to_js_.Unref(env);
}

}  // namespace ta::binding
