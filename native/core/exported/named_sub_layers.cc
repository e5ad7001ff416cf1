#include "core/exported/named_sub_layers.h"

#include <algorithm>
#include <set>

#include "core/error.h"
#include "core/exported/named_modules.h"

namespace ta::exported {

namespace {

// A sub-layer that a module is, and its module.
struct Named {
  SubLayer sub;
  int32_t module;
};

bool overlap(const Range& a, const Range& b) {
  return a.first <= b.last && b.first <= a.last;
}

bool lies_inside(const Range& inner, const Range& outer) {
  return outer.first <= inner.first && inner.last <= outer.last && inner != outer;
}

class Namer {
 public:
  Namer(const Graph& graph, const Weights& weights, const Tree& tree, const std::string& prefix, int64_t hidden)
      : graph_(graph), weights_(weights), modules_{graph, tree, prefix, hidden} {}

  // Of one kind, layer by layer.
  std::vector<Named> find(const char* option, const std::string& pattern, Location location) {
    std::vector<Named> result;
    if (pattern.empty()) return result;
    for (const auto* place : modules_.places(option, pattern)) {
      auto sub = sub_layer(*place);
      sub.layer = static_cast<int64_t>(result.size()), sub.location = location;
      sub.named = text(modules_.name(place->path), " (", option, " '", pattern, "')");
      result.push_back({std::move(sub), graph_.find_module(place->path)});
    }
    return result;
  }

  // One that the graph shows together with another, by itself.
  void part(SubLayer& sub) const {
    if (const auto sum = sum_of(graph_, sub.h))
      sub.nodes.first = sum->nodes.first, sub.r = sum->r, sub.more = sum->more;
    sub.beside = false;
  }

  // Attention and feed-forward block that end in one sum.
  void pair(SubLayer& attention, SubLayer& output) const {
    if (attention.r < 0 || output.r < 0 || attention.out != output.out || attention.h == output.h) return;
    const auto& longer = attention.nodes.first <= output.nodes.first ? attention : output;
    auto rest = longer.more;
    rest.push_back(longer.r);
    std::erase_if(rest, [&](int32_t slot) { return slot == attention.h || slot == output.h; });
    if (rest.empty() || rest.size() != longer.more.size()) {
      fail(ErrorCode::unsupported, kPlaceAdapters,
           text("what ", title(attention), " and ", title(output), " give is added to nothing else"),
           {.expected = "a stream that both are added to", .hint = "Name one of them, and null for the other"});
    }
    const auto earliest = std::min_element(rest.begin(), rest.end(), [&](int32_t a, int32_t b) {
      return graph_.slots[a].producer < graph_.slots[b].producer;
    });
    std::iter_swap(rest.begin(), earliest);
    const Range nodes = longer.nodes;
    for (auto* one : {&attention, &output}) {
      one->nodes = nodes, one->beside = true;
      one->r = rest[0], one->more.assign(rest.begin() + 1, rest.end());
    }
  }

  void check_apart(const std::vector<SubLayer>& all) const {
    for (size_t i = 0; i < all.size(); ++i)
      for (size_t j = i + 1; j < all.size(); ++j) {
        const auto &a = all[i], &b = all[j];
        const bool together = a.beside && b.beside && a.layer == b.layer;
        const bool nested = (a.r < 0 && lies_inside(b.nodes, a.nodes)) || (b.r < 0 && lies_inside(a.nodes, b.nodes));
        if (!overlap(a.nodes, b.nodes) || together || nested) continue;
        fail(ErrorCode::invalid_argument, kPlaceAdapters, text(title(a), " and ", title(b), " end in one place"),
             {.expected = "modules whose values are added to the stream one after the other",
              .got = text("one sum, ", graph_.describe(a.nodes.first)),
              .hint = "Name one of them, and null for the other kind"});
      }
  }

