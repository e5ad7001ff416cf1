#include "core/exported/sub_layer.h"

#include <algorithm>

namespace ta::exported {

namespace {

bool ends_in_number(const std::string& path) {
  const auto name = path.substr(path.rfind('.') + 1);
  return !name.empty() && std::all_of(name.begin(), name.end(), [](char c) { return c >= '0' && c <= '9'; });
}

bool gives_form(const Node& node) {
  return node.is_one_of({"aten.view.default", "aten.reshape.default"});
}

// The node that reads `out`, a sum of rows and tokens as one size, as the stream that it is added to was before (OPT's
// feed-forward block): -1 where there is none.
int32_t parted_by(const Graph& graph, const Sum& sum) {
  const int32_t index = only_reader(graph, sum.out);
  if (index < 0 || graph.slots[sum.out].shape.size() != 2) return -1;
  const auto& node = graph.nodes[index];
  const int32_t producer = graph.slots[sum.r].producer;
  if (!gives_form(node) || node.slot(0) != sum.out || producer < 0 || !gives_form(graph.nodes[producer])) return -1;
  const int32_t before = graph.nodes[producer].slot(0);
  const auto& shape = graph.slots[node.outputs[0]].shape;
  const bool same = before >= 0 && shape.size() == 3 && graph.slots[before].shape == shape;
  return same && nothing_between(graph, sum.nodes.last, index) ? index : -1;
}

// The LayerNorm of the same layer that alone reads the sum, with nothing of use between the two. One behind the last
// layer is a pre-LN model's own.
int32_t norm_of(const Graph& graph, const Weights& weights, const Sum& sum, int32_t within) {
  const int32_t parted = parted_by(graph, sum);
  const int32_t read = parted < 0 ? sum.out : graph.nodes[parted].outputs[0];
  const auto& info = graph.slots[read];
  if (info.users.size() != 1 || info.is_output) return -1;
  const int32_t index = info.users.front();
  const auto& node = graph.nodes[index];
  if (node.operator_name() != "aten.layer_norm.default" || node.slot(0) != read || node.outputs[0] < 0) return -1;
  if (weights.exactly(node.slot(2)) == nullptr || weights.exactly(node.slot(3)) == nullptr) return -1;
  if (graph.slots[node.slot(2)].shape.size() != 1) return -1;
  if (node.module < 0 || within < 0 || !graph.inside(node.module, within)) return -1;
  return nothing_between(graph, parted < 0 ? sum.nodes.last : parted, index) ? index : -1;
}

class Products {
 public:
  Products(const Graph& graph, const Weights& weights, const Ways& ways, SubLayer& into)
      : graph_(graph), weights_(weights), ways_(ways), into_(into) {}

  void add_all() {
    for (const auto& head : into_.heads) add_queries(head);
    const auto ends = near(into_.h);
    if (ends.size() > 2) return;  // a mixture of experts: which of them a token passes through is its own
    for (int32_t end : ends) {
      if (into_.core && ways_.made_of(graph_.nodes[end].outputs[0], into_.core->node)) {
        add(end, Location::attention_output);
        continue;
      }
      const auto product = weights_.product(end);
      if (!product || is_taken(end)) continue;
      const auto first = near(product->input);
      if (first.empty() || first.size() > 2) continue;
      for (int32_t node : first) add(node, Location::intermediate);
      add(end, Location::feed_forward_output);
    }
  }

 private:
  std::vector<int32_t> near(int32_t slot) const {
    return ways_.nearest(slot, [&](int32_t node) { return weights_.multiplies(graph_.nodes[node]); });
  }
  bool is_taken(int32_t node) const { return std::find(taken_.begin(), taken_.end(), node) != taken_.end(); }

  void add(int32_t node, Location location) {
    if (is_taken(node)) return;
    if (auto product = weights_.product(node)) {
      taken_.push_back(node);
      into_.products.push_back({location, std::move(*product)});
    }
  }

  void add_queries(const AttentionCore& core) {
    const auto q = near(core.query), k = near(core.key), v = near(core.value);
    if (q.size() != 1 || k.size() != 1 || v.size() != 1) return;
    if (q == k && q == v) {
      if (are_thirds_of(graph_, core, q[0])) {
        add(q[0], Location::query_key_value);
      } else if (const auto product = weights_.product(q[0])) {
        into_.merged = product->weight;
      }
      taken_.push_back(q[0]);
    } else if (q != k && q != v && k != v) {
      add(q[0], Location::query);
      add(k[0], Location::key);
      add(v[0], Location::value);
    }
  }

  const Graph& graph_;
  const Weights& weights_;
  const Ways& ways_;
  SubLayer& into_;
  std::vector<int32_t> taken_;
};

}  // namespace

const char* name_of(Location location) {
  switch (location) {
    case Location::attention:
      return "attention";
    case Location::query:
      return "query";
    case Location::key:
      return "key";
    case Location::value:
      return "value";
    case Location::query_key_value:
      return "query_key_value";
    case Location::attention_output:
      return "attention_output";
    case Location::intermediate:
      return "intermediate";
    default:
      return "output";
  }
}

int32_t numbered_module(const Graph& graph, int32_t module, int32_t within) {
  if (module < 0) return -1;
  const auto outer = graph.enclosing(module);
  const auto found = std::find_if(outer.rbegin(), outer.rend(), [&](int32_t one) {
    return ends_in_number(graph.modules[one].path) && (within < 0 || (one != within && graph.inside(one, within)));
  });
  return found == outer.rend() ? -1 : *found;
}

void add_products(const Graph& graph, const Weights& weights, const Ways& ways, SubLayer& into) {
  into.heads = find_heads(graph, weights, ways);
  into.core = into.heads.empty() ? std::nullopt : std::optional(into.heads.back());
  Products(graph, weights, ways, into).add_all();
  if (!into.core) return;
  const auto made_by =
      ways.nearest(into.core->key, [&](int32_t node) { return weights.multiplies(graph.nodes[node]); });
  if (const auto product = made_by.empty() ? std::nullopt : weights.product(made_by[0]))
    into.core_input = product->input;
}

SubLayer make_sub_layer(const Graph& graph, const Weights& weights, const Sum& sum, const Ways& ways, int32_t within) {
  SubLayer result;
  result.nodes = sum.nodes;
  // A sum that the network writes outside its layers (`x = x + layer.mlp(x)`) is its layer's all the same.
  const int32_t module = graph.nodes[sum.nodes.last].module;
  result.module = within >= 0 && (module < 0 || !graph.inside(module, within)) ? within : module;
  result.h = sum.h, result.r = sum.r, result.out = sum.out, result.more = sum.more;
  if (const int32_t norm = norm_of(graph, weights, sum, within); norm >= 0) {
    result.norm = norm;
    result.nodes.last = norm;
    result.out = graph.nodes[norm].outputs[0];
  }
  add_products(graph, weights, ways, result);
  return result;
}

}  // namespace ta::exported
