#include "core/exported/head_axes.h"

#include <algorithm>
#include <numeric>

#include "core/exported/einsum.h"

namespace ta::exported {

namespace {

Axes in_turn(size_t count) {
  Axes axes(count);
  std::iota(axes.begin(), axes.end(), 0);
  return axes;
}

int64_t axis_of(const std::string& axes, char name) {
  const auto at = axes.find(name);
  return at == std::string::npos ? -1 : static_cast<int64_t>(at);
}

Axes axes_of(const std::string& axes, const std::string& names) {
  Axes found;
  for (char name : names) found.push_back(axis_of(axes, name));
  return found;
}

bool has(const std::string& axes, char name) {
  return axis_of(axes, name) >= 0;
}

class AxesReader {
 public:
  AxesReader(const Graph& graph, const AttentionCore& core, const Size& rows)
      : graph_(graph), core_(core), rows_(rows) {}

  std::optional<HeadAxes> read(int32_t& stopped) {
    stopped = core_.scores;
    if (!read_scores()) return std::nullopt;
    stopped = core_.node;
    return read_out() ? std::optional(own_) : std::nullopt;
  }

 private:
  const std::vector<Size>& shape(int32_t slot) const { return graph_.slots[slot].shape; }
  size_t rank(int32_t slot) const { return shape(slot).size(); }

  bool read_scores() {
    const auto& node = graph_.nodes[core_.scores];
    if (node.operator_name() == "aten.einsum.default") return read_scores_of_einsum(node);
    const size_t first = node.operator_name() == "aten.baddbmm.default" ? 1 : 0;
    if (!first && !node.is_one_of({"aten.matmul.default", "aten.bmm.default"})) return false;
    if (node.slot(first) != core_.query || node.slot(first + 1) != core_.key) return false;
    const size_t count = rank(core_.query);
    if ((count != 3 && count != 4) || rank(core_.key) != count) return false;
    own_.query = own_.key = own_.scores = in_turn(count);
    std::swap(own_.key[count - 2], own_.key[count - 1]);
    own_.apart = count == 4;
    return count == 3 || shape(core_.query)[0] == rows_;
  }

  bool read_scores_of_einsum(const Node& node) {
    const auto product = read_einsum(graph_, node);
    if (!product) return false;
    const bool query_first = product->left == core_.query;
    const auto& query = query_first ? product->left_axes : product->right_axes;
    const auto& key = query_first ? product->right_axes : product->left_axes;
    const auto& out = product->out_axes;
    // What only one of the three lacks, and what all or all but the key have.
    std::string tokens, keys, features, shared, own;
    for (char c : query) {
      if (!has(out, c)) (has(key, c) ? features : tokens) += c;
      if (has(out, c) && has(key, c) && size_of(query, core_.query, c) == size_of(key, core_.key, c)) shared += c;
    }
    for (char c : out) {
      if (!has(query, c)) keys += c;
      if (has(query, c) && !has(key, c)) own += c;
    }
    if (features.size() != 1 || keys.size() != 1 || !tokens.empty() || shared.size() + 2 != key.size()) return false;
    if (own.size() < 1 || own.size() > 2 || shared.size() < 1 || shared.size() > 2) return false;
    char row = shared[0];
    if (shared.size() == 2) {
      const auto is_row = [&](char c) { return size_of(query, core_.query, c) == rows_; };
      if (is_row(shared[0]) == is_row(shared[1])) return false;
      row = is_row(shared[0]) ? shared[0] : shared[1];
    }
    // Of the query's own, the heads' size is a number, and as many as tokens there are not.
    char token = own[0];
    if (own.size() == 2) {
      const auto numbered = [&](char c) { return size_of(query, core_.query, c).number > 0; };
      if (numbered(own[0]) == numbered(own[1])) return false;
      token = numbered(own[0]) ? own[1] : own[0];
    }
    std::string key_head = shared, head = own;
    key_head.erase(key_head.find(row), 1), head.erase(head.find(token), 1);
    own_.query = axes_of(query, row + key_head + head + token + features);
    own_.key = axes_of(key, row + key_head + keys + features);
    own_.scores = axes_of(out, row + key_head + head + token + keys);
    own_.matrices = false;
    const bool joint = size_of(query, core_.query, row) != rows_;
    own_.apart = !joint;
    if (joint) return key_head.empty() && head.empty() && own_.query == in_turn(3) && own_.key == in_turn(3);
    const auto many = [&](const std::string& names) {
      return names.empty() ? 1 : size_of(query, core_.query, names[0]).number;
    };
    own_.key_heads = many(key_head), own_.heads = own_.key_heads * many(head);
    return own_.key_heads > 0 && own_.heads > 0;
  }

