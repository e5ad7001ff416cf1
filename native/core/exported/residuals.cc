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
  std::optional<AttentionCore> core = std::nullopt;
};

class Finder {
 public:
  Finder(const Graph& graph, int32_t output, const std::vector<Size>& source)
      : graph_(graph), output_(output), source_(source), weights_(graph) {}

  Residuals find() {
    auto sums = find_sums();
    if (sums.empty()) return std::move(result_);
    keep_stream(sums);
    std::map<int32_t, std::vector<Found>> by_layer;
    std::vector<int32_t> order;
    for (auto& one : sums) {
      const int32_t layer = layer_of(one);
      if (layer < 0) {
        leave_out(one, "it stands in no numbered module");
        continue;
      }
      if (by_layer[layer].empty()) order.push_back(layer);
      by_layer[layer].push_back(std::move(one));
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
      if (b_of_a.empty() == a_of_b.empty()) continue;
      const bool stream_first = a_of_b.empty();
      sums.push_back(
          {{.nodes = {i, i}, .h = stream_first ? b : a, .r = stream_first ? a : b, .more = {}, .out = one->out},
           std::move(stream_first ? b_of_a : a_of_b)});
    }
    if (work_ >= kMostWork) result_.left_out.push_back("everything: the graph has too many nodes to be searched");
    return sums;
  }

  // The output's shape is the stream's; where no sum has it, the shape that most of them have.
  void keep_stream(std::vector<Found>& sums) {
    const auto shape_of = [&](const Found& one) -> const std::vector<Size>& { return stream_shape(one.sum.out); };
    int64_t most = 0;
    for (const auto& one : sums) {
      if (is_source(shape_of(one))) continue;
      const auto count =
          std::count_if(sums.begin(), sums.end(), [&](const Found& other) { return shape_of(other) == shape_of(one); });
      if (shape_of(one) == graph_.slots[output_].shape)
        result_.shape = shape_of(one), most = static_cast<int64_t>(sums.size());
      if (count > most) most = count, result_.shape = shape_of(one);
    }
    std::vector<Found> kept;
    for (auto& one : sums) {
      const auto& shape = shape_of(one);
      if (shape == result_.shape || (is_source(shape) && !result_.shape.empty() && shape[2] == result_.shape[2])) {
        kept.push_back(std::move(one));
      } else {
        leave_out(
            one, text("it is ", shape_text(graph_, one.sum.out), ", and the last hidden state, whose tokens and width ",
                      "adapters have, ", shape_text(graph_, output_)));
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
    for (int32_t node : one.ways.nodes())
      if (is_product(node)) return numbered_module(graph_, graph_.nodes[node].module);
    return -1;
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
        return {{{sum->nodes, attention, r, {}, sum->out}, std::move(first), whole.core},
                {{sum->nodes, other, r, {}, sum->out}, std::move(second)}};
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
      if (inner.empty() || inner.back().first != own) inner.push_back({own, {}});
      inner.back().second.push_back(one);
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
    if (found.size() == 1 && found[0].core) {
      if (auto parts = side_by_side(found[0]); !parts.empty()) found = std::move(parts), beside = true;
    }
    const bool alone = std::all_of(found.begin(), found.end(), [&](const Found& one) {
      return one.core.has_value() == found.front().core.has_value();
    });
    if (add_inner_layers(module, found)) return;
    result_.layers.push_back(module);
    SubLayer last[2];
    for (const auto& one : found) {
      auto sub = make_sub_layer(graph_, weights_, one.sum, one.ways, module);
      sub.layer = layer, sub.beside = beside;
      sub.location = one.core && !alone ? Location::attention : Location::output;
      auto& before = last[sub.location == Location::attention];
      // A module that is called again runs the same weights; another sub-layer of the kind has no place of its own.
      if (before.out >= 0 && !same_weights(before, sub)) {
        leave_out(one, text(graph_.modules[module].path, " has another such sub-layer before it"));
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

  const Graph& graph_;
  int32_t output_;
  const std::vector<Size>& source_;
  Weights weights_;
  Residuals result_;
  int64_t work_ = 0;
};

}  // namespace

Residuals find_residuals(const Graph& graph, int32_t output, const std::vector<Size>& source) {
  return Finder(graph, output, source).find();
}

}  // namespace ta::exported
