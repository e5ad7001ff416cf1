#include "core/adapters/compose.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>

#include <algorithm>

#include "core/adapters/fuse.h"
#include "core/adapters/split.h"

namespace ta {

namespace {

using Kind = Composition::Kind;
using Result = std::optional<Partial>;

at::Tensor finished(const SiteInput& site, const Partial& part) {
  if (!part.norm_after) return part.o;
  auto sum = part.o + site.r;
  return site.norm == nullptr ? sum : site.norm->forward(sum);
}

Result run_stack(const SiteInput& site, const Composition& setup, const at::Tensor& h, const RowLayout& rows) {
  Result result;
  for (const auto& child : setup.children) {
    auto next = run_composition(site, child, result ? result->o : h, rows);
    if (next) result = std::move(next);
  }
  return result;
}

Result run_average(const SiteInput& site, const Composition& setup, const at::Tensor& h, const RowLayout& rows) {
  std::vector<Partial> parts;
  for (const auto& child : setup.children) {
    parts.push_back(run_composition(site, child, h, rows).value_or(Partial{h}));
  }
  const bool norm_after = parts.front().norm_after;
  const bool alike =
      std::all_of(parts.begin(), parts.end(), [&](const Partial& part) { return part.norm_after == norm_after; });
  at::Tensor sum;
  for (size_t i = 0; i < parts.size(); ++i) {
    auto value = (alike ? parts[i].o : finished(site, parts[i])) * setup.weights[i];
    sum = sum.defined() ? sum + value : value;
  }
  return Partial{sum, alike && norm_after};
}

// One child's tokens of every row.
struct Piece {
  at::Tensor tokens;  // their numbers
  SiteInput site;
  Partial part;
};

Result run_split(const SiteInput& site, const Composition& setup, const at::Tensor& h, const RowLayout& rows) {
  std::vector<Piece> pieces;
  for (const auto& own : split_tokens(setup, rows, h.device())) {
    const auto tokens = site.tokens.defined() ? site.tokens.index_select(0, own.tokens) : own.tokens;
    const SiteInput piece{site.site,
                          site.r.index_select(0, own.tokens),
                          site.norm,
                          site.context,
                          site.first_token,
                          tokens,
                          site.read.defined() ? site.read.index_select(0, own.tokens) : site.read};
    auto part_h = h.index_select(0, own.tokens);
    auto part = run_composition(piece, *own.child, part_h, own.rows).value_or(Partial{part_h});
    pieces.push_back({own.tokens, piece, part});
  }
  const bool norm_after = pieces.front().part.norm_after;
  const bool alike = std::all_of(pieces.begin(), pieces.end(),
                                 [&](const Piece& piece) { return piece.part.norm_after == norm_after; });
  std::vector<at::Tensor> values, places;
  for (const auto& piece : pieces) {
    values.push_back(alike ? piece.part.o : finished(piece.site, piece.part));
    places.push_back(piece.tokens);
  }
  return Partial{at::cat(values).index_select(0, at::cat(places).argsort()), alike && norm_after};
}

}  // namespace

Result run_composition(const SiteInput& site, const Composition& setup, const at::Tensor& h, const RowLayout& rows) {
  if (!site.site.has_any(setup)) return std::nullopt;
  switch (setup.kind) {
    case Kind::none:
      return std::nullopt;
    case Kind::adapter: {
      auto* adapter = site.site.at(setup.index);
      return Partial{adapter->forward(h, site.residual_of(*adapter), site.norm, site.context.with(rows)),
                     adapter->config().original_ln_after};
    }
    case Kind::stack:
      return run_stack(site, setup, h, rows);
    case Kind::average:
      return run_average(site, setup, h, rows);
    case Kind::split:
      return run_split(site, setup, h, rows);
    case Kind::fuse:
      return fuse(site, setup, h, rows);
  }
  return std::nullopt;
}

at::Tensor compose(const SiteInput& site, const Composition& setup, const at::Tensor& h, const RowLayout& rows) {
  return finished(site, run_composition(site, setup, h, rows).value_or(Partial{h}));
}

}  // namespace ta
