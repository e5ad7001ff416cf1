#include "binding/error.h"

#include <c10/util/Exception.h>

#include "core/error.h"

namespace ta::binding {

Failure current_failure() {
  try {
    throw;
  } catch (const Error& error) {
    return {error.what(), error.code_string(), error.operation, error.expected, error.got, error.hint};
  } catch (const c10::OutOfMemoryError& error) {
    return {error.what_without_backtrace(), "ERR_OUT_OF_MEMORY", "libtorch", "", "", ""};
  } catch (const c10::Error& error) {
    return {error.what_without_backtrace(), "ERR_TORCH", "libtorch", "", "", ""};
  } catch (const std::bad_alloc&) {
    return {"out of memory", "ERR_OUT_OF_MEMORY", "native", "", "", ""};
  } catch (const std::exception& error) {
    return {error.what(), "ERR_NATIVE", "native", "", "", ""};
  } catch (...) {
    return {"unknown native error", "ERR_NATIVE", "native", "", "", ""};
  }
}

Napi::Error to_js(Napi::Env env, const Failure& failure) {
  auto error = Napi::Error::New(env, failure.message);
  auto object = error.Value();
  object.Set("code", failure.code);
  object.Set("operation", failure.operation);
  object.Set("expected", failure.expected);
  object.Set("got", failure.got);
  object.Set("hint", failure.hint);
  return error;
}

}  // namespace ta::binding
