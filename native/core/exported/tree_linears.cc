// The tree's part that finds Linears: modules that are one, weights of larger modules, and subclasses of nn.Linear.

#include <ATen/ops/zeros.h>

#include <algorithm>

#include "core/error.h"
#include "core/exported/tree.h"
#include "core/exported/tree_names.h"
#include "core/nn/conv1d.h"
#include "core/state/dtype.h"

namespace ta::exported {

// nn.MultiheadAttention reads the weight of its out_proj itself, once at every call.
bool Tree::is_read_by_parent(const ModuleInfo& module, const std::vector<int32_t>& users) const {
  if (module.parent < 0) return false;
  const auto& calls = graph_.modules[module.parent].calls;
  return users.size() == calls.size() && std::all_of(calls.begin(), calls.end(), [&](const ModuleCall& call) {
           return std::count_if(users.begin(), users.end(), [&](int32_t user) {
                    return graph_.nodes[user].module == module.parent && call.nodes.contains(user);
                  }) == 1;
         });
}

// A weight that others read besides its module is none that an adapter at the module could stand for.
bool Tree::is_clear(const ModuleInfo& module, const Input& weight) {
  const auto users = weights_.users(weight);
  const auto index = graph_.find_module(module.path);
  const bool inside = std::all_of(users.begin(), users.end(), [&](int32_t user) {
    return graph_.nodes[user].module >= 0 && graph_.inside(graph_.nodes[user].module, index);
  });
  if (users.size() < 2 || inside || is_read_by_parent(module, users)) return true;
  if (graph_.slots[weight.slot].shape.size() != 2 || !weights_.product(users[0])) return true;
  std::string uses;
  for (int32_t user : users) uses += (uses.empty() ? "" : " and ") + graph_.describe(user);
  unclear_linears_[module.path] = "its weight is read by " + uses;
  return false;
}

// Where the weight is read by products alone, all with this bias.
std::optional<std::vector<Product>> Tree::products_of(const Input& weight, const std::string& bias) const {
  std::vector<Product> result;
  for (int32_t user : weights_.users(weight)) {
    auto product = weights_.product(user);
    if (!product || product->weight != weight.name || product->bias != bias) return std::nullopt;
    result.push_back(std::move(*product));
  }
  return result.empty() ? std::nullopt : std::optional(std::move(result));
}

std::shared_ptr<Layer> Tree::linear(const ModuleInfo& module) {
  const auto *weight = value_of(module, "weight"), *bias = value_of(module, "bias");
  auto products = products_of(*weight, bias == nullptr ? "" : bias->name);
  const bool has_own_forward = own_forwards_.contains(module.path);
  if (has_own_forward && !(products && is_product_alone(module, *products))) return nullptr;  // whole_linear()
  if (!is_clear(module, *weight)) return nullptr;
  if (!products && bias != nullptr && products_of(*weight, ""))
    unclear_linears_[module.path] =
        "its bias is not added right behind the product with its weight. Export it again if its class is a subclass of "
        "nn.Linear: archives of today's script take that whole";
  if (!products) return nullptr;
  if (const auto type = graph_.slots[weight->slot].dtype; type != at::kFloat) {
    unclear_linears_[module.path] =
        text("it computes in ", type ? dtype_name(*type) : "another type", ", and adapters in float32");
    return nullptr;
  }
  LinearPlace result{module.path, nullptr, nullptr, std::move(*products)};
  const bool transposed = result.products[0].transposed;
  const auto shape = numbers(graph_.slots[weight->slot].shape);
  if (transposed && bias == nullptr) return nullptr;
  std::shared_ptr<Layer> layer;
  if (transposed) {
    auto conv = lora_ready(std::make_shared<Conv1D>(shape[0], shape[1]));
    result.layer = conv, layer = conv;
  } else {
    auto linear = lora_ready_linear(shape[1], shape[0], bias != nullptr);
    result.layer = linear, layer = linear;
  }
  result.place = lora_place(Slot{layer});
  linears_.push_back(std::move(result));
  return layer;
}

// A Linear whose weight is a parameter of a larger module: that keeps the names, and only what stands at it is new.
bool Tree::bare_linear(const Input& weight) {
  constexpr std::string_view kEnd = "_weight";
  const auto users = weights_.users(weight);
  if (weight.kind != Input::Kind::parameter || graph_.slots[weight.slot].shape.size() != 2 || users.empty())
    return false;
  const auto first = weights_.product(users[0]);
  auto products = first ? products_of(weight, first->bias) : std::nullopt;
  if (!products || first->transposed || tied_.contains(weight.name)) return false;
  if (graph_.slots[weight.slot].dtype != at::kFloat) return false;
  const auto owner = parent_path(weight.name);
  const auto* bias = first->bias.empty() ? nullptr : inputs_.at(first->bias);
  if (!weight.name.ends_with(kEnd) || (bias != nullptr && parent_path(bias->name) != owner)) return false;
  const auto path = weight.name.substr(0, weight.name.size() - kEnd.size());
  if (by_path_.contains(path)) return false;
  const auto shape = numbers(graph_.slots[weight.slot].shape);
  auto layer = lora_ready_linear(shape[1], shape[0], bias != nullptr);
  auto& module = dynamic_cast<GraphModule&>(*by_path_.at(owner));
  module.add({.name = last_name(weight.name), .shape = shape, .init = Init::zeros, .decay = true}, layer->weight);
  if (bias != nullptr)
    module.add({.name = last_name(bias->name), .shape = {shape[0]}, .init = Init::zeros}, layer->bias);
  auto holder = std::make_shared<GraphModule>("Linear", nullptr, LayerSize{shape[1], shape[0]});
  for (const auto& child : layer->children()) holder->add(child.name, child.module);
  module.add(last_name(path), holder);
  by_path_[path] = holder;
  linears_.push_back({path, layer, lora_place(Slot{layer}), std::move(*products)});
  return true;
}

LayerSize Tree::size_of(const Input& weight) const {
  const auto& shape = graph_.slots[weight.slot].shape;
  return {shape[1].number, shape[0].number};
}

// What one call of a Linear takes, of its features, and what it gives.
std::optional<Product> Tree::whole_call(const ModuleInfo& module, const ModuleCall& call, LayerSize size) const {
  if (call.nodes.empty() || !call.contiguous) return std::nullopt;
  auto inputs = call.has_signature ? call.inputs : graph_.entering(call.nodes);
  const auto outputs = call.has_signature ? call.outputs : graph_.leaving(call.nodes);
  // PEFT's layers read the first argument.
  if (call.has_signature && inputs.size() > 1) inputs.resize(1);
  if (inputs.size() != 1 || outputs.size() != 1 || inputs[0] < 0 || outputs[0] < 0) return std::nullopt;
  const auto sizes = [&](int32_t slot, int64_t last) {
    const auto& shape = graph_.slots[slot].shape;
    const bool fits = shape.size() > 1 && shape.back().number == last && graph_.slots[slot].is_real();
    return fits ? std::optional(std::vector<Size>(shape.begin(), shape.end() - 1)) : std::nullopt;
  };
  const auto in = sizes(inputs[0], size.in);
  if (!in || in != sizes(outputs[0], size.out)) return std::nullopt;
  const auto* bias = value_of(module, "bias");
  return Product{call.nodes.first,        call.nodes.last,        inputs[0], outputs[0],
                 module.path + ".weight", bias ? bias->name : "", false};
}

// Whether each call of a Linear whose class has a forward of its own is no more than the product.
bool Tree::is_product_alone(const ModuleInfo& module, const std::vector<Product>& products) const {
  return std::all_of(module.calls.begin(), module.calls.end(), [&](const ModuleCall& call) {
    if (call.nodes.empty()) return true;  // others read the weight
    const auto whole = whole_call(module, call, size_of(*value_of(module, "weight")));
    return whole && std::any_of(products.begin(), products.end(), [&](const Product& product) {
             return weights_.root(whole->input) == weights_.root(product.input) &&
                    weights_.root(whole->output) == product.output;
           });
  });
}

// false
bool Tree::no_single_value(const ModuleInfo& module, LayerSize size) {
  unclear_linears_[module.path] = text("its class ", module.type, " gives no single float32 value of ", size.out,
                                       " features for one of ", size.in, ", which is what adapters act on");
  return false;
}

// All calls of a Linear whose class does more than the product, into `result`.
bool Tree::whole_calls(const ModuleInfo& module, LayerSize size, LinearPlace& result) {
  const auto is_called = [](const ModuleCall& call) { return !call.nodes.empty(); };
  if (std::none_of(module.calls.begin(), module.calls.end(), is_called)) return false;
  for (const auto& call : module.calls) {
    auto one = whole_call(module, call, size);
    if (!one) return no_single_value(module, size);
    result.products.push_back(std::move(*one));
  }
  return true;
}

// A Linear whose class does more than the product: the graph keeps what it does, and what stands at it is new.
bool Tree::whole_linear(const Input& weight) {
  const auto path = parent_path(weight.name);
  if (last_name(weight.name) != "weight" || !own_forwards_.contains(path)) return false;
  const int32_t index = graph_.find_module(path);
  auto* module = dynamic_cast<GraphModule*>(by_path_.at(path).get());
  const auto& shape = graph_.slots[weight.slot].shape;
  if (index < 0 || module == nullptr || shape.size() != 2) return false;
  const auto& info = graph_.modules[index];
  const auto size = size_of(weight);
  if (graph_.slots[weight.slot].dtype != at::kFloat) return no_single_value(info, size);
  LinearPlace result{path, nullptr, nullptr, {}, true};
  if (!whole_calls(info, size, result)) return false;
  const auto* bias = value_of(info, "bias");
  result.layer = lora_ready_linear(size.in, size.out, bias != nullptr);
  module->add({.name = "weight", .shape = {size.out, size.in}, .init = Init::zeros, .decay = true},
              result.layer->weight);
  if (bias != nullptr) module->add({.name = "bias", .shape = {size.out}, .init = Init::zeros}, result.layer->bias);
  stand_at(*module, std::move(result));
  return true;
}

// A Linear whose weight the network computes, as under torch.nn.utils.parametrize: what it is made of keeps its names.
void Tree::weightless_linear(const std::string& path) {
  const int32_t index = graph_.find_module(path);
  auto* module = dynamic_cast<GraphModule*>(find(path));
  if (index < 0 || module == nullptr) return;
  const auto& info = graph_.modules[index];
  const auto last = [&](const std::vector<int32_t>& slots) {
    const bool one = !slots.empty() && slots[0] >= 0 && !graph_.slots[slots[0]].shape.empty();
    return one ? graph_.slots[slots[0]].shape.back().number : -1;
  };
  const auto& call = info.calls.front();
  const LayerSize size{last(call.inputs), last(call.outputs)};
  LinearPlace result{path, nullptr, nullptr, {}, true};
  if (size.in < 1 || size.out < 1 || !whole_calls(info, size, result)) return;
  result.layer = lora_ready_linear(size.in, size.out, false);
  result.layer->weight = at::zeros({1}, at::kFloat).expand({size.out, size.in});
  stand_at(*module, std::move(result));
  linears_.back().place->has_no_weight();
}

void Tree::stand_at(GraphModule& module, LinearPlace linear) {
  for (const auto& child : linear.layer->children()) module.add(child.name, child.module);
  linear.place = lora_place(Slot{linear.layer});
  linear.place->act_on_whole(linear.path);
  linears_.push_back(std::move(linear));
}

}  // namespace ta::exported
