#include "core/exported/blocks.h"

#include <algorithm>
#include <cmath>

namespace ta::exported {

namespace {

// Nodes of one block, from its end to its beginning; each gives one value, which the next one alone reads.
class Chain {
 public:
  Chain(const Graph& graph, const Weights& weights) : graph_(graph), weights_(weights) {}

  /// The node that makes a value which one node alone reads; null where it is none of these operators.
  const Node* made_by(int32_t slot, std::initializer_list<std::string_view> names) {
    if (only_user(slot) < 0) return nullptr;
    return take(graph_.slots[slot].producer, names);
  }
  /// The same, for what reads a value.
  const Node* read_by(int32_t slot, std::initializer_list<std::string_view> names) {
    const int32_t user = only_user(slot);
    if (user < 0 || graph_.nodes[user].slot(0) != slot || graph_.nodes[user].outputs[0] < 0) return nullptr;
    return take(user, names);
  }
  std::optional<Product> product(int32_t slot) {
    const auto* node = made_by(slot, {"aten.linear.default", "aten.addmm.default"});
    return node == nullptr ? std::nullopt : weights_.product(nodes_.back());
  }
  void add(int32_t node) { nodes_.push_back(node); }

  /// From the first to the last of them; nothing where others read what is made between, or a mode is on.
  std::optional<Range> range(int32_t out) const {
    const auto [first, last] = std::minmax_element(nodes_.begin(), nodes_.end());
    const Range range{*first, *last};
    for (int32_t i = range.first; i <= range.last; ++i) {
      if (graph_.nodes[i].has_mode()) return std::nullopt;
      for (int32_t slot : graph_.nodes[i].outputs) {
        if (slot < 0 || slot == out) continue;
        if (graph_.slots[slot].is_output) return std::nullopt;
        for (int32_t user : graph_.slots[slot].users)
          if (user > range.last && gives(user)) return std::nullopt;
      }
    }
    return range;
  }
  bool is_before(int32_t slot, const Range& range) const { return graph_.slots[slot].producer < range.first; }

 private:
  // Assertions read and give nothing.
  bool gives(int32_t node) const { return !graph_.nodes[node].outputs.empty(); }
  int32_t only_user(int32_t slot) const {
    if (slot < 0 || graph_.slots[slot].is_output) return -1;
    int32_t only = -1;
    for (int32_t user : graph_.slots[slot].users) {
      if (!gives(user)) continue;
      if (only >= 0) return -1;
      only = user;
    }
    return only;
  }
  const Node* take(int32_t node, std::initializer_list<std::string_view> names) {
    if (node < 0 || !gives(node)) return nullptr;
    const auto& one = graph_.nodes[node];
    if (std::find(names.begin(), names.end(), one.operator_name()) == names.end()) return nullptr;
    nodes_.push_back(node);
    return &one;
  }

