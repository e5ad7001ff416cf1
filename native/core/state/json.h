// JSON, strictly: the files that carry weights (safetensors headers, shard indices) are hostile until read, so nesting
// and size are bounded, text must be UTF-8, and a key that appears twice is an error instead of a silent choice.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace ta {

class Json {
 public:
  using Array = std::vector<Json>;
  // Members keep the order of the file.
  using Object = std::vector<std::pair<std::string, Json>>;

  Json() = default;
  Json(std::nullptr_t) {}
  Json(bool value) : value_(value) {}
  Json(int value) : value_(static_cast<int64_t>(value)) {}
  Json(int64_t value) : value_(value) {}
  Json(double value) : value_(value) {}
  Json(const char* value) : value_(std::string(value)) {}
  Json(std::string value) : value_(std::move(value)) {}
  Json(Array value) : value_(std::move(value)) {}
  Json(Object value) : value_(std::move(value)) {}

  bool is_null() const { return std::holds_alternative<std::monostate>(value_); }
  bool is_object() const { return std::holds_alternative<Object>(value_); }
  bool is_array() const { return std::holds_alternative<Array>(value_); }
  bool is_string() const { return std::holds_alternative<std::string>(value_); }
  bool is_integer() const { return std::holds_alternative<int64_t>(value_); }
  bool is_number() const { return is_integer() || std::holds_alternative<double>(value_); }
  bool is_bool() const { return std::holds_alternative<bool>(value_); }

  // Each fails with ERR_FILE_FORMAT when the value is of another kind; `what` names the place in the message.
  const Object& as_object(const std::string& what) const;
  const Array& as_array(const std::string& what) const;
  const std::string& as_string(const std::string& what) const;
  bool as_bool(const std::string& what) const;
  double as_number(const std::string& what) const;
  int64_t as_integer(const std::string& what) const;
  // An integer of at least 0: a count, a size, an offset.
  uint64_t as_size(const std::string& what) const;

  // The member, or null when it is not there or this is no object.
  const Json* find(std::string_view key) const;
  const char* kind() const;

  const std::variant<std::monostate, bool, int64_t, double, std::string, Array, Object>& variant() const {
    return value_;
  }

 private:
  std::variant<std::monostate, bool, int64_t, double, std::string, Array, Object> value_;
};

struct JsonLimits {
  std::size_t bytes = std::size_t{100} << 20;
  int depth = 64;
  // Values of any kind: a file of a hundred million "[]," must not take gigabytes.
  std::size_t values = 4'000'000;
};

// `source` names the text in messages. Integers that do not fit 64 bits become doubles.
Json parse_json(std::string_view json, const std::string& source, const JsonLimits& limits = {});

// No spaces, members in their order. Doubles come back bit for bit; NaN and infinities are refused (JSON has none).
std::string write_json(const Json& json);

}  // namespace ta
