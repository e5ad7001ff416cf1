#include "core/adapters/lora_place.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <unordered_map>

#include "core/adapters/split.h"
#include "core/error.h"

namespace ta {

namespace {

using Kind = Composition::Kind;

}  // namespace

bool LoraPlace::acts(const ForwardContext& context) const {
  return reaches(context);
}

bool LoraPlace::reads_whole_rows(const Composition& setup) const {
  bool reads = false;
  setup.visit([&](const Composition& part) {
    const auto* module = part.kind == Kind::adapter ? at(part.index) : nullptr;
    reads = reads || (module != nullptr && module->needs_all_tokens()) || (part.kind == Kind::split && has_any(part));
  });
  return reads;
}

// What cannot run here, before anything does.
void LoraPlace::check(const Composition& setup) const {
  setup.visit([&](const Composition& part) {
    if (part.kind == Kind::fuse && has_any(part)) {
      fail(ErrorCode::unsupported, "Fuse", "AdapterFusion has no meaning for LoRA, IA³ and their kin",
           {.expected = "bottleneck adapters", .hint = "Put them together with Stack or Average"});
    }
    if (part.kind == Kind::adapter && merged_ >= 0 && part.index == merged_) {
      fail(ErrorCode::invalid_argument, "forward", "'" + name_of(merged_) + "' is merged into the base model",
           {.expected = "a setup without it: every row passes through it already",
            .hint = "Call resetAdapter() to take it out again"});
    }
  });
}

// Adds what the setup adds to y, as long as that is all it does. `tokens` says for which tokens.
bool LoraPlace::add_terms(const Composition& setup, double factor, const LoraTerm& tokens, Random* random,
                          std::vector<LoraTerm>& terms) const {
  if (!has_any(setup)) return true;
  switch (setup.kind) {
    case Kind::adapter: {
      const auto* module = at(setup.index);
      auto low = module->only_scales(random) ? std::nullopt : module->added(random);
      if (!low) return false;
      low->scale *= factor;
      terms.push_back({std::move(*low), tokens.begin, tokens.count});
      return true;
    }
    case Kind::stack:
      return std::all_of(setup.children.begin(), setup.children.end(),
                         [&](const Composition& child) { return add_terms(child, factor, tokens, random, terms); });
    case Kind::average: {
      for (size_t i = 0; i < setup.children.size(); ++i)
        if (!add_terms(setup.children[i], factor * setup.weights[i], tokens, random, terms)) return false;
      return true;
    }
    default:
      return false;
  }
}

at::Tensor LoraPlace::forward(const at::Tensor& x, const ForwardContext& context) {
  const auto& layout = *context.layout;
  const auto& segments = *context.segments;
  std::vector<LoraTerm> terms;
  std::vector<const LoraModule*> scaling(segments.size());
  std::vector<bool> acts(segments.size());  // on the Linear's value, in a way of its own
  for (size_t i = 0; i < segments.size(); ++i) {
    const auto& [first, last, setup] = segments[i];
    if (!setup || !has_any(*setup)) continue;
    check(*setup);
    const int64_t begin = layout.starts()[first], count = layout.starts()[last] - begin;
    const size_t before = terms.size();
    if (add_terms(*setup, 1, {{}, begin, count}, context.random, terms)) continue;
    terms.resize(before);
    const auto* module = setup->kind == Kind::adapter ? at(setup->index) : nullptr;
    acts[i] = module == nullptr || !module->only_scales(context.random);
    if (acts[i]) continue;
    scaling[i] = module;
    if (auto low = module->added(context.random)) terms.push_back({std::move(*low), begin, count});
  }
  const auto y = scaled(terms.empty() ? linear_.forward(x) : lora_linear(x, now(), terms), scaling, context);
  if (std::none_of(acts.begin(), acts.end(), [](bool acts) { return acts; })) return y;
  std::vector<at::Tensor> parts;
  for (size_t i = 0; i < segments.size(); ++i) {
    const auto& [first, last, setup] = segments[i];
    const int64_t begin = layout.starts()[first], count = layout.starts()[last] - begin;
    const auto rows = layout.rows(first, last);
    const auto own = y.narrow(0, begin, count);
    parts.push_back(acts[i] ? apply(*setup, own, {x.narrow(0, begin, count), rows, context.random}) : own);
  }
  return parts.size() == 1 ? parts[0] : at::cat(parts);
}

// Each segment's outputs by its module's factors; none: as they are.
at::Tensor LoraPlace::scaled(const at::Tensor& y, const std::vector<const LoraModule*>& modules,
                             const ForwardContext& context) const {
  const auto is_there = [](const LoraModule* module) { return module != nullptr; };
  if (std::none_of(modules.begin(), modules.end(), is_there)) return y;
  const auto linear = base();
  if (modules.size() == 1 && at::GradMode::is_enabled()) return modules[0]->scaling(linear).of(y);
  std::unordered_map<const LoraModule*, OutputScaling> scalings;
  for (const auto* module : modules)
    if (module != nullptr && !scalings.contains(module)) scalings.emplace(module, module->scaling(linear));
  const auto& starts = context.layout->starts();
  if (!at::GradMode::is_enabled()) {
    // The Linear's value is nobody else's.
    for (size_t i = 0; i < modules.size(); ++i) {
      if (modules[i] == nullptr) continue;
      const auto& [first, last, setup] = (*context.segments)[i];
      const auto& [factor, shift] = scalings.at(modules[i]);
      auto own = y.narrow(0, starts[first], starts[last] - starts[first]).mul_(factor);
      if (shift.defined()) own.add_(shift);
    }
    return y;
  }
  // A row of factors and shifts for each module, the first one for none.
  const auto ones = at::ones({y.size(1)}, y.options()), zeros = at::zeros_like(ones);
  std::vector<at::Tensor> factors{ones}, shifts{zeros};
  std::unordered_map<const LoraModule*, int64_t> place{{nullptr, 0}};
  for (const auto& [module, scaling] : scalings) {
    place.emplace(module, static_cast<int64_t>(factors.size()));
    factors.push_back(scaling.factor);
    shifts.push_back(scaling.shift.defined() ? scaling.shift : zeros);
  }
  std::vector<int64_t> rows;
  rows.reserve(y.size(0));
  for (size_t i = 0; i < modules.size(); ++i) {
    const auto& [first, last, setup] = (*context.segments)[i];
    rows.insert(rows.end(), starts[last] - starts[first], place.at(modules[i]));
  }
  const auto index = at::tensor(rows, at::kLong).to(y.device());
  const auto value = y * at::stack(factors).index_select(0, index);
  const bool shifted =
      std::any_of(scalings.begin(), scalings.end(), [](const auto& one) { return one.second.shift.defined(); });
  return shifted ? value + at::stack(shifts).index_select(0, index) : value;
}

at::Tensor LoraPlace::on_whole(const at::Tensor& y, const at::Tensor& x, const ForwardContext& context) const {
  const auto& layout = *context.layout;
  std::vector<at::Tensor> parts;
  for (const auto& [first, last, setup] : *context.segments) {
    const int64_t begin = layout.starts()[first], count = layout.starts()[last] - begin;
    const auto rows = layout.rows(first, last);
    const auto own = y.narrow(0, begin, count);
    if (setup) check(*setup);
    parts.push_back(setup ? apply(*setup, own, {x.narrow(0, begin, count), rows, context.random}) : own);
  }
  return at::cat(parts);
}

at::Tensor LoraPlace::apply(const Composition& setup, const at::Tensor& y, const Tokens& tokens) const {
  if (!has_any(setup)) return y;
  switch (setup.kind) {
    case Kind::adapter:
      return at(setup.index)->apply(y, tokens.x, base(), tokens.rows, tokens.random);
    case Kind::stack: {
      auto value = y;
      for (const auto& child : setup.children) value = apply(child, value, tokens);
      return value;
    }
    case Kind::average:
      return average(setup, y, tokens);
    case Kind::split:
      return split(setup, y, tokens);
    default:
      return y;
  }
}

// Whether all that stands here scales y.
bool LoraPlace::only_scales(const Composition& setup) const {
  bool scales = true;
  setup.visit([&](const Composition& part) {
    if (part.kind == Kind::adapter && at(part.index) != nullptr) scales = scales && at(part.index)->scales();
  });
  return scales;
}

at::Tensor LoraPlace::average(const Composition& setup, const at::Tensor& y, const Tokens& tokens) const {
  at::Tensor sum;
  for (size_t i = 0; i < setup.children.size(); ++i) {
    auto part = apply(setup.children[i], y, tokens) * setup.weights[i];
    sum = sum.defined() ? sum + part : part;
  }
  const double rest = 1 - std::accumulate(setup.weights.begin(), setup.weights.end(), 0.0);
  return std::abs(rest) < 1e-12 || only_scales(setup) ? sum : sum + y * rest;
}

at::Tensor LoraPlace::split(const Composition& setup, const at::Tensor& y, const Tokens& tokens) const {
  std::vector<at::Tensor> values, places;
  for (const auto& part : split_tokens(setup, tokens.rows, y.device())) {
    const Tokens own{tokens.x.index_select(0, part.tokens), part.rows, tokens.random};
    values.push_back(apply(*part.child, y.index_select(0, part.tokens), own));
    places.push_back(part.tokens);
  }
  return at::cat(values).index_select(0, at::cat(places).argsort());
}

void LoraPlace::merge(int64_t index) {
  c10::NoGradGuard guard;
  original_ = now();
  auto merged = at(index)->merged(original_);
  linear_.weight = linear_.transposed() ? merged.weight.t().contiguous() : std::move(merged.weight);
  linear_.bias = std::move(merged.bias);
  merged_ = index;
}

void LoraPlace::reset() {
  if (merged_ < 0) return;
  linear_.weight = std::move(original_.weight);
  linear_.bias = std::move(original_.bias);
  original_ = {};
  merged_ = -1;
}

bool LoraPlace::holds(const at::Tensor* tensor) const {
  return merged_ >= 0 && (tensor == &linear_.weight || tensor == &linear_.bias);
}

std::shared_ptr<Linear> lora_ready_linear(int64_t in, int64_t out, bool with_bias) {
  return lora_ready(std::make_shared<Linear>(in, out, with_bias));
}

namespace {

// Surgery may have put the Linear inside of something, such as a Sequential: its place stands with it.
LoraPlace* place_below(const Module& module) {
  for (const auto& child : module.children()) {
    if (auto* place = dynamic_cast<LoraPlace*>(child.module.get())) return place;
    if (auto* place = place_below(*child.module)) return place;
  }
  return nullptr;
}

}  // namespace

LoraPlace* lora_place(const Slot& slot) {
  return place_below(*slot.layer);
}

}  // namespace ta
