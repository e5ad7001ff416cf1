#pragma once
// Members of the objects in an archive's JSON, as torch/_export/serde/schema.py declares them.

#include <string>
#include <utility>

#include "core/error.h"
#include "core/state/json.h"

namespace ta::exported {

inline const Json& field(const Json& object, const char* key, const std::string& what) {
  if (const Json* value = object.find(key)) return *value;
  object.as_object(what);
  fail(ErrorCode::file_format, "read " + what, text("'", key, "' is missing"));
}

/// Null where it is not there or null.
inline const Json* optional_field(const Json& object, const char* key) {
  const Json* value = object.find(key);
  return value && !value->is_null() ? value : nullptr;
}

/// A tagged union: an object of one member, which says what the value is.
inline const std::pair<std::string, Json>& tagged(const Json& json, const std::string& what) {
  const Json::Object& object = json.as_object(what);
  if (object.size() == 1) return object.front();
  fail(ErrorCode::file_format, "read " + what, "a union has one member", {.got = text(object.size(), " members")});
}

/// The name of a value: {"name": …}, or {"as_name": …} for numbers.
inline const std::string& value_name(const Json& json, const std::string& what) {
  const Json* number = json.find("as_name");
  return (number ? *number : field(json, "name", what)).as_string(what);
}

}  // namespace ta::exported
