#include "core/exported/residuals.h"

#include <algorithm>
#include <map>
#include <set>

#include "core/error.h"
#include "core/exported/attention_block.h"
#include "core/exported/module_shapes.h"

namespace ta::exported {

namespace {

// A graph of this many steps is no transformer's; files are hostile.
constexpr int64_t kMostWork = 200'000'000;

struct Found {
  Sum sum;
  Ways ways;
  int32_t stream = -1;  // what h is made of; r, or what r is made of by sums of one stream
  std::optional<AttentionCore> core = std::nullopt;
  int32_t module = -1;  // of a layer in several lists: the one of them that is its own
};

class ResidualFinder {
 public:
  ResidualFinder(const Graph& graph, int32_t output, const std::vector<Size>& source)
      : graph_(graph), output_(output), source_(source), weights_(graph) {}

  Residuals find() {
    auto sums = find_sums();
    if (sums.empty()) return std::move(result_);
    keep_stream(sums);
    std::map<int32_t, std::vector<Found>> by_layer;
    std::vector<int32_t> order, layers;
    for (const auto& one : sums) layers.push_back(layer_of(one));
    join_lists(layers, sums);
    // Blocks that stand in no list, where nothing has a number.
    if (std::all_of(layers.begin(), layers.end(), [](int32_t layer) { return layer < 0; }))
      for (size_t i = 0; i < sums.size(); ++i) layers[i] = graph_.nodes[sums[i].sum.nodes.first].module;
    for (size_t i = 0; i < sums.size(); ++i) {
      const int32_t layer = layers[i];
      if (graph_.nodes[sums[i].sum.nodes.first].no_grad) {
        leave_out(sums[i], "it is computed under torch.no_grad, where nothing learns");
        continue;
      }
      if (layer < 1) {
        leave_out(sums[i],
                  layer == 0
                      ? "it is written in the exported module itself, which is no layer: make a module of the block"
                      : "it stands in no numbered module");
        continue;
      }
      if (by_layer[layer].empty()) order.push_back(layer);
      by_layer[layer].push_back(std::move(sums[i]));
    }
    for (int32_t layer : order) add_layer(layer, std::move(by_layer[layer]));
    std::stable_sort(result_.sub_layers.begin(), result_.sub_layers.end(),
                     [](const SubLayer& a, const SubLayer& b) { return a.nodes.first < b.nodes.first; });
    if (!result_.sub_layers.empty()) result_.begin = weights_.root(result_.sub_layers.front().r);
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

  std::vector<Found> find_sums() {
    std::vector<Found> sums;
    // What runs behind the output is none of its layers'.
    for (int32_t i = 0; i <= graph_.slots[output_].producer && work_ < kMostWork; ++i) {
      const auto one = addition(graph_, i);
      if (!one) continue;
      const auto& shape = stream_shape(one->out);
      if (shape.size() != 3 || shape[2].number < 1) continue;
      const int32_t a = one->left, b = one->right;
      auto b_of_a = made_by_weights(a, b), a_of_b = made_by_weights(b, a);
      if (b_of_a.empty() && a_of_b.empty()) {
        if (auto further = further_branch(*one, sums)) sums.push_back(std::move(*further));
      }
      if (b_of_a.empty() == a_of_b.empty()) continue;
      const bool stream_first = a_of_b.empty();
      const int32_t h = stream_first ? b : a, r = stream_first ? a : b;
      sums.push_back({{.nodes = {i, i}, .h = h, .r = r, .more = {}, .out = one->out},
                      std::move(stream_first ? b_of_a : a_of_b),
                      r});
    }
    if (work_ >= kMostWork) result_.left_out.push_back("everything: the graph has too many nodes to be searched");
    return sums;
  }

  // A branch that is added behind another one of the same stream: (x + h₁) + h₂, where h₂ is made of x, and not of h₁.
  std::optional<Found> further_branch(const Addition& one, const std::vector<Found>& sums) {
    for (const auto& [r, h] : {std::pair(one.left, one.right), std::pair(one.right, one.left)}) {
      const int32_t before = same_value(graph_, weights_, r);
      const auto first =
          std::find_if(sums.begin(), sums.end(), [&](const Found& sum) { return sum.sum.out == before; });
      if (first == sums.end() || !Ways(graph_, first->sum.h, h, work_).empty()) continue;
      auto ways = made_by_weights(first->stream, h);
      if (ways.empty()) continue;
      const Sum sum{.nodes = {one.node, one.node}, .h = h, .r = r, .more = {}, .out = one.out};
      return Found{sum, std::move(ways), first->stream};
    }
    return std::nullopt;
  }

  // The output's shape is the stream's; where no layer's sum has it, the shape that most of them have.
  void keep_stream(std::vector<Found>& sums) {
    const auto shape_of = [&](const Found& one) -> const std::vector<Size>& { return stream_shape(one.sum.out); };
    const bool any = std::any_of(sums.begin(), sums.end(), [&](const Found& one) { return layer_of(one) >= 0; });
    int64_t most = 0;
    int32_t like = output_;
    for (const auto& one : sums) {
      if (is_source(shape_of(one))) continue;
      const auto count =
          std::count_if(sums.begin(), sums.end(), [&](const Found& other) { return shape_of(other) == shape_of(one); });
      if (shape_of(one) == graph_.slots[output_].shape && !(any && layer_of(one) < 0))
        result_.shape = shape_of(one), like = output_, most = static_cast<int64_t>(sums.size());
      if (count > most) most = count, result_.shape = shape_of(one), like = one.sum.out;
    }
    std::vector<Found> kept;
    for (auto& one : sums) {
      const auto& shape = shape_of(one);
      if (shape == result_.shape || (is_source(shape) && !result_.shape.empty() && shape[2] == result_.shape[2])) {
        kept.push_back(std::move(one));
      } else {
        leave_out(one,
                  text("it is ", shape_text(graph_, one.sum.out), ", and the layers' stream, whose tokens and width ",
                       "adapters have, ", shape_text(graph_, like)));
      }
    }
    sums = std::move(kept);
  }

  // [rows, tokens, features], also of a sum to which rows and tokens come as one size (OPT's feed-forward block).
  const std::vector<Size>& stream_shape(int32_t out) const {
    const auto& own = graph_.slots[out].shape;
    const auto one = own.size() == 2 ? addition(graph_, graph_.slots[out].producer) : std::nullopt;
    if (!one) return own;
    for (int32_t slot : {one->left, one->right}) {
      const int32_t producer = graph_.slots[slot].producer;
      if (producer < 0 || !graph_.nodes[producer].is_one_of({"aten.view.default", "aten.reshape.default"})) continue;
      const int32_t before = graph_.nodes[producer].slot(0);
      if (before < 0) continue;
      const auto& parted = graph_.slots[before].shape;
      if (parted.size() == 3 && parted.back() == own.back()) return parted;
    }
    return own;
  }

  bool is_source(const std::vector<Size>& shape) const {
    return !source_.empty() && std::equal(source_.begin(), source_.end(), shape.begin());
  }

  int32_t layer_of(const Found& one) const {
    if (const int32_t own = numbered_module(graph_, graph_.nodes[one.sum.nodes.first].module); own >= 0) return own;
    int32_t layer = -1;
    for (int32_t node : one.ways.nodes()) {
      if (!is_product(node)) continue;
      const int32_t own = numbered_module(graph_, graph_.nodes[node].module);
      if (layer < 0) layer = own;
      // The steps of an nn.Sequential that h passes through are no layers.
      if (layer < 0 || (own >= 0 && own != layer && graph_.modules[own].parent == graph_.modules[layer].parent))
        return -1;
    }
    return layer;
  }

  // Attention and feed-forward blocks in lists of their own, as XLM has them (`attentions.0`, `ffns.0`, `attentions.1`,
  // …): one of each list is a layer, called by the last.
  void join_lists(std::vector<int32_t>& layers, std::vector<Found>& sums) {
    const std::set<int32_t> different(layers.begin(), layers.end());
    if (different.size() != layers.size() || different.empty() || *different.begin() < 1) return;
    const auto list_of = [&](int32_t layer) { return graph_.modules[layer].parent; };
    size_t lists = 1;
    while (lists < layers.size() && list_of(layers[lists]) != list_of(layers[0])) ++lists;
    if (lists < 2 || layers.size() % lists != 0 || layers.size() / lists < 2) return;
    for (size_t i = 0; i < layers.size(); ++i) {
      const auto outer = [&](int32_t layer) { return graph_.modules[list_of(layer)].parent; };
      if (list_of(layers[i]) != list_of(layers[i % lists]) || outer(layers[i]) != outer(layers[0])) return;
    }
    within_ = std::max(graph_.modules[list_of(layers[0])].parent, 0);
    for (size_t i = 0; i < layers.size(); ++i) {
      sums[i].module = layers[i];
      layers[i] = layers[i - i % lists + lists - 1];
    }
  }

  void leave_out(const Found& one, const std::string& why) {
    result_.left_out.push_back(text("the sum at ", graph_.describe(one.sum.nodes.first), ": ", why));
  }

  // Attention and feed-forward that are made of one stream and added to it together.
  std::vector<Found> side_by_side(const Found& whole) {
    std::vector<int32_t> candidates{whole.sum.h};
    const int32_t inner = graph_.slots[same_value(graph_, weights_, whole.sum.h)].producer;
    if (const auto parts = inner < 0 ? std::nullopt : addition(graph_, inner))
      candidates.insert(candidates.end(), {parts->left, parts->right});
    for (int32_t attention : candidates) {
      const auto sum = sum_of(graph_, attention);
      if (!sum || sum->h != attention || sum->more.size() != 1) continue;
      for (const auto& [r, other] : {std::pair(sum->r, sum->more[0]), std::pair(sum->more[0], sum->r)}) {
        if (weights_.root(r) != weights_.root(whole.sum.r)) continue;
        auto first = made_by_weights(r, attention), second = made_by_weights(r, other);
        if (!first.contains(whole.core->node) || second.empty() || find_attention(graph_, weights_, second)) continue;
        return {{{sum->nodes, attention, r, {}, sum->out}, std::move(first), r, whole.core},
                {{sum->nodes, other, r, {}, sum->out}, std::move(second), r}};
      }
    }
    return {};
  }

  // A numbered module that attends several times (or has several sub-layers, none of which attends) is a stage of
  // several layers, where these have numbers of their own: `layers.3.blocks.0`.
  bool add_inner_layers(int32_t module, std::vector<Found>& found) {
    std::vector<std::pair<int32_t, std::vector<Found>>> inner;
    std::set<int32_t> attending;
    for (const auto& one : found) {
      const int32_t own = numbered_module(graph_, graph_.nodes[one.sum.nodes.first].module, module);
      if (own < 0) return false;
      if (one.core) attending.insert(own);
      auto place = std::find_if(inner.begin(), inner.end(), [&](const auto& layer) { return layer.first == own; });
      if (place == inner.end()) place = inner.insert(inner.end(), {own, {}});
      place->second.push_back(one);
    }
    if ((attending.empty() ? inner.size() : attending.size()) < 2) return false;
    for (auto& [own, sums] : inner) add_layer(own, std::move(sums));
    return true;
  }

  void add_layer(int32_t module, std::vector<Found> sums) {
    const auto layer = static_cast<int64_t>(result_.layers.size());
    std::vector<Found> found;
    for (auto& one : sums) {
      one.core = find_attention(graph_, weights_, one.ways);
      if (one.core && attends_elsewhere(weights_, graph_, one.ways, *one.core)) {
        leave_out(one, "its attention reads keys and values from elsewhere (cross-attention)");
      } else {
        found.push_back(std::move(one));
      }
    }
    if (found.empty()) return;
    bool beside = false;
    // Of several sums the others are of the same stream.
    if (found[0].core &&
        std::all_of(found.begin() + 1, found.end(), [](const Found& one) { return one.stream != one.sum.r; })) {
      if (auto parts = side_by_side(found[0]); !parts.empty()) found = std::move(parts), beside = true;
    }
    if (add_inner_layers(module, found)) return;
    result_.layers.push_back(module);
    const auto [mixer, block] = roles_of(found);
    for (const auto& one : found) {
      auto sub = make_sub_layer(graph_, weights_, one.sum, one.ways, within_ < 0 ? module : within_);
      sub.layer = layer, sub.beside = beside;
      if (one.module >= 0) sub.module = one.module;
      // A module that is called again runs the same weights; another sub-layer of the kind has no place of its own.
      if (mixer != nullptr && same_weights(*mixer, one)) {
        sub.location = Location::attention;
        // The Linears of what attends have places of their own; those of a convolution have none.
        if (!one.core) sub.products.clear();
      } else if (!same_weights(*block, one)) {
        leave_out(one, text(graph_.modules[module].path, " has another such sub-layer"));
        continue;
      }
      result_.sub_layers.push_back(std::move(sub));
    }
  }

  // Which of a layer's sub-layers mixes tokens, and which is its feed-forward block: the first that attends, or has a
  // convolution over tokens, and the last of the others that has none. One alone, of whatever kind, is the latter.
  std::pair<const Found*, const Found*> roles_of(const std::vector<Found>& found) const {
    const auto attends = [](const Found& one) { return one.core.has_value(); };
    const auto mixes = [&](const Found& one) { return mixes_tokens(one); };
    auto mixer = std::find_if(found.begin(), found.end(), attends);
    if (mixer == found.end()) mixer = std::find_if(found.begin(), found.end(), mixes);
    const Found* block = nullptr;
    for (const auto& one : found) {
      const bool is_other = mixer == found.end() || (!attends(one) && !same_weights(*mixer, one));
      if (is_other && (block == nullptr || !mixes(one) || mixes(*block))) block = &one;
    }
    if (block == nullptr) return {nullptr, &*mixer};
    return {mixer == found.end() ? nullptr : &*mixer, block};
  }

  bool mixes_tokens(const Found& one) const {
    const auto& stream = stream_shape(one.sum.out);
    return std::any_of(one.ways.nodes().begin(), one.ways.nodes().end(), [&](int32_t index) {
      const auto& node = graph_.nodes[index];
      if (multiplies_values(weights_, node)) return true;
      if (!weights_.multiplies(node) || node.outputs[0] < 0) return false;
      const auto& name = node.operator_name();
      if (name.starts_with("aten.conv")) {
        const auto* weight = weights_.parameter(node.slot(1));
        return weight == nullptr || graph_.slots[weight->slot].shape.back().number != 1;
      }
      // A Linear over tokens, which were turned to the end.
      const auto& shape = graph_.slots[node.outputs[0]].shape;
      return name == "aten.linear.default" && shape.size() == 3 && shape[1] != stream[1];
    });
  }

  bool same_weights(const Found& a, const Found& b) const { return &a == &b || weights_of(a) == weights_of(b); }

  std::vector<const Input*> weights_of(const Found& one) const {
    std::vector<const Input*> result;
    for (int32_t node : one.ways.nodes()) {
      if (!is_product(node)) continue;
      for (const auto& argument : graph_.nodes[node].arguments)
        Graph::each_slot(argument, [&](int32_t slot) {
          if (const auto* weight = weights_.parameter(slot)) result.push_back(weight);
        });
    }
    return result;
  }

  int32_t within_ = -1;  ///< where the LayerNorms of layers in several lists stand; -1: each in its layer
  const Graph& graph_;
  int32_t output_;
  const std::vector<Size>& source_;
  Weights weights_;
  Residuals result_;
  int64_t work_ = 0;
};

}  // namespace

Residuals find_residuals(const Graph& graph, int32_t output, const std::vector<Size>& source) {
  return ResidualFinder(graph, output, source).find();
}

}  // namespace ta::exported
