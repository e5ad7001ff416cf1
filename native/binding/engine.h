#pragma once
// One thread for all torch work of an environment, first in first out. libtorch's grad mode, thread pool and current
// device belong to a thread, and libuv's pool would make an OpenMP team for each of its own.
//
// Ends that it must survive, and what makes it: a worker that is terminated (cleanup hook, registered after the
// thread-safe function so that it runs before that one's teardown); process.exit and an uncaught throw, where no hook
// runs and libtorch's statics die first (JavaScript's 'exit' event calls shutdown_all); garbage collection of handles
// while work is queued (jobs own what they use).

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "binding/error.h"
#include "core/error.h"

namespace ta::binding {

class Engine {
 public:
  explicit Engine(Napi::Env env);
  ~Engine();

  /// The environment's engine; its thread starts with the first job.
  static Engine& of(Napi::Env env);
  /// The environment's handle classes, kept beside its engine.
  static void define_classes(Napi::Env env, Napi::Function model, Napi::Function trainer);
  static Napi::Function model_class(Napi::Env env);
  static Napi::Function trainer_class(Napi::Env env);
  /// Stops every engine of the process and waits for their threads.
  static void shutdown_all();

  /// Turns true when the environment ends: long work looks at it between steps.
  const std::atomic<bool>& stopping() const { return stopping_; }

  /// Runs `work` on the engine thread; the promise resolves with what `finish` makes of its result, or rejects.
  template <class Work, class Finish>
  Napi::Promise submit(Napi::Env env, Work work, Finish finish) {
    using Result = decltype(work());
    auto deferred = std::make_shared<Napi::Promise::Deferred>(Napi::Promise::Deferred::New(env));
    auto promise = deferred->Promise();
    auto result = std::make_shared<std::optional<Result>>();
    auto failure = std::make_shared<std::optional<Failure>>();
    hold(env);
    post([this, work = std::move(work), finish = std::move(finish), deferred, result, failure]() mutable {
      try {
        result->emplace(work());
      } catch (...) {
        failure->emplace(current_failure());
      }
      // What the job owns ends here, on the engine thread, and not in JavaScript's.
      { [[maybe_unused]] auto spent = std::move(work); }
      settle([finish = std::move(finish), deferred, result, failure](Napi::Env env) mutable {
        if (failure->has_value()) {
          deferred->Reject(to_js(env, **failure).Value());
          return;
        }
        try {
          deferred->Resolve(finish(env, **result));
        } catch (const Napi::Error& error) {
          deferred->Reject(error.Value());
        } catch (...) {
          deferred->Reject(to_js(env, current_failure()).Value());
        }
      });
    });
    return promise;
  }

  /// Runs `work` on the engine thread after what is queued and waits for it. For short work alone: JavaScript stands
  /// still.
  template <class Work>
  auto run(Work work) -> decltype(work()) {
    struct Shared {
      std::optional<decltype(work())> result;
      std::exception_ptr failure;
      std::mutex mutex;
      std::condition_variable done;
      bool finished = false;
    };
    auto shared = std::make_shared<Shared>();
    post([shared, work = std::move(work)]() mutable {
      try {
        shared->result.emplace(work());
      } catch (...) {
        shared->failure = std::current_exception();
      }
      std::lock_guard lock(shared->mutex);
      shared->finished = true;
      shared->done.notify_one();
    });
    std::unique_lock lock(shared->mutex);
    // A worker may wait here while the process ends and the job is never run: look up now and then.
    while (!shared->done.wait_for(lock, std::chrono::milliseconds(50), [&] { return shared->finished; })) {
      if (stopping_) fail(ErrorCode::aborted, "engine", "this environment is shutting down");
    }
    if (shared->failure) std::rethrow_exception(shared->failure);
    return std::move(*shared->result);
  }

  /// Runs `work` later, for nobody: releasing tensors on the thread that made them.
  void post(std::function<void()> work);

 private:
  using Settle = std::function<void(Napi::Env)>;
  void loop();
  void shutdown();
  void settle(Settle call);
  void hold(Napi::Env env);
  void release(Napi::Env env);

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> jobs_;
  std::atomic<bool> stopping_{false};
  std::thread thread_;
  std::once_flag shut_down_;
  Napi::ThreadSafeFunction to_js_;
  int pending_ = 0;  ///< promises not settled yet; JavaScript's thread only
};

}  // namespace ta::binding
