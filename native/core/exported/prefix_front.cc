#include "core/exported/prefix_front.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

#include "core/error.h"

namespace ta::exported {

namespace {

/// The prefixes of one run of rows, the one that comes first in front of the tokens.
struct Part {
  struct Prefix {
    const at::Tensor* keys;  ///< values stand right behind them
    at::Tensor gate;         ///< [rows, 1 or 2]; undefined: none
    double dropout;
  };
  std::vector<Prefix> prefixes;
  int64_t rows = 0, length = 0;
};

Part part_of(const PrefixLayer& layer, const RowSegment& segment, const at::Tensor& x, const RowLayout& x_rows,
             const ForwardContext& context) {
  Part part{{}, segment.last - segment.first, 0};
  if (!segment.setup) return part;
  segment.setup->visit([&](const Composition& one) {
    const auto* keys =
        one.kind == Composition::Kind::adapter ? context.prefixes->keys(one.index, layer.layer) : nullptr;
    if (keys == nullptr) return;
    Part::Prefix prefix{keys, {}, context.prefixes->dropout(one.index)};
    if (const auto gate = std::static_pointer_cast<PrefixGate>(layer.gates().module(one.index))) {
      if (!x.defined())
        fail(ErrorCode::unsupported, "forward", "what a gate of a prefix reads was not found in this graph",
             {.expected = "a prefix without a gate"});
      const int64_t from = x_rows.starts()[segment.first], to = x_rows.starts()[segment.last];
      prefix.gate = gate->forward(x.narrow(0, from, to - from), x_rows.rows(segment.first, segment.last));
    }
    part.length += keys->size(0);
    part.prefixes.insert(part.prefixes.begin(), std::move(prefix));
  });
  return part;
}

// which: 0 keys, 1 values.   [rows, p, features]
at::Tensor side_of(const Part& part, int which, int64_t longest, const at::Tensor& like, Random* random) {
  std::vector<at::Tensor> pieces;
  if (part.length < longest)
    pieces.push_back(at::zeros({part.rows, longest - part.length, like.size(1)}, like.options()));
  for (const auto& [keys, gate, p] : part.prefixes) {
    const auto& one = keys[which];
    auto own = one.unsqueeze(0).expand({part.rows, one.size(0), one.size(1)});
    if (gate.defined()) own = own * gate.select(1, which == 0 ? 0 : -1).view({part.rows, 1, 1});
    pieces.push_back(dropout(own, p, random));
  }
  return pieces.size() == 1 ? pieces[0] : at::cat(pieces, 1);
}

}  // namespace

Front front_of(const PrefixLayer& layer, const at::Tensor& x, const RowLayout& x_rows, const ForwardContext& context) {
  std::vector<Part> parts;
  for (const auto& segment : *context.segments) parts.push_back(part_of(layer, segment, x, x_rows, context));
  const auto& longest =
      *std::max_element(parts.begin(), parts.end(), [](const Part& a, const Part& b) { return a.length < b.length; });
  const auto& like = *longest.prefixes[0].keys;
  std::vector<at::Tensor> k, v, seen;
  for (const auto& part : parts) {
    k.push_back(side_of(part, 0, longest.length, like, context.random));
    v.push_back(side_of(part, 1, longest.length, like, context.random));
    const auto flags = like.options().dtype(at::kBool);
    seen.push_back(at::cat(
        {at::zeros({part.rows, longest.length - part.length}, flags), at::ones({part.rows, part.length}, flags)}, 1));
  }
  const bool alike =
      std::all_of(parts.begin(), parts.end(), [&](const Part& part) { return part.length == longest.length; });
  return {at::cat(k), at::cat(v), alike ? at::Tensor() : at::cat(seen)};
}

at::Tensor in_heads(const at::Tensor& front, int64_t key_heads, int64_t heads) {
  auto split = front.view({front.size(0), front.size(1), key_heads, -1}).transpose(1, 2);
  return key_heads == heads ? split : split.repeat_interleave(heads / key_heads, 1);
}

}  // namespace ta::exported
