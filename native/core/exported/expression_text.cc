#include "core/exported/expression_text.h"

#include <cctype>
#include <optional>
#include <string_view>
#include <vector>

namespace ta::exported {

namespace {

using Names = std::map<std::string, std::string>;

// SymPy nests these; more is no size.
constexpr int kDeepest = 64;

bool is_word(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_';
}

// Sums bind less than products, and those less than names and numbers.
enum class Strength { sum, product, whole };

struct Term {
  std::string text;
  Strength strength;
};

std::string held(const Term& part, Strength least) {
  return part.strength < least ? "(" + part.text + ")" : part.text;
}

class ExpressionReader {
 public:
  ExpressionReader(std::string_view text, const Names& names) : text_(text), names_(names) {}

  std::optional<std::string> all() {
    const auto part = read(0);
    return part && at_ == text_.size() ? std::optional(part->text) : std::nullopt;
  }

 private:
  bool take(char c) {
    if (at_ < text_.size() && text_[at_] == c) return ++at_, true;
    return false;
  }

  std::optional<Term> read(int depth) {
    const size_t begin = at_;
    const bool negative = take('-');
    const size_t word = at_;
    while (at_ < text_.size() && is_word(text_[at_])) ++at_;
    const std::string name(text_.substr(word, at_ - word));
    if (name.empty() || depth > kDeepest) return std::nullopt;
    if (!take('(')) {
      const auto found = names_.find(name);
      return Term{(negative ? "-" : "") + (found == names_.end() ? name : found->second),
                  negative ? Strength::sum : Strength::whole};
    }
    std::vector<Term> parts;
    do {
      while (take(' ')) {
      }
      auto part = read(depth + 1);
      if (!part) return std::nullopt;
      parts.push_back(std::move(*part));
    } while (take(','));
    if (negative || !take(')')) return std::nullopt;
    const auto known = names_.find(std::string(text_.substr(begin, at_ - begin)));
    return known == names_.end() ? call(name, parts) : Term{known->second, Strength::whole};
  }

  static Term call(const std::string& name, const std::vector<Term>& parts) {
    if (name == "Integer" && parts.size() == 1) return parts[0];
    if (name == "Add") return added(parts);
    if (name == "Mul") return joined(parts, " * ", Strength::product);
    if (parts.size() == 2) {
      if (name == "FloorDiv" || name == "CleanDiv") return joined(parts, " // ", Strength::product);
      if (name == "Mod" || name == "PythonMod") return joined(parts, " % ", Strength::product);
      if (name == "Pow") return joined(parts, " ** ", Strength::product);
    }
    std::string text;
    for (const auto& part : parts) text += (text.empty() ? "" : ", ") + part.text;
    return {name + "(" + text + ")", Strength::whole};
  }

  static Term added(const std::vector<Term>& parts) {
    std::string text;
    for (const auto& part : parts) {
      const bool negative = !text.empty() && part.text.starts_with('-');
      text += text.empty() ? part.text : negative ? " - " + part.text.substr(1) : " + " + part.text;
    }
    return {text, Strength::sum};
  }

  // Of two that bind alike the left one comes first without brackets.
  static Term joined(const std::vector<Term>& parts, const char* sign, Strength strength) {
    std::string text;
    for (const auto& part : parts) text += text.empty() ? held(part, strength) : sign + held(part, Strength::whole);
    return {text, strength};
  }

  std::string_view text_;
  const Names& names_;
  size_t at_ = 0;
};

// Every name in what is no such expression.
std::string renamed(const std::string& text, const Names& names) {
  std::string result;
  for (size_t i = 0; i < text.size();) {
    size_t end = i;
    while (end < text.size() && is_word(text[end])) ++end;
    if (end == i) {
      result += text[i++];
      continue;
    }
    const auto word = text.substr(i, end - i);
    const auto found = names.find(word);
    result += found == names.end() ? word : found->second;
    i = end;
  }
  return result;
}

}  // namespace

std::string expression_text(const std::string& expression, const std::map<std::string, std::string>& names) {
  const auto text = ExpressionReader(expression, names).all();
  return text ? *text : renamed(expression, names);
}

}  // namespace ta::exported
