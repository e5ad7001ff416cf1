#include "core/exported/residuals.h"

#include <algorithm>
#include <map>

#include "core/error.h"
#include "core/exported/attention_block.h"

namespace ta::exported {

namespace {

// A graph of this many steps is no transformer's; files are hostile.
constexpr int64_t kMostWork = 200'000'000;

struct Sum {
  int32_t node, h, r, out;
  Ways ways;
};

bool is_one(const Argument& argument) {
  return argument.kind == Argument::Kind::constant && argument.value.isScalar() &&
         argument.value.toScalar().toDouble() == 1;
}

bool ends_in_number(const std::string& path) {
  const auto name = path.substr(path.rfind('.') + 1);
  return !name.empty() && std::all_of(name.begin(), name.end(), [](char c) { return c >= '0' && c <= '9'; });
}

class Finder {
 public:
  Finder(const Graph& graph, const std::vector<Size>& source) : graph_(graph), source_(source), weights_(graph) {}

  Residuals find() {
    auto sums = find_sums();
    if (sums.empty()) return std::move(result_);
    keep_stream(sums);
    std::map<int32_t, std::vector<const Sum*>> by_layer;
    std::vector<int32_t> order;
    for (const auto& sum : sums) {
      const int32_t layer = layer_of(sum);
      if (layer < 0) {
        leave_out(sum, "it stands in no numbered module");
        continue;
      }
      if (by_layer[layer].empty()) order.push_back(layer);
      by_layer[layer].push_back(&sum);
    }
    for (int32_t layer : order) add_layer(layer, by_layer[layer]);
    std::sort(result_.sub_layers.begin(), result_.sub_layers.end(),
              [](const SubLayer& a, const SubLayer& b) { return a.nodes.first < b.nodes.first; });
    if (result_.sub_layers.empty()) return std::move(result_);
    result_.begin = weights_.root(result_.sub_layers.front().r);
    result_.hidden = result_.shape.back().number;
    return std::move(result_);
  }

 private:
  bool is_product(int32_t node) const { return weights_.multiplies(graph_.nodes[node]); }

  // The ways from r to h, where there is a product with a weight on them.
  Ways made_by_weights(int32_t r, int32_t h) {
    Ways ways(graph_, weights_.root(r), h, work_);
    const bool any = std::any_of(ways.nodes().begin(), ways.nodes().end(), [&](int32_t n) { return is_product(n); });
    return any ? ways : Ways(graph_, h, h, work_);
  }

  std::vector<Sum> find_sums() {
    std::vector<Sum> sums;
    for (int32_t i = 0; i < static_cast<int32_t>(graph_.nodes.size()) && work_ < kMostWork; ++i) {
      const auto& node = graph_.nodes[i];
      const bool in_place = node.operator_name() == "aten.add_.Tensor";
      if (!in_place && node.operator_name() != "aten.add.Tensor") continue;
      const int32_t a = node.slot(0), b = node.slot(1);
      if (a < 0 || b < 0 || a == b || node.outputs[0] < 0 || !is_one(node.arguments[2])) continue;
      const auto& shape = graph_.slots[node.outputs[0]].shape;
      if (shape.size() != 3 || shape[2].number < 1) continue;
      if (graph_.slots[a].shape != shape || graph_.slots[b].shape != shape) continue;
      // What an in-place sum wrote over must not be read again.
      if (in_place && graph_.slots[a].users.back() > i) continue;
      auto b_of_a = made_by_weights(a, b), a_of_b = made_by_weights(b, a);
      if (b_of_a.empty() == a_of_b.empty()) continue;
      if (a_of_b.empty()) {
        sums.push_back({i, b, a, node.outputs[0], std::move(b_of_a)});
      } else {
        sums.push_back({i, a, b, node.outputs[0], std::move(a_of_b)});
      }
    }
    if (work_ >= kMostWork) result_.left_out.push_back("everything: the graph has too many nodes to be searched");
    return sums;
  }

