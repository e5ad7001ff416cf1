#include <charconv>
#include <cmath>
#include <locale>
#include <sstream>
#include <unordered_set>

#include "core/error.h"
#include "core/state/json.h"
#include "core/state/utf8.h"

namespace ta {
namespace {

class JsonReader {
 public:
  JsonReader(std::string_view json, const std::string& source, const JsonLimits& limits)
      : json_(json), source_(source), limits_(limits) {}

  Json read() {
    if (json_.size() > limits_.bytes) {
      fail(ErrorCode::file_format, "read " + source_, "JSON too large",
           {.expected = text("at most ", limits_.bytes, " bytes"), .got = text(json_.size())});
    }
    Json json = value(0);
    skip_space();
    if (at_ < json_.size()) bad("text after the end of the JSON value");
    return json;
  }

 private:
  [[noreturn]] void bad(const std::string& problem) const {
    fail(ErrorCode::file_format, "read " + source_, text("invalid JSON at byte ", at_, ": ", problem));
  }

  bool more() const { return at_ < json_.size(); }
  char peek() const { return more() ? json_[at_] : '\0'; }

  void skip_space() {
    while (more() && (json_[at_] == ' ' || json_[at_] == '\n' || json_[at_] == '\r' || json_[at_] == '\t')) ++at_;
  }

  void expect(char symbol) {
    if (!more() || json_[at_] != symbol) bad(text("expected '", symbol, "'"));
    ++at_;
  }

  bool accept(char symbol) {
    skip_space();
    if (!more() || json_[at_] != symbol) return false;
    ++at_;
    return true;
  }

  Json value(int depth) {
    skip_space();
    if (++values_ > limits_.values) bad(text("more than ", limits_.values, " values"));
    switch (peek()) {
      case '{':
        return object(depth);
      case '[':
        return array(depth);
      case '"':
        return string();
      case 't':
        return word("true", true);
      case 'f':
        return word("false", false);
      case 'n':
        return word("null", nullptr);
      default:
        return number();
    }
  }

  Json word(std::string_view spelling, Json meaning) {
    if (json_.substr(at_, spelling.size()) != spelling) bad("unknown word");
    at_ += spelling.size();
    return meaning;
  }

  void enter(int depth) const {
    if (depth >= limits_.depth) bad(text("nested deeper than ", limits_.depth));
  }

  Json object(int depth) {
    enter(depth);
    expect('{');
    Json::Object members;
    std::unordered_set<std::string> seen;
    if (accept('}')) return members;
    do {
      skip_space();
      std::string key = string();
      if (!seen.insert(key).second) bad("the key '" + key + "' appears twice");
      skip_space();
      expect(':');
      Json member = value(depth + 1);
      members.emplace_back(std::move(key), std::move(member));
    } while (accept(','));
    skip_space();
    expect('}');
    return members;
  }

  Json array(int depth) {
    enter(depth);
    expect('[');
    Json::Array items;
    if (accept(']')) return items;
    do {
      items.push_back(value(depth + 1));
    } while (accept(','));
    skip_space();
    expect(']');
    return items;
  }

  std::string string() {
    expect('"');
    std::string out;
    while (true) {
      if (!more()) bad("string without an end");
      const unsigned char byte = static_cast<unsigned char>(json_[at_]);
      if (byte == '"') break;
      if (byte < 0x20) bad("control character in a string");
      if (byte == '\\') {
        escape(out);
      } else if (byte < 0x80) {
        out.push_back(json_[at_++]);
      } else {
        utf8(out);
      }
    }
    ++at_;
    return out;
  }

  void escape(std::string& out) {
    ++at_;
    static constexpr std::string_view letters = "\"\\/bfnrt";
    static constexpr std::string_view meanings = "\"\\/\b\f\n\r\t";
    const char letter = peek();
    if (more() && letter == 'u') {
      ++at_;
      unicode_escape(out);
      return;
    }
    const std::size_t index = more() ? letters.find(letter) : std::string_view::npos;
    if (index == std::string_view::npos) bad("unknown escape");
    out.push_back(meanings[index]);
    ++at_;
  }

  uint32_t four_hex() {
    if (json_.size() - at_ < 4) bad("unfinished \\u escape");
    uint32_t code = 0;
    const char* first = json_.data() + at_;
    const auto result = std::from_chars(first, first + 4, code, 16);
    if (result.ptr != first + 4) bad("\\u needs four hexadecimal digits");
    at_ += 4;
    return code;
  }

  void unicode_escape(std::string& out) {
    uint32_t code = four_hex();
    if (code >= 0xDC00 && code <= 0xDFFF) bad("second half of a surrogate pair without the first");
    if (code >= 0xD800 && code <= 0xDBFF) {
      if (json_.substr(at_, 2) != "\\u") bad("first half of a surrogate pair without the second");
      at_ += 2;
      const uint32_t low = four_hex();
      if (low < 0xDC00 || low > 0xDFFF) bad("first half of a surrogate pair without the second");
      code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    }
    append_code_point(out, code);
  }

  static void append_code_point(std::string& out, uint32_t code) {
    const auto tail = [&](int shift) { out.push_back(static_cast<char>(0x80 | (code >> shift & 0x3F))); };
    if (code < 0x80) {
      out.push_back(static_cast<char>(code));
    } else if (code < 0x800) {
      out.push_back(static_cast<char>(0xC0 | code >> 6));
      tail(0);
    } else if (code < 0x10000) {
      out.push_back(static_cast<char>(0xE0 | code >> 12));
      tail(6);
      tail(0);
    } else {
      out.push_back(static_cast<char>(0xF0 | code >> 18));
      tail(12);
      tail(6);
      tail(0);
    }
  }

  void utf8(std::string& out) {
    const std::size_t length = utf8_length(json_, at_);
    if (length == 0) bad("not UTF-8");
    out.append(json_.substr(at_, length));
    at_ += length;
  }

  bool digits() {
    const std::size_t start = at_;
    while (peek() >= '0' && peek() <= '9') ++at_;
    return at_ > start;
  }

  Json number() {
    const std::size_t start = at_;
    if (peek() == '-') ++at_;
    const bool leading_zero = peek() == '0';
    const std::size_t first_digit = at_;
    if (!digits()) bad(more() ? "expected a value" : "the text ends too early");
    if (leading_zero && at_ - first_digit > 1) bad("a number may not begin with 0");
    bool whole = true;
    if (peek() == '.') {
      whole = false;
      ++at_;
      if (!digits()) bad("expected digits after the point");
    }
    if (peek() == 'e' || peek() == 'E') {
      whole = false;
      ++at_;
      if (peek() == '+' || peek() == '-') ++at_;
      if (!digits()) bad("expected digits in the exponent");
    }
    const char* first = json_.data() + start;
    const char* last = json_.data() + at_;
    if (whole) {
      int64_t integer = 0;
      if (std::from_chars(first, last, integer).ec == std::errc{}) return integer;
    }
    // Not from_chars, which Apple's library does not have for doubles; the classic locale has a point in every country.
    std::istringstream stream(std::string(first, last));
    stream.imbue(std::locale::classic());
    double number = 0;
    if (!(stream >> number) || !std::isfinite(number)) bad("number out of range");
    return number;
  }

  std::string_view json_;
  const std::string& source_;
  const JsonLimits& limits_;
  std::size_t at_ = 0;
  std::size_t values_ = 0;
};

}  // namespace

Json parse_json(std::string_view json, const std::string& source, const JsonLimits& limits) {
  return JsonReader(json, source, limits).read();
}

}  // namespace ta