  Size size_of(const std::string& axes, int32_t slot, char name) const { return shape(slot)[axis_of(axes, name)]; }

  // The second product reads the weights, whose axes are those of the scores, and gives the query's.
  bool read_out() {
    const auto& node = graph_.nodes[core_.node];
    if (node.operator_name() == "aten.einsum.default") return read_out_of_einsum(node);
    if (!node.is_one_of({"aten.matmul.default", "aten.bmm.default"}) || node.slot(1) != core_.value) return false;
    const size_t count = own_.scores.size();
    if (own_.scores != in_turn(count) || rank(core_.value) != count || rank(node.slot(0)) != count) return false;
    own_.value = own_.out = in_turn(count);
    own_.weights = node.slot(0);
    return own_.heads == own_.key_heads;
  }

  bool read_out_of_einsum(const Node& node) {
    const auto product = read_einsum(graph_, node);
    if (!product) return false;
    own_.matrices = false;
    const bool value_first = product->left == core_.value;
    own_.weights = value_first ? product->right : product->left;
    const auto& weights = value_first ? product->right_axes : product->left_axes;
    const auto& value = value_first ? product->left_axes : product->right_axes;
    const auto& out = product->out_axes;
    if (weights.size() != own_.scores.size()) return false;
    std::string names;  // of the scores' axes, in order
    for (int64_t axis : own_.scores) names += weights[axis];
    const char keys = names.back(), tokens = names[names.size() - 2];
    std::string features, shared;
    for (char c : value)
      if (!has(weights, c)) features += c;
    // Keys and values have the same heads.
    const std::string before = names.substr(0, own_.key.size() - 2);
    if (features.size() != 1 || !has(out, features[0]) || has(out, keys) || has(value, tokens)) return false;
    if (value.size() != before.size() + 2 || out.size() != names.size()) return false;
    own_.value = axes_of(value, before + keys + features);
    names.back() = features[0];
    own_.out = axes_of(out, names);
    const auto missing = [](const Axes& axes) { return std::find(axes.begin(), axes.end(), -1) != axes.end(); };
    return !missing(own_.value) && !missing(own_.out) && (own_.apart || own_.value == in_turn(3));
  }

  const Graph& graph_;
  const AttentionCore& core_;
  const Size& rows_;
  HeadAxes own_;
};

}  // namespace

std::optional<HeadAxes> read_axes(const Graph& graph, const AttentionCore& core, const Size& rows, int32_t& stopped) {
  return AxesReader(graph, core, rows).read(stopped);
}

bool keys_come_first(const Graph& graph, int32_t scores, int32_t softmax) {
  const auto& node = graph.nodes[scores];
  const int32_t normed = graph.nodes[softmax].slot(0);
  const auto dim = graph.nodes[softmax].arguments[1].number();
  const auto count = static_cast<int64_t>(node.outputs[0] < 0 ? 0 : graph.slots[node.outputs[0]].shape.size());
  if (!dim || normed < 0 || static_cast<int64_t>(graph.slots[normed].shape.size()) != count) return false;
  const auto axis = static_cast<int64_t>(*dim) + (*dim < 0 ? count : 0);
  if (axis < 0 || axis >= count) return false;
  if (const auto product = read_einsum(graph, node)) {
    const char name = product->out_axes[axis];
    return has(product->left_axes, name) && !has(product->right_axes, name);
  }
  return node.operator_name() != "aten.einsum.default" && axis == count - 2;
}

at::Tensor heads_apart(const at::Tensor& given, const Axes& axes, const PartedHeads& parted) {
  const bool in_turn = std::is_sorted(axes.begin(), axes.end());
  if (in_turn && given.dim() == 4) return rows_first(given, parted);
  if (in_turn && given.dim() == 3) return heads_apart(given, parted);
  const auto ordered = in_turn ? given : given.permute(axes);
  return ordered.reshape({-1, parted.heads, ordered.size(-2), ordered.size(-1)});
}

at::Tensor out_of_order(const at::Tensor& ordered, const at::Tensor& like, const Axes& axes,
                        const PartedHeads& parted) {
  const bool in_turn = std::is_sorted(axes.begin(), axes.end());
  auto sizes = (in_turn ? like : like.permute(axes)).sizes().vec();
  sizes.back() = ordered.size(-1);
  if (in_turn) return rows_first(ordered, parted).reshape(sizes);
  Axes back(axes.size());
  for (size_t i = 0; i < axes.size(); ++i) back[axes[i]] = static_cast<int64_t>(i);
  return ordered.reshape(sizes).permute(back);
}

}  // namespace ta::exported
