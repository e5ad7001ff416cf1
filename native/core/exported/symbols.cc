// GraphReader's sizes: numbers, names, and expressions as SymPy prints them,
//
//   "Symbol('s43', positive=True, integer=True)"   "Add(Symbol('s28', …), Integer(1))"
//
// Names are what a shape is checked by. Expressions are never computed: the graph has nodes that do so.

#include <limits>

#include "core/error.h"
#include "core/exported/graph_reader.h"
#include "core/exported/json_fields.h"
#include "core/exported/wire_types.h"

namespace ta::exported {
namespace {

constexpr std::size_t longest_expression = 4096;

// Symbol('s43', positive=True, integer=True) → s43, wherever it stands.
std::string plain(const std::string& expression) {
  constexpr std::string_view begin = "Symbol('";
  std::string result;
  for (std::size_t at = 0; at < expression.size();) {
    const std::size_t found = expression.find(begin, at);
    result += expression.substr(at, found - at);
    if (found == std::string::npos) break;
    const std::size_t name = found + begin.size();
    const std::size_t quote = expression.find('\'', name);
    const std::size_t end = quote == std::string::npos ? quote : expression.find(')', quote);
    if (end == std::string::npos) return expression;
    result += expression.substr(name, quote - name);
    at = end + 1;
  }
  return result;
}

}  // namespace

Size GraphReader::read_size(const Json& json, const std::string& what) {
  const auto& [tag, value] = tagged(json, what);
  if (tag == "as_int") return {value.as_integer(what), -1};
  if (tag != "as_expr") fail(ErrorCode::file_format, "read " + what, "a size is a number or an expression");
  const std::string& expression = field(value, "expr_str", what).as_string(what);
  if (expression.size() > longest_expression) {
    fail(ErrorCode::file_format, "read " + what, "an expression is too long",
         {.expected = text("at most ", longest_expression, " characters")});
  }
  const auto [found, fresh] = symbols_.emplace(plain(expression), static_cast<int32_t>(graph_.symbols.size()));
  if (fresh) graph_.symbols.push_back({.text = found->first});
  return {-1, found->second};
}

void GraphReader::read_ranges() {
  const Json* ranges = optional_field(model_, "range_constraints");
  if (!ranges) return;
  const std::string what = source_ + ", range_constraints";
  for (const auto& [name, range] : ranges->as_object(what)) {
    const auto found = symbols_.find(plain(name));
    if (found == symbols_.end()) continue;
    Symbol& symbol = graph_.symbols[static_cast<std::size_t>(found->second)];
    // PyTorch's own rule: a least of 2 says that one example's size was taken for all others, and 1 and 0 run, too.
    const Json* least = optional_field(range, "min_val");
    if (least && least->as_integer(what) > 2) symbol.least = least->as_integer(what);
    if (const Json* most = optional_field(range, "max_val")) symbol.most = most->as_integer(what);
  }
}

}  // namespace ta::exported