  const Graph& graph_;
  const Weights& weights_;
  std::vector<int32_t> nodes_;
};

bool equals(const Argument& argument, double expected) {
  const auto number = argument.value.isTensor() ? std::nullopt : argument.number();
  return number && std::abs(*number - expected) <= 1e-9 * std::max(1.0, std::abs(expected));
}

bool is_none(const Argument& argument) {
  return argument.kind == Argument::Kind::constant && argument.value.isNone();
}

bool parts_heads(const Node& node) {
  return (equals(node.arguments[1], 1) && equals(node.arguments[2], 2)) ||
         (equals(node.arguments[1], 2) && equals(node.arguments[2], 1));
}

const std::initializer_list<std::string_view> kForms = {"aten.view.default", "aten.reshape.default"};
const std::initializer_list<std::string_view> kTranspose = {"aten.transpose.int"};

// x W + b with its heads side by side: linear, view, transpose.
std::optional<Product> projection(Chain& chain, int32_t slot) {
  const auto* transpose = chain.made_by(slot, kTranspose);
  if (transpose == nullptr || !parts_heads(*transpose)) return std::nullopt;
  const auto* view = chain.made_by(transpose->slot(0), kForms);
  return view == nullptr ? std::nullopt : chain.product(view->slot(0));
}

std::optional<AttentionBlock> attention_at(const Graph& graph, const Weights& weights, int32_t index) {
  const auto& node = graph.nodes[index];
  if (node.operator_name() != "aten.scaled_dot_product_attention.default") return std::nullopt;
  for (size_t i = 0; i < 3; ++i)
    if (node.slot(i) < 0) return std::nullopt;
  const auto& shape = graph.slots[node.slot(0)].shape;
  if (shape.size() != 4 || shape[1].number < 1 || shape[3].number < 1) return std::nullopt;
  AttentionBlock block;
  block.heads = shape[1].number;
  const int64_t size = shape[3].number;
  // The library's form is 1/√d, and as many keys as queries have heads.
  const bool scaled = is_none(node.arguments[6]) || equals(node.arguments[6], 1 / std::sqrt(double(size)));
  const auto& dropout = node.arguments[4];
  if (!scaled || node.arguments[5].kind != Argument::Kind::constant || dropout.kind != Argument::Kind::constant ||
      !dropout.value.isScalar())
    return std::nullopt;
  block.dropout = dropout.value.toScalar().toDouble();
  block.causal = node.arguments[5].value.toBool();
  block.mask = node.slot(3);
  if (block.mask < 0 && !is_none(node.arguments[3])) return std::nullopt;

  Chain chain(graph, weights);
  chain.add(index);
  for (size_t i = 0; i < 3; ++i) {
    const auto& part = graph.slots[node.slot(i)].shape;
    if (part.size() != 4 || part[1].number != block.heads || part[3].number != size) return std::nullopt;
    const auto product = projection(chain, node.slot(i));
    if (!product || (i > 0 && product->input != block.x)) return std::nullopt;
    block.x = product->input;
    block.products[i] = product->node;
  }
  const auto* transpose = chain.read_by(node.outputs[0], kTranspose);
  if (transpose == nullptr || !parts_heads(*transpose)) return std::nullopt;
  int32_t made = transpose->outputs[0];
  if (const auto* same = chain.read_by(made, {"aten.contiguous.default"})) made = same->outputs[0];
  const auto* form = chain.read_by(made, kForms);
  if (form == nullptr) return std::nullopt;
  block.out = form->outputs[0];
  const auto& x = graph.slots[block.x].shape;
  const std::vector<Size> whole{x.size() == 3 ? x[0] : Size{}, x.size() == 3 ? x[1] : Size{}, {block.heads * size, -1}};
  if (x.size() != 3 || graph.slots[block.out].shape != whole) return std::nullopt;
  if (const auto* end = chain.read_by(block.out, {"aten.linear.default"}); end != nullptr) {
    const int32_t last = graph.slots[end->outputs[0]].producer;
    const auto product = weights.product(last);
    if (product && product->end == last) block.output = last, block.out = product->output;
  }
  const auto range = chain.range(block.out);
  if (!range || !chain.is_before(block.x, *range)) return std::nullopt;
  if (block.mask >= 0 && !chain.is_before(block.mask, *range)) return std::nullopt;
  block.nodes = *range;
  return block;
}

std::optional<ActivationKind> activation_of(const Node& node) {
  const auto& name = node.operator_name();
  if (name == "aten.gelu.default") {
    const auto approximate = node.arguments[1].value.toStringView();
    return approximate == "none" ? ActivationKind::gelu : ActivationKind::gelu_tanh;
  }
  if (name == "aten.relu.default") return ActivationKind::relu;
  if (name == "aten.silu.default") return ActivationKind::silu;
  if (name == "aten.tanh.default") return ActivationKind::tanh;
  return name == "aten.sigmoid.default" ? std::optional(ActivationKind::sigmoid) : std::nullopt;
}

std::optional<FeedForwardBlock> feed_forward_at(const Graph& graph, const Weights& weights, int32_t index) {
  const auto second = weights.product(index);
  if (!second) return std::nullopt;
  Chain chain(graph, weights);
  chain.add(index);
  const auto* act = chain.made_by(second->input, {"aten.gelu.default", "aten.relu.default", "aten.silu.default",
                                                  "aten.tanh.default", "aten.sigmoid.default"});
  if (act == nullptr) return std::nullopt;
  const auto first = chain.product(act->slot(0));
  if (!first || graph.slots[first->input].shape.size() != 3) return std::nullopt;
  const auto range = chain.range(second->output);
  if (!range || !chain.is_before(first->input, *range)) return std::nullopt;
  return FeedForwardBlock{*range, first->input, second->output, first->node, index, *activation_of(*act)};
}

// mul(w, [to](mul(x, rsqrt(add(mean(pow(x, 2), -1), ε))))), from the last product on.
std::optional<RmsNormBlock> rms_norm_at(const Graph& graph, const Weights& weights, int32_t index) {
  const auto& node = graph.nodes[index];
  if (node.operator_name() != "aten.mul.Tensor") return std::nullopt;
  const auto* weight = weights.exactly(node.slot(0));
  if (weight == nullptr || graph.slots[weight->slot].shape.size() != 1) return std::nullopt;
  Chain chain(graph, weights);
  chain.add(index);
  int32_t scaled = node.slot(1);
  if (const auto* same = chain.made_by(scaled, {"aten.to.dtype"})) {
    if (graph.slots[same->slot(0)].dtype != at::kFloat || graph.slots[scaled].dtype != at::kFloat) return std::nullopt;
    scaled = same->slot(0);
  }
  const auto* product = chain.made_by(scaled, {"aten.mul.Tensor"});
  if (product == nullptr) return std::nullopt;
  const int32_t x = product->slot(0);
  const auto* root = chain.made_by(product->slot(1), {"aten.rsqrt.default"});
  const auto* sum = root == nullptr ? nullptr : chain.made_by(root->slot(0), {"aten.add.Tensor"});
  const auto* mean = sum == nullptr ? nullptr : chain.made_by(sum->slot(0), {"aten.mean.dim"});
  const auto* square = mean == nullptr ? nullptr : chain.made_by(mean->slot(0), {"aten.pow.Tensor_Scalar"});
  if (square == nullptr || x < 0 || square->slot(0) != x || !equals(square->arguments[1], 2)) return std::nullopt;
  const auto eps = sum->arguments[1].number();
  const auto& dims = mean->arguments[1];
  const auto& shape = graph.slots[x].shape;
  if (!eps || !equals(sum->arguments[2], 1) || dims.kind != Argument::Kind::constant || !dims.value.isIntList())
    return std::nullopt;
  const auto over = dims.value.toIntVector();
  const bool last = over.size() == 1 && (over[0] == -1 || over[0] + 1 == static_cast<int64_t>(shape.size()));
  const bool keeps = mean->arguments[2].value.isBool() && mean->arguments[2].value.toBool();
  const bool fits = !shape.empty() && shape.back() == graph.slots[weight->slot].shape[0];
  if (!last || !keeps || !fits || !is_none(mean->arguments[3]) || graph.slots[x].dtype != at::kFloat)
    return std::nullopt;
  const auto range = chain.range(node.outputs[0]);
  if (!range || !chain.is_before(x, *range)) return std::nullopt;
  return RmsNormBlock{*range, x, node.outputs[0], weight->slot, *eps};
}

// slice(x, 3, from, to, 1) where `to` may lie behind the end.
bool is_part(const Node& node, int64_t from, int64_t to, int64_t size) {
  if (!equals(node.arguments[1], 3) && !equals(node.arguments[1], -1)) return false;
  if (is_none(node.arguments[2]) ? from != 0 : !equals(node.arguments[2], double(from))) return false;
  const auto& end = node.arguments[3];
  if (end.kind != Argument::Kind::constant || !equals(node.arguments[4], 1)) return false;
  if (end.value.isNone()) return to == size;
  return end.value.isInt() && std::min(end.value.toInt(), size) == to;
}

// add(mul(x, cos), mul(cat(neg(x₂), x₁), sin)), from the sum on.
std::optional<RotaryBlock> rotary_at(const Graph& graph, const Weights& weights, int32_t index) {
  const auto& node = graph.nodes[index];
  if (node.operator_name() != "aten.add.Tensor" || !equals(node.arguments[2], 1)) return std::nullopt;
  Chain chain(graph, weights);
  chain.add(index);
  const auto* plain = chain.made_by(node.slot(0), {"aten.mul.Tensor"});
  const auto* turned = plain == nullptr ? nullptr : chain.made_by(node.slot(1), {"aten.mul.Tensor"});
  const auto* whole = turned == nullptr ? nullptr : chain.made_by(turned->slot(0), {"aten.cat.default"});
  if (whole == nullptr || plain->slot(1) < 0 || turned->slot(1) < 0) return std::nullopt;
  const int32_t x = plain->slot(0);
  const auto shape = x < 0 ? std::vector<Size>() : graph.slots[x].shape;
  const auto& parts = whole->arguments[0].items;
  if (shape.size() != 4 || shape[3].number < 2 || parts.size() != 2) return std::nullopt;
  if (!equals(whole->arguments[1], -1) && !equals(whole->arguments[1], 3)) return std::nullopt;
  const int64_t size = shape[3].number, half = size / 2;
  const auto* minus = chain.made_by(parts[0].slot, {"aten.neg.default"});
  const auto* second = minus == nullptr ? nullptr : chain.made_by(minus->slot(0), {"aten.slice.Tensor"});
  const auto* first = second == nullptr ? nullptr : chain.made_by(parts[1].slot, {"aten.slice.Tensor"});
  if (first == nullptr || first->slot(0) != x || second->slot(0) != x || 2 * half != size) return std::nullopt;
  if (!is_part(*first, 0, half, size) || !is_part(*second, half, size, size)) return std::nullopt;
  const auto range = chain.range(node.outputs[0]);
  if (!range || !chain.is_before(x, *range)) return std::nullopt;
  if (!chain.is_before(plain->slot(1), *range) || !chain.is_before(turned->slot(1), *range)) return std::nullopt;
  return RotaryBlock{*range, x, plain->slot(1), turned->slot(1), node.outputs[0]};
}

template <class Block>
std::vector<Block> all_blocks(const Graph& graph, const Weights& weights,
                              std::optional<Block> (*at)(const Graph&, const Weights&, int32_t)) {
  std::vector<Block> blocks;
  for (int32_t i = 0; i < static_cast<int32_t>(graph.nodes.size()); ++i)
    if (auto block = at(graph, weights, i)) blocks.push_back(*block);
  return blocks;
}

}  // namespace

std::vector<AttentionBlock> find_attention_blocks(const Graph& graph, const Weights& weights) {
  return all_blocks(graph, weights, attention_at);
}

std::vector<FeedForwardBlock> find_feed_forward_blocks(const Graph& graph, const Weights& weights) {
  return all_blocks(graph, weights, feed_forward_at);
}

std::vector<RmsNormBlock> find_rms_norm_blocks(const Graph& graph, const Weights& weights) {
  return all_blocks(graph, weights, rms_norm_at);
}

std::vector<RotaryBlock> find_rotary_blocks(const Graph& graph, const Weights& weights) {
  return all_blocks(graph, weights, rotary_at);
}

}  // namespace ta::exported
