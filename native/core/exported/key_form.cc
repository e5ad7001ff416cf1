// Which attention of a sub-layer keys and values can be put in front of (prefix_hooks.h).

#include <algorithm>

#include "core/exported/prefix_hooks.h"

namespace ta::exported {

namespace {

using Attention = PrefixPlace::Attention;

struct CoreForm {
  int64_t size = 0;
  Attention attention;
};

// scaled_dot_product_attention on three axes.
std::optional<CoreForm> form_of_three(const Graph& graph, const AttentionCore& core, const Size& rows,
                                      int32_t& stopped) {
  const int64_t size = graph.slots[core.key].shape[2].number;
  const auto heads_of = [&](int32_t slot) -> std::optional<PartedHeads> {
    const auto& shape = graph.slots[slot].shape;
    if (size < 1 || shape.size() != 3 || shape[2].number != size) return std::nullopt;
    return read_heads(graph, slot, rows, size, stopped);
  };
  const auto key = heads_of(core.key);
  const auto query = key ? heads_of(core.query) : std::nullopt, value = query ? heads_of(core.value) : std::nullopt;
  if (!value || *key != *value || query->heads_first != key->heads_first) return std::nullopt;
  // With enable_gqa the operator itself has each for several of the queries'.
  const bool shared = query->heads != key->heads && !key->heads_first && query->heads % key->heads == 0;
  if (query->heads != key->heads && !shared) return std::nullopt;
  const PartedHeads joined{query->heads, key->key_heads, key->heads_first};
  return CoreForm{size, {.node = core.node, .joined = joined, .heads = key->key_heads}};
}

std::optional<CoreForm> form_of(const Graph& graph, const AttentionCore& core, const std::vector<Size>& stream,
                                int32_t& stopped) {
  stopped = core.node;
  if (core.softmax >= 0) {
    if (graph.nodes[core.node].autocast) return std::nullopt;
    const auto written = stream.empty() ? std::nullopt : read_attention(graph, core, stream[0], stopped);
    if (!written) return std::nullopt;
    return CoreForm{written->size, {.node = core.node, .written = written, .heads = written->parted.key_heads}};
  }
  const auto& shape = graph.slots[core.key].shape;
  if (shape.size() == 3 && !stream.empty()) return form_of_three(graph, core, stream[0], stopped);
  if (shape.size() != 4 || shape[1].number < 1 || shape[3].number < 1) return std::nullopt;
  const auto& value = graph.slots[core.value].shape;
  if (value.size() != 4 || value[3] != shape[3]) return std::nullopt;
  return CoreForm{shape[3].number, {.node = core.node, .heads = heads_before_repeat(graph, core.key, shape[1].number)}};
}

// What reads a head's answer, and nothing else does: a join of features. -1: it is another.
int32_t join_of(const Graph& graph, const AttentionCore& core) {
  const auto& out = graph.slots[graph.nodes[core.node].outputs[0]];
  if (out.users.size() != 1 || graph.nodes[out.users[0]].operator_name() != "aten.cat.default") return -1;
  const auto dim = graph.nodes[out.users[0]].arguments[1].number();
  const auto rank = static_cast<double>(out.shape.size());
  return dim && (*dim == -1 || *dim == rank - 1) ? out.users[0] : -1;
}

// Heads that are called one by one are those of one attention where their features are joined, in that order.
std::optional<KeyForm> form_of_heads(const Graph& graph, const SubLayer& sub, const std::vector<Size>& stream,
                                     int32_t& stopped) {
  const int32_t join = join_of(graph, sub.heads[0]);
  stopped = sub.heads[0].node;
  if (join < 0) return std::nullopt;
  KeyForm all{.module = graph.nodes[join].module};
  for (const auto& [slot, number] : graph.nodes[join].arguments[0].items) {
    const auto core = std::find_if(sub.heads.begin(), sub.heads.end(),
                                   [&](const AttentionCore& one) { return graph.nodes[one.node].outputs[0] == slot; });
    stopped = join;
    if (core == sub.heads.end()) return std::nullopt;
    auto form = form_of(graph, *core, stream, stopped);
    if (!form || (all.size > 0 && form->size != all.size)) return std::nullopt;
    all.size = form->size;
    form->attention.first = all.heads;
    all.heads += form->attention.heads;
    all.attentions.push_back(std::move(form->attention));
  }
  return all.attentions.size() == sub.heads.size() ? std::optional(all) : std::nullopt;
}

}  // namespace

std::optional<KeyForm> key_form(const Graph& graph, const SubLayer& sub, int32_t& stopped) {
  if (!sub.core) return std::nullopt;
  const auto& stream = graph.slots[sub.out].shape;
  std::optional<KeyForm> result;
  if (sub.heads.size() > 1) {
    result = form_of_heads(graph, sub, stream, stopped);
  } else if (auto form = form_of(graph, *sub.core, stream, stopped)) {
    result = KeyForm{form->attention.heads, form->size, {form->attention}, graph.nodes[sub.core->node].module};
  }
  if (result)
    for (auto& attention : result->attentions) attention.input = sub.core_input;
  return result;
}

}  // namespace ta::exported
