#include "core/exported/products.h"

#include <algorithm>

#include "core/exported/einsum.h"

namespace ta::exported {

namespace {

// Another view of the same numbers.
bool is_view(const Node& node) {
  return node.is_one_of({"aten.t.default", "aten.numpy_T.default", "aten.transpose.int", "aten.permute.default",
                         "aten.view.default", "aten.reshape.default", "aten.unsqueeze.default", "aten.squeeze.dim",
                         "aten.select.int", "aten.expand.default", "aten.contiguous.default"});
}

// Of a matrix.
bool swaps_axes(const Node& node) {
  if (node.is_one_of({"aten.t.default", "aten.numpy_T.default"})) return true;
  if (node.operator_name() != "aten.transpose.int") return false;
  const auto one = node.arguments[1].number(), other = node.arguments[2].number();
  return one && other && (static_cast<int64_t>(*one) - static_cast<int64_t>(*other)) % 2 != 0;
}

// Adds two values as they are, or writes the sum over the first.
bool adds(const Node& node) {
  return node.is_one_of({"aten.add.Tensor", "aten.add_.Tensor"}) && node.arguments[2].number() == 1.0;
}

bool is_product(const Node& node) {
  return node.is_one_of({"aten.linear.default", "aten.addmm.default", "aten.mm.default", "aten.matmul.default",
                         "aten.bmm.default", "aten.baddbmm.default", "aten.einsum.default", "aten.conv1d.default",
                         "aten.conv1d.padding", "aten.conv2d.default", "aten.conv2d.padding", "aten.conv3d.default",
                         "aten.convolution.default"});
}

}  // namespace

Weights::Weights(const Graph& graph) : graph_(graph), inputs_(graph.slots.size(), nullptr) {
  for (const auto& input : graph.inputs)
    if (input.slot >= 0 && input.kind == Input::Kind::parameter) inputs_[input.slot] = &input;
}

const Input* Weights::exactly(int32_t slot) const {
  return slot >= 0 ? inputs_[slot] : nullptr;
}

const Input* Weights::parameter(int32_t slot) const {
  for (int steps = 0; slot >= 0 && steps < 8; ++steps) {
    if (inputs_[slot] != nullptr) return inputs_[slot];
    const int32_t producer = graph_.slots[slot].producer;
    if (producer < 0 || !is_view(graph_.nodes[producer])) return nullptr;
    slot = graph_.nodes[producer].slot(0);
  }
  return nullptr;
}

bool Weights::multiplies(const Node& node) const {
  if (!is_product(node)) return false;
  // Of linear, addmm and a convolution the bias is no factor, but it comes with one.
  return std::any_of(node.arguments.begin(), node.arguments.end(), [&](const Argument& argument) {
    bool found = false;
    Graph::each_slot(argument, [&](int32_t slot) { found = found || parameter(slot) != nullptr; });
    return found;
  });
}

// The matrix that a value is the transpose of.
const Input* Weights::turned(int32_t slot) const {
  const int32_t producer = slot < 0 ? -1 : graph_.slots[slot].producer;
  if (producer < 0 || !swaps_axes(graph_.nodes[producer])) return nullptr;
  const auto* weight = exactly(graph_.nodes[producer].slot(0));
  return weight != nullptr && graph_.slots[weight->slot].shape.size() == 2 ? weight : nullptr;
}

std::optional<Product> Weights::matmul(int32_t index) const {
  const auto& node = graph_.nodes[index];
  const auto* weight = turned(node.slot(1));
  if (weight == nullptr || node.slot(0) < 0 || node.outputs[0] < 0) return std::nullopt;
  if (graph_.slots[node.slot(0)].shape.size() < 2) return std::nullopt;
  return with_bias({index, index, node.slot(0), node.outputs[0], weight->name, "", false});
}

// "…i,oi->…o", or the weight in front.
std::optional<Product> Weights::einsum(int32_t index) const {
  const auto one = read_einsum(graph_, graph_.nodes[index]);
  if (!one) return std::nullopt;
  const bool weight_first = exactly(one->left) != nullptr;
  const auto* weight = exactly(weight_first ? one->left : one->right);
  const auto& matrix = weight_first ? one->left_axes : one->right_axes;
  auto axes = weight_first ? one->right_axes : one->left_axes;
  if (weight == nullptr || matrix.size() != 2 || axes.size() < 2 || axes.back() != matrix[1]) return std::nullopt;
  if (axes.find(matrix[0]) != std::string::npos) return std::nullopt;
  axes.back() = matrix[0];
  if (axes != one->out_axes) return std::nullopt;
  const int32_t out = graph_.nodes[index].outputs[0];
  return with_bias({index, index, weight_first ? one->right : one->left, out, weight->name, "", false});
}

// A subclass of nn.Linear may write its sum itself. `proj(x) + self.offset` is no bias of `proj`: the names tell.
Product Weights::with_bias(Product product) const {
  constexpr std::string_view kEnd = "weight";
  const auto& made = graph_.slots[product.output];
  if (made.is_output || made.users.size() != 1 || !product.weight.ends_with(kEnd)) return product;
  const int32_t end = made.users[0];
  const auto& node = graph_.nodes[end];
  if (!adds(node) || node.outputs[0] < 0) return product;
  const bool second = node.slot(0) == product.output;
  if (!second && node.operator_name() != "aten.add.Tensor") return product;
  const auto* bias = exactly(node.slot(second ? 1 : 0));
  const auto& sum = graph_.slots[node.outputs[0]];
  if (bias == nullptr || sum.shape != made.shape || sum.dtype != made.dtype) return product;
  const auto& shape = graph_.slots[bias->slot].shape;
  const auto stem = product.weight.substr(0, product.weight.size() - kEnd.size());
  if (bias->name != stem + "bias" || shape.size() != 1 || shape[0] != made.shape.back()) return product;
  for (int32_t between = product.node + 1; between < end; ++between)
    if (!graph_.nodes[between].outputs.empty()) return product;
  product.end = end, product.output = node.outputs[0], product.bias = bias->name;
  return product;
}

std::vector<int32_t> Weights::users(const Input& weight) const {
  std::vector<int32_t> result;
  for (int32_t user : graph_.slots[weight.slot].users) {
    const int32_t out = graph_.nodes[user].outputs.empty() ? -1 : graph_.nodes[user].outputs[0];
    if (turned(out) == nullptr) {
      result.push_back(user);
    } else {
      const auto& readers = graph_.slots[out].users;
      result.insert(result.end(), readers.begin(), readers.end());
    }
  }
  return result;
}

std::optional<Product> Weights::product(int32_t index) const {
  const auto& node = graph_.nodes[index];
  if (node.operator_name() == "aten.matmul.default") return matmul(index);
  if (node.operator_name() == "aten.einsum.default") return einsum(index);
  const bool linear = node.operator_name() == "aten.linear.default";
  if (!linear && node.operator_name() != "aten.addmm.default") return std::nullopt;
  if (node.outputs.size() != 1 || node.outputs[0] < 0) return std::nullopt;
  const int32_t input = node.slot(linear ? 0 : 1);
  const auto* weight = exactly(node.slot(linear ? 1 : 2));
  const auto& bias_argument = node.arguments[linear ? 2 : 0];
  const auto* bias = exactly(bias_argument.kind == Argument::Kind::slot ? bias_argument.slot : -1);
  const bool no_bias = bias_argument.kind == Argument::Kind::constant && bias_argument.value.isNone();
  if (input < 0 || weight == nullptr || (bias == nullptr && !no_bias)) return std::nullopt;
  if (graph_.slots[weight->slot].shape.size() != 2) return std::nullopt;
  if (!linear) {
    // beta and alpha
    for (size_t i : {3, 4}) {
      const auto& factor = node.arguments[i];
      if (factor.kind != Argument::Kind::constant || !factor.value.isScalar() ||
          factor.value.toScalar().toDouble() != 1)
        return std::nullopt;
    }
  }
  Product product{index, index, input, node.outputs[0], weight->name, bias == nullptr ? "" : bias->name, !linear};
  return linear && no_bias ? with_bias(std::move(product)) : product;
}

int32_t Weights::root(int32_t slot) const {
  while (slot >= 0) {
    const auto& info = graph_.slots[slot];
    if (info.producer < 0) break;
    const auto& node = graph_.nodes[info.producer];
    if (!node.is_one_of({"aten.to.dtype", "aten.to.dtype_layout", "aten.to.device", "aten.contiguous.default",
                         "aten.alias.default"}))
      break;
    const int32_t before = node.slot(0);
    if (before < 0 || graph_.slots[before].dtype != info.dtype || graph_.slots[before].shape != info.shape) break;
    slot = before;
  }
  return slot;
}

bool multiplies_values(const Weights& weights, const Node& node) {
  if (!node.is_one_of({"aten.matmul.default", "aten.bmm.default", "aten.baddbmm.default", "aten.einsum.default"}))
    return false;
  return !weights.multiplies(node);
}

}  // namespace ta::exported
