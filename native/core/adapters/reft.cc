#include "core/adapters/reft.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/index_copy.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/tensor.h>
#include <c10/core/GradMode.h>

#include <algorithm>

#include "core/error.h"
#include "core/nn/gradient.h"
#include "core/nn/linear_start.h"

namespace ta {

namespace {

using Kind = Composition::Kind;

at::Tensor numbers(const std::vector<int64_t>& values, at::Device device) {
  return at::tensor(values, at::TensorOptions(at::kLong)).to(device);
}

}  // namespace

ReftUnit::ReftUnit(const ReftConfig& config, int64_t hidden, int64_t rank)
    : source_(std::make_shared<Linear>(hidden, rank)),
      subtracts_(config.subtract_projection),
      dropout_(config.dropout) {
  child("learned_source", source_);
  if (config.orthogonality) {
    child("projection", orthogonal_ = std::make_shared<OrthogonalWeight>(rank, hidden));
  } else {
    child("projection", projection_ = std::make_shared<Linear>(hidden, rank, false));
  }
  if (!config.non_linearity) return;
  activation_ = std::make_shared<Activation>(*config.non_linearity);
  auto non_linearity = std::make_shared<Container>("Activation_Function_Class");
  non_linearity->add("f", activation_);
  child("non_linearity", non_linearity);
}

at::Tensor ReftUnit::forward(const at::Tensor& x, Random* random) const {
  const auto r = orthogonal_ ? orthogonal_->value() : tracked(projection_->weight);
  auto source = source_->forward(x);
  if (activation_) source = activation_->forward(source);
  if (subtracts_) source = source - at::matmul(x, r.t());
  return dropout(x + at::matmul(source, r), dropout_, random);
}

void ReftUnit::initialise(Random& random) {
  start_as_pytorch(*source_, random);
  if (activation_)
    activation_->visit_parameters("", [](const std::string&, const Parameter& p) { p.value->fill_(p.constant); });
  if (projection_) {
    start_as_pytorch(*projection_, random);
    return;
  }
  const auto& like = source_->weight;
  Linear start(like.size(1), like.size(0), false);
  start.weight = at::empty_like(like);
  start_as_pytorch(start, random);
  orthogonal_->start_with(start.weight, random);
}

ReftModule::ReftModule(const ReftConfig& config, int64_t hidden, int64_t rank)
    : first_(config.prefix_positions), last_(config.suffix_positions) {
  auto list = std::make_shared<Container>("ModuleList");
  for (int i = 0; i < (config.tied_weights ? 1 : 2); ++i) {
    units_.push_back(std::make_shared<ReftUnit>(config, hidden, rank));
    list->add(std::to_string(i), units_.back());
  }
  child("units", list);
}

void ReftModule::initialise(Random& random) {
  const c10::NoGradGuard guard;
  for (const auto& unit : units_) unit->initialise(random);
}

at::Tensor ReftModule::forward(const at::Tensor& x, const RowLayout& rows, Random* random) const {
  std::vector<int64_t> first, last;
  for (int64_t row = 0; row < rows.rows(); ++row) {
    const int64_t begin = rows.starts()[row], end = rows.starts()[row + 1];
    const int64_t last_begin = std::max(begin, end - last_);
    for (int64_t token = begin; token < std::min(begin + first_, last_begin); ++token) first.push_back(token);
    for (int64_t token = last_begin; token < end; ++token) last.push_back(token);
  }
  std::vector<at::Tensor> places, values;
  auto change = [&](const ReftUnit& unit, const std::vector<int64_t>& tokens) {
    if (tokens.empty()) return;
    places.push_back(numbers(tokens, x.device()));
    values.push_back(unit.forward(x.index_select(0, places.back()), random));
  };
  if (units_.size() == 1) {
    first.insert(first.end(), last.begin(), last.end());
    change(*units_[0], first);
  } else {
    change(*units_[0], first);
    change(*units_[1], last);
  }
  return places.empty() ? x : at::index_copy(x, 0, at::cat(places), at::cat(values));
}

at::Tensor ReftPlace::forward(const at::Tensor& x, const ForwardContext& context) const {
  if (context.segments == nullptr || children().empty()) return x;
  const auto& segments = *context.segments;
  const auto& layout = *context.layout;
  if (std::none_of(segments.begin(), segments.end(),
                   [&](const RowSegment& segment) { return segment.setup && has_any(*segment.setup); }))
    return x;
  if (segments.size() == 1) return run(*segments[0].setup, x, layout, context.random);
  std::vector<at::Tensor> parts;
  for (const auto& [first, last, setup] : segments) {
    const int64_t begin = layout.starts()[first];
    auto own = x.narrow(0, begin, layout.starts()[last] - begin);
    parts.push_back(setup ? run(*setup, own, layout.rows(first, last), context.random) : own);
  }
  return at::cat(parts);
}

at::Tensor ReftPlace::run(const Composition& setup, const at::Tensor& x, const RowLayout& rows, Random* random) const {
  if (!has_any(setup)) return x;
  switch (setup.kind) {
    case Kind::adapter:
      return static_cast<const ReftModule&>(*module(setup.index)).forward(x, rows, random);
    case Kind::stack: {
      auto y = x;
      for (const auto& child : setup.children) y = run(child, y, rows, random);
      return y;
    }
    case Kind::average: {
      at::Tensor sum;
      for (size_t i = 0; i < setup.children.size(); ++i) {
        auto part = run(setup.children[i], x, rows, random) * setup.weights[i];
        sum = sum.defined() ? sum + part : part;
      }
      return sum;
    }
    default:
      fail(
          ErrorCode::unsupported, setup.kind == Kind::fuse ? "Fuse" : "Split",
          "it has no meaning for ReFT, which changes the first and last tokens of a row",
          {.expected = "ReFT alone, in a Stack or in an Average", .hint = "Rows may have setups of their own instead"});
  }
}

std::shared_ptr<Container> reft_layer(const std::shared_ptr<ReftPlace>& place) {
  auto layer = std::make_shared<Container>("ReftLayer");
  layer->add("refts", place);
  return layer;
}

}  // namespace ta
