#include "binding/engine.h"

#include <vector>

#include "core/error.h"

namespace ta::binding {

namespace {

// Leaked on purpose: process exit must find them whatever died before.
std::mutex& registry_mutex() {
  static auto* mutex = new std::mutex;
  return *mutex;
}
std::vector<std::weak_ptr<Engine>>& registry() {
  static auto* engines = new std::vector<std::weak_ptr<Engine>>;
  return *engines;
}

struct InstanceData {
  std::shared_ptr<Engine> engine;
  Napi::FunctionReference model, trainer;
};

InstanceData& instance(Napi::Env env) {
  return *env.GetInstanceData<InstanceData>();
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
    auto engine = std::make_shared<Engine>(env);
    data.engine = engine;
    {
      std::lock_guard lock(registry_mutex());
      std::erase_if(registry(), [](const auto& other) { return other.expired(); });
      registry().push_back(engine);
    }
    env.AddCleanupHook([engine] {
      engine->shutdown();
      engine->to_js_.Release();
    });
  }
  return *data.engine;
}

Engine::Engine(Napi::Env env) {
  to_js_ = Napi::ThreadSafeFunction::New(env, Napi::Function(), "torch-adapters engine", 0, 1);
  to_js_.Unref(env);
  thread_ = std::thread([this] { loop(); });
}

Engine::~Engine() {
  shutdown();
}

void Engine::shutdown_all() {
  // Held while they stop: a worker that ends at the same moment must not free its engine under us.
  std::vector<std::shared_ptr<Engine>> engines;
  {
    std::lock_guard lock(registry_mutex());
    for (const auto& entry : registry()) {
      if (auto engine = entry.lock()) engines.push_back(std::move(engine));
    }
  }
  for (const auto& engine : engines) engine->stopping_ = true;
  for (const auto& engine : engines) engine->shutdown();
}

// A worker's own clean-up and the process's exit may both come here; the second waits for the first.
void Engine::shutdown() {
  std::call_once(shut_down_, [this] {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    if (thread_.joinable()) thread_.join();
    jobs_.clear();
  });
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
    if (stopping_) fail(ErrorCode::aborted, "engine", "this environment is shutting down");
    jobs_.push_back(std::move(work));
  }
  wake_.notify_one();
}

void Engine::settle(Settle call) {
  auto* boxed = new Settle(std::move(call));
  const auto status = to_js_.NonBlockingCall(boxed, [this](Napi::Env env, Napi::Function, Settle* settle) {
    std::unique_ptr<Settle> owned(settle);
    if (static_cast<napi_env>(env) == nullptr) return;  // the environment is gone
    Napi::HandleScope scope(env);
    try {
      (*settle)(env);
    } catch (...) {
      // The environment is ending and takes no more values: nobody is left to tell.
    }
    release(env);
  });
  if (status != napi_ok) delete boxed;
}

// Work in flight keeps the process alive, an idle engine does not.
void Engine::hold(Napi::Env env) {
  if (pending_++ == 0) to_js_.Ref(env);
}

void Engine::release(Napi::Env env) {
  if (--pending_ == 0) to_js_.Unref(env);
}

}  // namespace ta::binding
