#pragma once
// An object's fields as plain values.

#include <initializer_list>
#include <string>
#include <utility>

#include "binding/convert.h"

namespace ta::binding {

inline int64_t integer(const Napi::Object& object, const char* name) {
  return object.Get(name).As<Napi::Number>().Int64Value();
}
inline double number(const Napi::Object& object, const char* name) {
  return object.Get(name).As<Napi::Number>().DoubleValue();
}
inline bool boolean(const Napi::Object& object, const char* name) {
  return object.Get(name).ToBoolean();
}
inline std::string string(const Napi::Object& object, const char* name) {
  return object.Get(name).As<Napi::String>().Utf8Value();
}
template <class T>
T choose(const std::string& name, std::initializer_list<std::pair<const char*, T>> options, const char* what) {
  for (const auto& [key, value] : options)
    if (name == key) return value;
  wrong_type(what, ("a known value, got '" + name + "'").c_str());
}

}  // namespace ta::binding
