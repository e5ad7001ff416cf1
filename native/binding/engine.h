#pragma once
// One thread for all torch work of an environment, first in first out. libtorch's grad mode, thread pool and current
// device belong to a thread, and libuv's pool would make an OpenMP team for each of its own.
//
// Ends that it must survive, and what makes it:
// - an environment that is torn down, such as a terminated worker's: the cleanup hook, registered after the thread-safe
//   function so that it runs before that one's teardown. Where the process ends, Node ends and joins every worker
//   first, so each one's hook runs, too.
// - process.exit and an uncaught throw in the main thread, whose hooks do not run: JavaScript's 'exit' event calls
// end(),
//   because libtorch's statics die before a thread that still works. It ends that environment's engine alone: a worker
//   whose work were refused would throw while Node terminates it, and Node aborts where an error meets a termination.
// - garbage collection of handles while work is queued: jobs own what they use. During the teardown: see handles.h.

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "binding/error.h"
#include "binding/handles.h"
#include "core/error.h"
#include "core/nn/large_blocks.h"

namespace ta::binding {

class Engine {
 public:
  explicit Engine(Napi::Env env);
  ~Engine();

  /// The environment's engine; made, with its thread, when it is first asked for.
  static Engine& of(Napi::Env env);
  /// The environment's handle classes, kept beside its engine.
  static void define_classes(Napi::Env env, Napi::Function model, Napi::Function trainer);
  static Napi::Function model_class(Napi::Env env);
  static Napi::Function trainer_class(Napi::Env env);
  /// Stops the environment's engine for good and waits for its thread.
  static void end(Napi::Env env);

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
    hold(env);  // whatever the thread has done by now, it is this thread that settles
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
    shared->done.wait(lock, [&] { return shared->finished; });  // only this thread could stop the engine meanwhile
    if (shared->failure) std::rethrow_exception(shared->failure);
    return std::move(*shared->result);
  }

  /// From the engine thread, while a job runs: `call` on JavaScript's, before whatever that job ends with. Nothing that
  /// JavaScript's thread must free may be left to it, for it ends anywhere where the environment does.
  void tell(std::function<void(Napi::Env)> call) { send({std::move(call), false}); }

  /// Runs `work` later, for nobody.
  void post(std::function<void()> work);

  /// Frees what a handle held, on the thread that made it; here, where that one is gone.
  template <class State>
  void release_later(std::shared_ptr<State> state) {
    if (stopping_) return;
    post([state = std::move(state)]() mutable {
      state.reset();
      release_large_blocks();
    });
  }

  /// What a wrap keeps as its member.
  Handles::Entry track(Handles::Object& object) { return {handles_, object}; }

 private:
  /// For JavaScript's thread.
  struct Message {
    std::function<void(Napi::Env)> call;
    bool settles;  ///< a promise, which is pending no more
  };
  static void deliver(Napi::Env env, Napi::Function, Engine* engine, Message* message);
  using Channel = Napi::TypedThreadSafeFunction<Engine, Message, &Engine::deliver>;

  void loop();
  void shutdown();
  void settle(std::function<void(Napi::Env)> call) { send({std::move(call), true}); }
  void send(Message message);
  void hold(Napi::Env env);
  void release(Napi::Env env);

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> jobs_;
  std::atomic<bool> stopping_{false};
  std::thread thread_;
  Channel to_js_;
  std::shared_ptr<Handles> handles_ = std::make_shared<Handles>();
  int pending_ = 0;  ///< promises not settled yet; JavaScript's thread only
};

}  // namespace ta::binding
