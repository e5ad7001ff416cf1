#include "core/exported/einsum.h"

#include <algorithm>

namespace ta::exported {

namespace {

constexpr size_t kMostAxes = 16;

bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

std::string without_spaces(std::string text) {
  text.erase(std::remove(text.begin(), text.end(), ' '), text.end());
  return text;
}

// The axes of a tensor of so many; empty: the text does not name as many.
std::string letters_of(const std::string& text, size_t count) {
  const auto dots = text.find("...");
  if (dots == std::string::npos) return text.size() == count ? text : "";
  if (text.size() - 3 > count) return "";
  std::string between;
  for (auto left = text.size() - 3; left < count; ++left)
    between.insert(between.begin(), static_cast<char>(1 + between.size()));
  return text.substr(0, dots) + between + text.substr(dots + 3);
}

bool has_each_once(std::string axes) {
  std::sort(axes.begin(), axes.end());
  const bool letters = std::all_of(axes.begin(), axes.end(), [](char c) { return is_letter(c) || c <= 16; });
  return !axes.empty() && letters && std::adjacent_find(axes.begin(), axes.end()) == axes.end();
}

// What an equation without an arrow gives: what `...` stands for, and what one tensor alone has, by the alphabet.
std::string implicit(const std::string& left, const std::string& right) {
  std::string letters, dots;
  for (const auto& [own, other] : {std::pair(left, right), std::pair(right, left)}) {
    for (char c : own) {
      if (!is_letter(c) && dots.find(c) == std::string::npos) dots += c;
      if (is_letter(c) && other.find(c) == std::string::npos) letters += c;
    }
  }
  std::sort(letters.begin(), letters.end());
  std::sort(dots.rbegin(), dots.rend());
  return dots + letters;
}

}  // namespace

std::optional<Einsum> read_einsum(const Graph& graph, const Node& node) {
  if (node.operator_name() != "aten.einsum.default" || !node.arguments[0].value.isString()) return std::nullopt;
  const auto& items = node.arguments[1].items;
  if (items.size() != 2 || items[0].slot < 0 || items[1].slot < 0 || node.outputs[0] < 0) return std::nullopt;
  const auto equation = without_spaces(node.arguments[0].value.toStringRef());
  const auto comma = equation.find(','), arrow = equation.find("->");
  if (comma == std::string::npos) return std::nullopt;
  const auto count = [&](int32_t slot) { return graph.slots[slot].shape.size(); };
  Einsum one{items[0].slot, items[1].slot, "", "", ""};
  const size_t out = count(node.outputs[0]);
  if (std::max({count(one.left), count(one.right), out}) > kMostAxes) return std::nullopt;
  one.left_axes = letters_of(equation.substr(0, comma), count(one.left));
  const auto end = std::min(arrow, equation.size());
  one.right_axes = letters_of(equation.substr(comma + 1, end - comma - 1), count(one.right));
  one.out_axes = arrow == std::string::npos ? implicit(one.left_axes, one.right_axes)
                                            : letters_of(equation.substr(arrow + 2), out);
  const bool fits = one.out_axes.size() == out && has_each_once(one.left_axes) && has_each_once(one.right_axes) &&
                    has_each_once(one.out_axes);
  return fits ? std::optional(one) : std::nullopt;
}

}  // namespace ta::exported