  [[noreturn]] void fail_count(const std::string& what, size_t expected, size_t got) const {
    fail(ErrorCode::invalid_argument, kPlaceAdapters, what,
         {.expected = text(expected, " modules, one a layer"),
          .got = text(got),
          .hint = "A pattern has one match a layer; null leaves a kind out"});
  }

 private:
  std::string title(const SubLayer& sub) const {
    if (!sub.named.empty()) return sub.named;
    return text("the ", sub.location == Location::attention ? "attention" : "feed-forward block", " of layer ",
                sub.layer);
  }

  // The ways on which h is made of r, where there is a product with a weight on them.
  Ways made_by_weights(int32_t r, int32_t h) {
    Ways ways(graph_, weights_.root(r), h, work_);
    const bool any = std::any_of(ways.nodes().begin(), ways.nodes().end(),
                                 [&](int32_t node) { return weights_.multiplies(graph_.nodes[node]); });
    return any ? ways : Ways(graph_, h, h, work_);
  }

  // The sum that a module ends in.
  std::optional<SubLayer> own_sum(const SlotPlace& place, int32_t within) {
    const int32_t slot = same_value(graph_, weights_, place.output);
    int32_t node = graph_.slots[slot].producer;
    const bool is_norm = node >= 0 && graph_.nodes[node].operator_name() == "aten.layer_norm.default" &&
                         only_reader(graph_, graph_.nodes[node].slot(0)) == node;
    // A LayerNorm by itself stands for the sum that it alone reads.
    const bool inside = !(is_norm && place.nodes.size() == 1);
    if (is_norm) node = graph_.slots[graph_.nodes[node].slot(0)].producer;
    // Where rows and tokens are one size in the sum, it gets its form back behind it.
    int32_t out = slot;
    if (node >= 0 && graph_.nodes[node].is_one_of({"aten.view.default", "aten.reshape.default"})) {
      const int32_t before = graph_.nodes[node].slot(0);
      if (before < 0 || only_reader(graph_, before) != node) return std::nullopt;
      node = graph_.slots[before].producer;
      if (!is_norm) out = before;
    }
    const auto one = node < 0 || (inside && !place.nodes.contains(node)) ? std::nullopt : addition(graph_, node);
    if (!one) return std::nullopt;
    const auto right = made_by_weights(one->left, one->right), left = made_by_weights(one->right, one->left);
    if (right.empty() == left.empty()) return std::nullopt;
    Sum sum{.nodes = {node, node}, .h = one->right, .r = one->left, .more = {}, .out = one->out};
    if (right.empty()) std::swap(sum.h, sum.r);
    auto sub = make_sub_layer(graph_, weights_, sum, right.empty() ? left : right, within);
    return sub.out == out ? std::optional(std::move(sub)) : std::nullopt;
  }

  SubLayer sub_layer(const SlotPlace& place) {
    const int32_t module = graph_.find_module(place.path), layer = numbered_module(graph_, module);
    const int32_t within = layer >= 0 ? layer : graph_.modules[module].parent;
    if (auto own = own_sum(place, within)) {
      own->module = module;
      return std::move(*own);
    }
    const Ways inside(graph_, place.input, place.output, work_);
    if (const auto sum = sum_of(graph_, place.output)) {
      const auto ways = made_by_weights(sum->r, sum->h);
      auto result = make_sub_layer(graph_, weights_, *sum, ways.empty() ? inside : ways, within);
      result.module = module;
      return result;
    }
    SubLayer result;
    result.nodes = place.nodes, result.module = module;
    result.h = result.out = place.output, result.input = place.input;
    add_products(graph_, weights_, inside, result);
    return result;
  }