  // The shape that most of them have is the stream's.
  void keep_stream(std::vector<Sum>& sums) {
    const auto shape_of = [&](const Sum& sum) -> const std::vector<Size>& { return graph_.slots[sum.out].shape; };
    int64_t most = 0;
    for (const auto& sum : sums) {
      if (is_source(shape_of(sum))) continue;
      const auto count =
          std::count_if(sums.begin(), sums.end(), [&](const Sum& other) { return shape_of(other) == shape_of(sum); });
      if (count > most) most = count, result_.shape = shape_of(sum);
    }
    std::vector<Sum> kept;
    for (auto& sum : sums) {
      const auto& shape = shape_of(sum);
      if (shape == result_.shape || (is_source(shape) && !result_.shape.empty() && shape[2] == result_.shape[2])) {
        kept.push_back(std::move(sum));
      } else {
        leave_out(sum, "it is of another shape than the model's stream of hidden states");
      }
    }
    sums = std::move(kept);
  }

  bool is_source(const std::vector<Size>& shape) const {
    return !source_.empty() && std::equal(source_.begin(), source_.end(), shape.begin());
  }

  int32_t numbered(int32_t module) const {
    if (module < 0) return -1;
    const auto outer = graph_.enclosing(module);
    for (auto one = outer.rbegin(); one != outer.rend(); ++one)
      if (ends_in_number(graph_.modules[*one].path)) return *one;
    return -1;
  }

  int32_t layer_of(const Sum& sum) const {
    if (const int32_t own = numbered(graph_.nodes[sum.node].module); own >= 0) return own;
    for (int32_t node : sum.ways.nodes())
      if (is_product(node)) return numbered(graph_.nodes[node].module);
    return -1;
  }

  void leave_out(const Sum& sum, const std::string& why) {
    result_.left_out.push_back(text("the sum at ", graph_.describe(sum.node), ": ", why));
  }

  void add_layer(int32_t module, const std::vector<const Sum*>& sums) {
    const auto layer = static_cast<int64_t>(result_.layers.size());
    struct Found {
      const Sum* sum;
      std::optional<AttentionCore> core;
    };
    std::vector<Found> found;
    for (const auto* sum : sums) {
      auto core = find_attention(graph_, weights_, sum->ways);
      if (core && attends_elsewhere(weights_, graph_, sum->ways, *core)) {
        leave_out(*sum, "its attention reads keys and values from elsewhere (cross-attention)");
      } else {
        found.push_back({sum, core});
      }
    }
    if (found.empty()) return;
    result_.layers.push_back(module);
    const bool alone = std::all_of(found.begin(), found.end(), [&](const Found& one) {
      return one.core.has_value() == found.front().core.has_value();
    });
    SubLayer last[2];
    for (const auto& [sum, core] : found) {
      const auto location = core && !alone ? Location::attention : Location::output;
      auto sub = sub_layer(*sum, core, layer, location);
      auto& before = last[location == Location::attention];
      // A module that is called again runs the same weights; another sub-layer of the kind has no place of its own.
      if (before.out >= 0 && !same_weights(before, sub)) {
        leave_out(*sum, text(graph_.modules[module].path, " has another such sub-layer before it"));
        continue;
      }
      before = sub;
      result_.sub_layers.push_back(std::move(sub));
    }
  }

  static bool same_weights(const SubLayer& a, const SubLayer& b) {
    const auto same = [](const PlacedProduct& x, const PlacedProduct& y) {
      return x.product.weight == y.product.weight;
    };
    return !a.products.empty() &&
           std::equal(a.products.begin(), a.products.end(), b.products.begin(), b.products.end(), same);
  }

  SubLayer sub_layer(const Sum& sum, const std::optional<AttentionCore>& core, int64_t layer, Location location) const {
    SubLayer result;
    result.layer = layer;
    result.location = location;
    result.nodes = {sum.node, sum.node};
    result.module = graph_.nodes[sum.node].module;
    result.h = sum.h, result.r = sum.r, result.out = sum.out;
    if (const int32_t norm = norm_of(sum); norm >= 0) {
      result.norm = norm;
      result.nodes.last = norm;
      result.out = graph_.nodes[norm].outputs[0];
    }
    add_products(sum, core, result);
    result.core = core;
    if (core) {
      const auto made_by = sum.ways.nearest(core->key, [&](int32_t node) { return is_product(node); });
      if (const auto product = made_by.empty() ? std::nullopt : weights_.product(made_by[0])) {
        result.core_input = product->input;
      }
    }
    return result;
  }

