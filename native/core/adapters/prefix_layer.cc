#include "core/adapters/prefix_layer.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>

#include <algorithm>

#include "core/error.h"

namespace ta {

namespace {

using Kind = Composition::Kind;

const char* block_name(Kind kind) {
  return kind == Kind::fuse ? "Fuse" : kind == Kind::split ? "Split" : "Average";
}

// The adapters whose prefixes a setup names, the one that comes first in front of the tokens.
std::vector<int64_t> adapters_of(const Composition& setup) {
  std::vector<int64_t> result;
  setup.visit([&](const Composition& part) {
    if (part.kind == Kind::adapter) result.push_back(part.index);
  });
  return result;
}

// [rows, p, hidden]: a prefix for each row, by its gate where there is one.
at::Tensor for_rows(const at::Tensor& prefix, int64_t rows, const at::Tensor& gate) {
  auto own = prefix.unsqueeze(0).expand({rows, prefix.size(0), prefix.size(1)});
  return gate.defined() ? own * gate.unsqueeze(-1) : own;
}

}  // namespace

PassPrefixes::PassPrefixes(const AdapterPlace& pool, const std::vector<RowSegment>& segments) {
  if (pool.children().empty()) return;
  for (const auto& segment : segments) {
    if (!segment.setup || !pool.has_any(*segment.setup)) continue;
    segment.setup->visit([&](const Composition& part) {
      if (part.kind == Kind::adapter) {
        auto group = std::static_pointer_cast<PrefixGroup>(pool.module(part.index));
        if (group && !made_.contains(part.index)) made_[part.index] = {group, group->keys_and_values()};
      } else if (part.kind != Kind::none && part.kind != Kind::stack && pool.has_any(part)) {
        fail(ErrorCode::unsupported, block_name(part.kind), "it has no meaning for the keys and values of a prefix",
             {.expected = "prefix tuning alone or in a Stack; rows may have setups of their own",
              .hint = "Use Stack, BatchSplit, Parallel or a list with one setup a row"});
      }
    });
  }
}

const at::Tensor* PassPrefixes::keys(int64_t adapter, int64_t layer) const {
  const auto found = made_.find(adapter);
  if (found == made_.end()) return nullptr;
  const int64_t slot = found->second.group->slot(layer);
  return slot < 0 ? nullptr : &found->second.parts[2 * slot];
}

bool PassPrefixes::shifts() const {
  return std::any_of(made_.begin(), made_.end(),
                     [](const auto& entry) { return entry.second.group->config().shifts_positions; });
}

int64_t PassPrefixes::shift(const Composition* setup) const {
  int64_t positions = 0;
  for (const int64_t adapter : setup != nullptr ? adapters_of(*setup) : std::vector<int64_t>()) {
    const auto found = made_.find(adapter);
    if (found == made_.end()) continue;
    const auto& config = found->second.group->config();
    if (config.shifts_positions) positions += *std::max_element(config.lengths.begin(), config.lengths.end());
  }
  return positions;
}

bool PrefixLayer::acts(const ForwardContext& context) const {
  if (context.prefixes == nullptr || context.segments == nullptr) return false;
  return std::any_of(context.segments->begin(), context.segments->end(), [&](const RowSegment& segment) {
    if (!segment.setup) return false;
    const auto adapters = adapters_of(*segment.setup);
    return std::any_of(adapters.begin(), adapters.end(),
                       [&](int64_t adapter) { return context.prefixes->keys(adapter, layer) != nullptr; });
  });
}

PrefixLayer::KeysAndValues PrefixLayer::prepend(const KeysAndValues& own, const at::Tensor& x, const RowLayout& x_rows,
                                                const ForwardContext& context) const {
  const int64_t hidden = own.k.size(1);
  std::vector<at::Tensor> keys, values;
  std::vector<int64_t> lengths;
  for (const auto& [first, last, setup] : *context.segments) {
    const int64_t begin = own.rows.starts()[first];
    const auto rows = own.rows.rows(first, last);
    struct Prefix {
      const at::Tensor* keys;
      at::Tensor gate;
      double dropout;
    };
    std::vector<Prefix> prefixes;
    int64_t added = 0;
    for (int64_t adapter : setup ? adapters_of(*setup) : std::vector<int64_t>()) {
      const auto* prefix = context.prefixes->keys(adapter, layer);
      if (prefix == nullptr) continue;
      const auto gate = std::static_pointer_cast<PrefixGate>(gates_->module(adapter));
      prefixes.insert(prefixes.begin(), {prefix, at::Tensor(), context.prefixes->dropout(adapter)});
      if (gate) {
        const int64_t from = x_rows.starts()[first], to = x_rows.starts()[last];
        prefixes.front().gate = gate->forward(x.narrow(0, from, to - from), x_rows.rows(first, last));
      }
      added += prefix->size(0);
    }
    int64_t row = 0;
    for (const auto& group : rows.groups()) {
      for (int which = 0; which < 2; ++which) {
        std::vector<at::Tensor> parts;
        for (const auto& prefix : prefixes) {
          const auto gate = prefix.gate.defined()
                                ? prefix.gate.narrow(0, row, group.count).select(1, which == 0 ? 0 : -1).unsqueeze(1)
                                : at::Tensor();
          parts.push_back(ta::dropout(for_rows(prefix.keys[which], group.count, gate), prefix.dropout, context.random));
        }
        auto tokens = (which == 0 ? own.k : own.v).narrow(0, begin + group.start, group.count * group.length);
        if (!parts.empty()) {
          parts.push_back(tokens.reshape({group.count, group.length, hidden}));
          tokens = at::cat(parts, 1).view({-1, hidden});
        }
        (which == 0 ? keys : values).push_back(std::move(tokens));
      }
      lengths.insert(lengths.end(), group.count, added + group.length);
      row += group.count;
    }
  }
  return {keys.size() == 1 ? keys[0] : at::cat(keys), values.size() == 1 ? values[0] : at::cat(values),
          RowLayout(lengths)};
}

}  // namespace ta