  const Graph& graph_;
  const Weights& weights_;
  NamedModules modules_;
  int64_t work_ = 0;
};

// The innermost module that both stand in.
int32_t common(const Graph& graph, int32_t a, int32_t b) {
  for (int32_t outer : graph.enclosing(a))
    if (graph.inside(b, outer)) return outer;
  return 0;
}

// What each layer's modules stand in, or the last of them where that is no module of its own.
std::vector<int32_t> layer_modules(const Graph& graph, const std::vector<std::vector<int32_t>>& modules) {
  std::vector<int32_t> result;
  for (const auto& own : modules) {
    const int32_t layer = numbered_module(graph, own.back());
    const bool one = layer >= 0 && graph.inside(own.front(), layer);
    result.push_back(one ? layer : common(graph, own.front(), own.back()));
  }
  const std::set<int32_t> different(result.begin(), result.end());
  if (different.size() == result.size() && !different.contains(0)) return result;
  for (size_t i = 0; i < result.size(); ++i) result[i] = modules[i].back();
  return result;
}

}  // namespace

void place_named(const Graph& graph, const Weights& weights, const Tree& tree, const Placement& placement,
                 const std::string& prefix, Residuals& residuals) {
  if (!placement.attention && !placement.feed_forward) return;
  const int64_t hidden = residuals.sub_layers.empty() ? 0 : residuals.shape.back().number;
  Namer namer(graph, weights, tree, prefix, hidden);
  std::vector<std::vector<int32_t>> modules;
  std::vector<SubLayer> all;
  const auto given = [&](const char* option, const std::optional<std::string>& pattern, Location location) {
    if (!pattern) return;
    auto found = namer.find(option, *pattern, location);
    if (!modules.empty() && !found.empty() && modules.size() != found.size()) {
      namer.fail_count(text("attention and feedForward name different numbers of layers"), modules.size(),
                       found.size());
    }
    modules.resize(std::max(modules.size(), found.size()));
    for (auto& one : found) {
      modules[one.sub.layer].push_back(one.module);
      all.push_back(std::move(one.sub));
    }
  };
  given("attention", placement.attention, Location::attention);
  given("feedForward", placement.feed_forward, Location::output);
  const auto is_kept = [&](const SubLayer& sub) {
    return !(sub.location == Location::attention ? placement.attention : placement.feed_forward);
  };
  const auto kept = std::count_if(residuals.sub_layers.begin(), residuals.sub_layers.end(), is_kept);
  for (auto& sub : residuals.sub_layers) {
    const auto own = std::find_if(all.begin(), all.end(), [&](const SubLayer& one) {
      return one.layer == sub.layer && one.location == sub.location && one.nodes == sub.nodes && one.h == sub.h;
    });
    if (own != all.end()) own->module = sub.module;
    if (!is_kept(sub)) continue;
    if (sub.beside) namer.part(sub);
    all.push_back(sub);
  }
  if (kept > 0 && !modules.empty() && modules.size() != residuals.layers.size()) {
    namer.fail_count(text(placement.attention ? "attention" : "feedForward",
                          " names another number of layers than the graph shows for the other kind"),
                     residuals.layers.size(), modules.size());
  }
  if (kept == 0) {
    residuals.layers = layer_modules(graph, modules);
    residuals.left_out.clear();
  }
  const auto leave_out = [&](const char* option, const std::optional<std::string>& pattern) {
    if (pattern && pattern->empty()) residuals.left_out.push_back(text(option, ": null in your placement"));
  };
  leave_out("attention", placement.attention);
  leave_out("feedForward", placement.feed_forward);
  for (auto& a : all)
    for (auto& b : all)
      if (a.location == Location::attention && b.location == Location::output && a.layer == b.layer) namer.pair(a, b);
  std::stable_sort(all.begin(), all.end(), [](const SubLayer& a, const SubLayer& b) {
    return a.nodes.first != b.nodes.first ? a.nodes.first < b.nodes.first : a.location < b.location;
  });
  namer.check_apart(all);
  residuals.sub_layers = std::move(all);
  residuals.begin = -1;
  if (residuals.sub_layers.empty()) return;
  const auto& first = residuals.sub_layers.front();
  residuals.shape = graph.slots[first.out].shape;
  if (first.r >= 0) residuals.begin = weights.root(first.r);
  if (first.r < 0 && graph.slots[first.input].shape == residuals.shape) residuals.begin = first.input;
}

}  // namespace ta::exported
