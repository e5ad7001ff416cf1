#include "core/exported/paths.h"

#include <algorithm>

namespace ta::exported {

Ways::Ways(const Graph& graph, int32_t from, int32_t to, int64_t& work) : graph_(graph) {
  const int32_t before = graph.slots[from].producer, last = graph.slots[to].producer;
  if (from == to || last <= before) return;
  // Nodes stand in the order in which they run: what is made of `from` stands between the two.
  const int32_t count = last - before;
  work += count;
  std::vector<uint8_t> made(count, 0), reached(count, 0);
  const auto at = [&](int32_t node) { return node - before - 1; };
  for (int32_t node = before + 1; node <= last; ++node) {
    each_read(graph.nodes[node], [&](int32_t slot) {
      const int32_t producer = graph.slots[slot].producer;
      if (slot == from || (producer > before && made[at(producer)])) made[at(node)] = 1;
    });
  }
  if (!made[at(last)]) return;
  reached[at(last)] = 1;
  for (int32_t node = last; node > before; --node) {
    if (!reached[at(node)]) continue;
    nodes_.push_back(node);
    each_read(graph.nodes[node], [&](int32_t slot) {
      const int32_t producer = graph.slots[slot].producer;
      if (producer > before && made[at(producer)]) reached[at(producer)] = 1;
    });
  }
  std::reverse(nodes_.begin(), nodes_.end());
}

bool Ways::contains(int32_t node) const {
  return std::binary_search(nodes_.begin(), nodes_.end(), node);
}

std::vector<int32_t> Ways::nearest(int32_t slot, const std::function<bool(int32_t)>& stop) const {
  std::vector<int32_t> found, open{graph_.slots[slot].producer}, seen;
  while (!open.empty()) {
    const int32_t node = open.back();
    open.pop_back();
    if (node < 0 || !contains(node) || std::find(seen.begin(), seen.end(), node) != seen.end()) continue;
    seen.push_back(node);
    if (stop(node)) {
      found.push_back(node);
      continue;
    }
    each_read(graph_.nodes[node], [&](int32_t read) { open.push_back(graph_.slots[read].producer); });
  }
  std::sort(found.begin(), found.end());
  return found;
}

bool Ways::made_of(int32_t slot, int32_t node) const {
  return !nearest(slot, [&](int32_t one) { return one == node; }).empty();
}

}  // namespace ta::exported
