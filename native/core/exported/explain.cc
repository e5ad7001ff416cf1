#include <algorithm>

#include "core/error.h"
#include "core/exported/named_modules.h"
#include "core/exported/residuals.h"

namespace ta::exported {

namespace {

std::string words_of(Location location) {
  std::string words = name_of(location);
  std::replace(words.begin(), words.end(), '_', ' ');
  return words;
}

}  // namespace

std::vector<std::string> explain(const Graph& graph, const Residuals& residuals) {
  std::vector<std::string> lines;
  if (residuals.sub_layers.empty()) {
    lines.push_back(text("no residual sub-layer was found: addAdapter has no place of its own here",
                         gives_rows(graph) ? "" : "; name modules by patterns (placement)"));
  }
  const auto is_same = [](const SubLayer& a, const SubLayer& b) {
    return a.layer == b.layer && a.location == b.location && a.module == b.module;
  };
  const auto& all = residuals.sub_layers;
  for (auto at = all.begin(); at != all.end(); ++at) {
    const auto& sub = *at;
    // A module that is called again has its adapters there, too.
    if (std::any_of(all.begin(), at, [&](const SubLayer& before) { return is_same(before, sub); })) continue;
    const auto calls = std::count_if(at, all.end(), [&](const SubLayer& other) { return is_same(other, sub); });
    std::string products;
    for (const auto& [location, product] : sub.products) {
      products += text(products.empty() ? "; " : ", ", words_of(location), " ",
                       product.weight.substr(0, product.weight.rfind('.')));
    }
    if (!sub.merged.empty()) {
      products += text(products.empty() ? "; " : ", ", "query, key and value in one ",
                       sub.merged.substr(0, sub.merged.rfind('.')));
    }
    const auto place = sub.r >= 0 ? text("the sum at ", graph.describe(sub.nodes.first))
                                  : std::string("right behind it, where it is added to nothing");
    lines.push_back(text(
        "layer ", sub.layer, " (", graph.modules[residuals.layers[sub.layer]].path, "), ", name_of(sub.location), ": ",
        sub.named.empty() ? "" : sub.named + " by your placement, ", place,
        calls > 1 ? text(", and at each further call, of which there are ", calls - 1) : "",
        sub.norm >= 0 ? ", with its LayerNorm" : "",
        sub.beside ? sub.location == Location::output ? ", behind attention" : ", in front of the feed-forward block"
                   : "",
        products));
  }
  for (const auto& line : residuals.left_out) lines.push_back("left out: " + line);
  return lines;
}

std::vector<std::string> describe_sites(const Graph& graph, const Residuals& residuals) {
  std::vector<std::string> sites;
  const auto name = [&](int32_t slot) { return slot < 0 ? std::string("-") : graph.slots[slot].name; };
  for (const auto& sub : residuals.sub_layers) {
    sites.push_back(text(sub.layer, " ", name_of(sub.location), " ", graph.modules[sub.module].path, " ", name(sub.h),
                         " ", name(sub.r), " ", name(sub.out)));
  }
  return sites;
}

}  // namespace ta::exported