  // The LayerNorm of the same layer that alone reads the sum, with nothing of use between the two. One behind the last
  // layer is a pre-LN model's own.
  int32_t norm_of(const Sum& sum) const {
    const auto& info = graph_.slots[sum.out];
    if (info.users.size() != 1 || info.is_output) return -1;
    const int32_t index = info.users.front();
    const auto& node = graph_.nodes[index];
    if (node.operator_name() != "aten.layer_norm.default" || node.slot(0) != sum.out || node.outputs[0] < 0) return -1;
    if (weights_.exactly(node.slot(2)) == nullptr || weights_.exactly(node.slot(3)) == nullptr) return -1;
    if (graph_.slots[node.slot(2)].shape.size() != 1) return -1;
    if (node.module < 0 || !graph_.inside(node.module, result_.layers.back())) return -1;
    for (int32_t between = sum.node + 1; between < index; ++between)
      for (int32_t slot : graph_.nodes[between].outputs)
        if (slot >= 0 && graph_.slots[slot].is_tensor) return -1;
    return index;
  }

  void add_products(const Sum& sum, const std::optional<AttentionCore>& core, SubLayer& into) const {
    const auto near = [&](int32_t slot) {
      return sum.ways.nearest(slot, [&](int32_t node) { return is_product(node); });
    };
    std::vector<int32_t> taken;
    const auto add = [&](int32_t node, Location location) {
      if (std::find(taken.begin(), taken.end(), node) != taken.end()) return;
      if (auto product = weights_.product(node)) {
        taken.push_back(node);
        into.products.push_back({location, std::move(*product)});
      }
    };
    if (core) {
      const auto q = near(core->query), k = near(core->key), v = near(core->value);
      const bool single = q.size() == 1 && k.size() == 1 && v.size() == 1;
      if (single && q == k && q == v) {
        if (are_thirds_of(graph_, *core, q[0])) add(q[0], Location::query_key_value);
        taken.push_back(q[0]);
      } else if (single && q != k && q != v && k != v) {
        add(q[0], Location::query);
        add(k[0], Location::key);
        add(v[0], Location::value);
      }
    }
    const auto ends = near(sum.h);
    if (ends.size() > 2) return;  // a mixture of experts: which of them a token passes through is its own
    for (int32_t end : ends) {
      if (core && sum.ways.made_of(graph_.nodes[end].outputs[0], core->node)) {
        add(end, Location::attention_output);
        continue;
      }
      const auto product = weights_.product(end);
      if (!product || std::find(taken.begin(), taken.end(), end) != taken.end()) continue;
      const auto first = near(product->input);
      if (first.empty() || first.size() > 2) continue;
      for (int32_t node : first) add(node, Location::intermediate);
      add(end, Location::feed_forward_output);
    }
  }

  const Graph& graph_;
  const std::vector<Size>& source_;
  Weights weights_;
  Residuals result_;
  int64_t work_ = 0;
};

const char* name_of(Location location) {
  switch (location) {
    case Location::attention:
      return "attention";
    case Location::output:
      return "output";
    case Location::query:
      return "query";
    case Location::key:
      return "key";
    case Location::value:
      return "value";
    case Location::query_key_value:
      return "query, key and value";
    case Location::attention_output:
      return "attention output";
    case Location::intermediate:
      return "intermediate";
    default:
      return "feed-forward output";
  }
}

}  // namespace

Residuals find_residuals(const Graph& graph, const std::vector<Size>& source) {
  return Finder(graph, source).find();
}

std::vector<std::string> explain(const Graph& graph, const Residuals& residuals) {
  std::vector<std::string> lines;
  if (residuals.sub_layers.empty()) {
    lines.push_back(
        "no residual sub-layer was found: addAdapter has no place of its own here; name modules by patterns");
  }
  for (const auto& sub : residuals.sub_layers) {
    std::string products;
    for (const auto& [location, product] : sub.products) {
      products += text(products.empty() ? "; " : ", ", name_of(location), " ",
                       product.weight.substr(0, product.weight.rfind('.')));
    }
    lines.push_back(text("layer ", sub.layer, " (", graph.modules[residuals.layers[sub.layer]].path, "), ",
                         name_of(sub.location), ": the sum at ", graph.describe(sub.nodes.first),
                         sub.norm >= 0 ? ", with its LayerNorm" : "", products));
  }
  for (const auto& line : residuals.left_out) lines.push_back("left out: " + line);
  return lines;
}

}  // namespace ta::exported
