#include <cmath>
#include <locale>
#include <sstream>

#include "core/error.h"
#include "core/state/json.h"

namespace ta {
namespace {

void append_string(std::string& out, std::string_view value) {
  static constexpr std::string_view hex = "0123456789abcdef";
  out.push_back('"');
  for (const char symbol : value) {
    const unsigned char byte = static_cast<unsigned char>(symbol);
    if (symbol == '"' || symbol == '\\') {
      out.push_back('\\');
      out.push_back(symbol);
    } else if (byte < 0x20) {
      out += "\\u00";
      out.push_back(hex[byte >> 4]);
      out.push_back(hex[byte & 15]);
    } else {
      out.push_back(symbol);
    }
  }
  out.push_back('"');
}

// The fewest digits that give the same double again.
std::string shortest(double value) {
  for (int digits = 15;; ++digits) {
    std::ostringstream written;
    written.imbue(std::locale::classic());
    written.precision(digits);
    written << value;
    double back = 0;
    std::istringstream stream(written.str());
    stream.imbue(std::locale::classic());
    if (digits == 17 || ((stream >> back) && back == value)) return written.str();
  }
}

void append_value(std::string& out, const Json& json);

struct Append {
  std::string& out;

  void operator()(std::monostate) const { out += "null"; }
  void operator()(bool value) const { out += value ? "true" : "false"; }
  void operator()(int64_t value) const { out += std::to_string(value); }
  void operator()(const std::string& value) const { append_string(out, value); }

  void operator()(double value) const {
    if (!std::isfinite(value)) fail(ErrorCode::invalid_argument, "write JSON", "a number that JSON cannot hold");
    const std::size_t start = out.size();
    out += shortest(value);
    // 3.0 must not come back as the integer 3.
    if (out.find_first_of(".e", start) == std::string::npos) out += ".0";
  }

  void operator()(const Json::Array& items) const {
    out.push_back('[');
    for (std::size_t i = 0; i < items.size(); ++i) {
      if (i > 0) out.push_back(',');
      append_value(out, items[i]);
    }
    out.push_back(']');
  }

  void operator()(const Json::Object& members) const {
    out.push_back('{');
    for (std::size_t i = 0; i < members.size(); ++i) {
      if (i > 0) out.push_back(',');
      append_string(out, members[i].first);
      out.push_back(':');
      append_value(out, members[i].second);
    }
    out.push_back('}');
  }
};

void append_value(std::string& out, const Json& json) {
  std::visit(Append{out}, json.variant());
}

}  // namespace

std::string write_json(const Json& json) {
  std::string out;
  append_value(out, json);
  return out;
}

}  // namespace ta
