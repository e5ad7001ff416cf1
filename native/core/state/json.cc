#include "core/state/json.h"

#include "core/error.h"

namespace ta {
namespace {

template <class Kind>
const Kind& expect(const Json& json, const std::string& what, const char* expected) {
  if (const Kind* value = std::get_if<Kind>(&json.variant())) return *value;
  fail(ErrorCode::file_format, "read " + what, "wrong kind of value", {.expected = expected, .got = json.kind()});
}

}  // namespace

const Json::Object& Json::as_object(const std::string& what) const {
  return expect<Object>(*this, what, "an object");
}
const Json::Array& Json::as_array(const std::string& what) const {
  return expect<Array>(*this, what, "an array");
}
bool Json::as_bool(const std::string& what) const {
  return expect<bool>(*this, what, "true or false");
}
int64_t Json::as_integer(const std::string& what) const {
  return expect<int64_t>(*this, what, "an integer");
}

const std::string& Json::as_string(const std::string& what) const {
  return expect<std::string>(*this, what, "a string");
}

double Json::as_number(const std::string& what) const {
  if (const int64_t* integer = std::get_if<int64_t>(&value_)) return static_cast<double>(*integer);
  return expect<double>(*this, what, "a number");
}

uint64_t Json::as_size(const std::string& what) const {
  const int64_t value = as_integer(what);
  if (value < 0) {
    fail(ErrorCode::file_format, "read " + what, "negative size", {.expected = "0 or more", .got = text(value)});
  }
  return static_cast<uint64_t>(value);
}

const Json* Json::find(std::string_view key) const {
  const Object* object = std::get_if<Object>(&value_);
  if (!object) return nullptr;
  for (const auto& [name, value] : *object) {
    if (name == key) return &value;
  }
  return nullptr;
}

const char* Json::kind() const {
  static constexpr const char* names[] = {"null",     "a boolean", "an integer", "a number",
                                          "a string", "an array",  "an object"};
  return names[value_.index()];
}

}  // namespace ta
