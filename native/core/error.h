// The one exception type of the core. The binding turns it into an AdapterError with the same fields;
// everything a message needs is said where the failure is seen: operation, what was expected, what came, what to do.
#pragma once

#include <cstddef>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>

namespace ta {

enum class ErrorCode {
  file_format,       // a file's content is not what its format allows
  file_io,           // the operating system refused: missing, no permission, disk full
  state_dict,        // names, shapes or dtypes do not fit the model
  invalid_argument,  // a caller's value is wrong
  disposed,          // the handle was disposed of
  busy,              // a run holds the model
  aborted,           // the caller's signal
  nan_loss,          // training diverged
  unsupported,       // understood, but not done here
  out_of_range       // an index or a size past its limit
};

constexpr const char* code_name(ErrorCode code) noexcept {
  switch (code) {
    case ErrorCode::file_format:
      return "ERR_FILE_FORMAT";
    case ErrorCode::file_io:
      return "ERR_FILE_IO";
    case ErrorCode::state_dict:
      return "ERR_STATE_DICT";
    case ErrorCode::invalid_argument:
      return "ERR_INVALID_ARGUMENT";
    case ErrorCode::disposed:
      return "ERR_DISPOSED";
    case ErrorCode::busy:
      return "ERR_BUSY";
    case ErrorCode::aborted:
      return "ERR_ABORTED";
    case ErrorCode::nan_loss:
      return "ERR_NAN_LOSS";
    case ErrorCode::unsupported:
      return "ERR_UNSUPPORTED";
    case ErrorCode::out_of_range:
      return "ERR_OUT_OF_RANGE";
  }
  return "ERR_UNKNOWN";
}

// The parts of an error that programs may want one by one; each may be empty.
struct ErrorDetail {
  std::string expected{};
  std::string got{};
  std::string hint{};
};

struct Error : std::runtime_error {
  Error(ErrorCode error_code, std::string operation_name, const std::string& problem, ErrorDetail detail = {})
      : std::runtime_error(compose(operation_name, problem, detail)),
        code(error_code),
        operation(std::move(operation_name)),
        expected(std::move(detail.expected)),
        got(std::move(detail.got)),
        hint(std::move(detail.hint)) {}

  const char* code_string() const noexcept { return code_name(code); }

  ErrorCode code;
  std::string operation;
  std::string expected;
  std::string got;
  std::string hint;

 private:
  // "operation: problem (expected …, got …). hint"
  static std::string compose(const std::string& operation, const std::string& problem, const ErrorDetail& detail) {
    std::string text = operation.empty() ? problem : operation + ": " + problem;
    if (!detail.expected.empty() || !detail.got.empty()) {
      text += " (";
      if (!detail.expected.empty()) text += "expected " + detail.expected;
      if (!detail.expected.empty() && !detail.got.empty()) text += ", ";
      if (!detail.got.empty()) text += "got " + detail.got;
      text += ")";
    }
    if (!detail.hint.empty()) text += ". " + detail.hint;
    return text;
  }
};

// fail(ErrorCode::state_dict, "load adapter 'sst2'", "shape of x", {.expected = "[48, 768]", .got = "[768, 48]"})
[[noreturn]] inline void fail(ErrorCode code, std::string operation, const std::string& problem,
                              ErrorDetail detail = {}) {
  throw Error(code, std::move(operation), problem, std::move(detail));
}

// text("layer ", 3, " of ", 12)
template <class... Parts>
std::string text(const Parts&... parts) {
  std::ostringstream stream;
  (stream << ... << parts);
  return stream.str();
}

// For name_list: what a program or a person has to go through one by one. A hostile file ends somewhere, too.
inline constexpr std::size_t all_names = 1000;

// "'a', 'b', 'c' and 14 more": names for a message that stays readable when a whole model is missing.
template <class Names>
std::string name_list(const Names& names, std::size_t limit = 8) {
  std::string list;
  std::size_t count = 0;
  for (const auto& name : names) {
    if (count < limit) list += text(count ? ", '" : "'", name, "'");
    ++count;
  }
  if (count > limit) list += text(" and ", count - limit, " more");
  return list;
}

}  // namespace ta
