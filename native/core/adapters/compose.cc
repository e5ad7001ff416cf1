#include "core/adapters/compose.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>

#include <algorithm>

#include "core/adapters/fuse.h"
#include "core/error.h"

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

void check_split(const Composition& setup, const RowLayout& rows) {
  int64_t wanted = 0;
  for (int64_t size : setup.sizes) wanted += size;
  for (int64_t row = 0; row < rows.rows(); ++row) {
    if (rows.length(row) == wanted) continue;
    fail(ErrorCode::out_of_range, "Split", "the splits do not add up to a row's tokens",
         {.expected = text("rows of ", wanted, " tokens, special tokens included"),
          .got = text("a row of ", rows.length(row))});
  }
}

Result run_split(const SiteInput& site, const Composition& setup, const at::Tensor& h, const RowLayout& rows) {
  check_split(setup, rows);
  std::vector<Piece> pieces;
  int64_t offset = 0;
  for (size_t i = 0; i < setup.children.size(); offset += setup.sizes[i++]) {
    const int64_t size = setup.sizes[i];
    if (size == 0) continue;
    std::vector<int64_t> tokens;
    for (int64_t row = 0; row < rows.rows(); ++row)
      for (int64_t t = 0; t < size; ++t) tokens.push_back(rows.starts()[row] + offset + t);
    auto index = at::tensor(tokens, at::TensorOptions(at::kLong)).to(h.device());
    const SiteInput piece{site.site, site.r.index_select(0, index), site.norm, site.random};
    auto part_h = h.index_select(0, index);
    const RowLayout part_rows(std::vector<int64_t>(rows.rows(), size));
    auto part = run_composition(piece, setup.children[i], part_h, part_rows).value_or(Partial{part_h});
    pieces.push_back({index, piece, part});
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
      return Partial{adapter->forward(h, site.r, site.norm, rows, site.random), adapter->config().original_ln_after};
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
