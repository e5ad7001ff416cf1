#pragma once
// Exceptions at the boundary. C++ must not leave a Node-API callback, and libtorch's own what() carries its stack
// frames: every callback's body runs inside guarded(), and every job's failure travels as a Failure.

#include <string>

#include "binding/napi.h"

namespace ta::binding {

/// What a JavaScript error will say, as plain data, so that it can leave the engine thread.
struct Failure {
  std::string message, code, operation, expected, got, hint;
};

/// The exception in flight; call it inside a catch block.
Failure current_failure();
Napi::Error to_js(Napi::Env env, const Failure& failure);

template <class F>
auto guarded(Napi::Env env, F&& body) -> decltype(body()) {
  try {
    return body();
  } catch (const Napi::Error&) {
    throw;
  } catch (...) {
    throw to_js(env, current_failure());
  }
}

}  // namespace ta::binding
