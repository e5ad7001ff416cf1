#include "core/exported/streams.h"

#include <algorithm>

namespace ta::exported {

namespace {

bool begins_with(const std::vector<Size>& shape, const std::vector<Size>& sizes) {
  return !sizes.empty() && shape.size() == sizes.size() + 1 && std::equal(sizes.begin(), sizes.end(), shape.begin());
}

// Whether an expression of names ("Mul(s11, s53)") has this one.
bool mentions(const std::string& text, const std::string& name) {
  const auto is_part = [&](size_t at) {
    return at < text.size() && (std::isalnum(static_cast<unsigned char>(text[at])) != 0 || text[at] == '_');
  };
  for (size_t at = text.find(name); at != std::string::npos; at = text.find(name, at + 1))
    if (!(at > 0 && is_part(at - 1)) && !is_part(at + name.size())) return true;
  return false;
}

}  // namespace

bool Streams::is_token(const SlotInfo& info) const {
  return info.is_tensor && info.is_real() && !info.shape.empty() && info.shape.back().number > 0 &&
         (begins_with(info.shape, tokens) || begins_with(info.shape, source));
}

bool Streams::is_row(const SlotInfo& info) const {
  return info.is_tensor && info.is_real() && tokens.size() == 2 && info.shape.size() == 2 &&
         info.shape[0] == tokens[0] && info.shape[1].number > 0;
}

bool Streams::of_source(const Graph& graph, const SlotInfo& info) const {
  if (source.size() < 2 || source[1].symbol < 0) return false;
  const auto has = [&](const Size& column) {
    return column.symbol >= 0 && std::any_of(info.shape.begin(), info.shape.end(), [&](const Size& size) {
             return size.symbol >= 0 && mentions(graph.symbols[size.symbol].text, graph.symbols[column.symbol].text);
           });
  };
  return has(source[1]) && !(tokens.size() > 1 && has(tokens[1]));
}

}  // namespace ta::exported
