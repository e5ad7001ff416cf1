#include "core/surgery/average.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/linalg_qr.h>
#include <ATen/ops/linalg_svd.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <unordered_map>

#include "core/error.h"
#include "core/state/key_names.h"

namespace ta {

namespace {

using States = std::vector<std::unordered_map<std::string, NamedParameter>>;

at::Tensor doubled(const NamedParameter& named) {
  return named.parameter.value->detach().to(at::kDouble);
}

std::unordered_map<std::string, NamedParameter> by_name(const std::vector<NamedParameter>& state, const KeyOwner& from,
                                                        const std::string& to) {
  std::unordered_map<std::string, NamedParameter> result;
  for (const auto& named : state) result.emplace(rename_owner(named.name, from, to), named);
  return result;
}

// Every source's parameter of that name, in the order of the sources.
std::vector<NamedParameter> found(const std::string& operation, const NamedParameter& wanted, const States& states,
                                  const std::vector<AverageSource>& sources, bool any_rank) {
  std::vector<NamedParameter> result;
  for (size_t i = 0; i < sources.size(); ++i) {
    const auto at = states[i].find(wanted.name);
    if (at != states[i].end() && (any_rank || at->second.parameter.shape == wanted.parameter.shape)) {
      result.push_back(at->second);
      continue;
    }
    fail(ErrorCode::invalid_argument, operation, "'" + sources[i].name + "' has nothing like " + wanted.name,
         {.expected = text("a parameter ", at::IntArrayRef(wanted.parameter.shape)),
          .hint = "Average adapters of one configuration"});
  }
  return result;
}

void check_same(const std::string& operation, const NamedParameter& wanted, const std::vector<NamedParameter>& own) {
  for (const auto& one : own) {
    if (at::equal(*one.parameter.value, *own[0].parameter.value)) continue;
    fail(ErrorCode::unsupported, operation, "the frozen values of " + wanted.name + " are not the same in all of them",
         {.expected = wanted.name.ends_with(".base") ? "ReFT adapters whose orthogonal projections start from one base"
                                                     : "VeRA adapters that share their two matrices",
          .hint = "What was trained beside other frozen values has no mean with it; give all of them one "
                  "init_weights_seed before training"});
  }
}

// On the diagonal of what an orthogonal weight is made of (orthogonal_weight.h) stand signs, which have no mean: what
// is no whole 1 or -1 would make the weight 0.
void keep_signs(const std::string& operation, const NamedParameter& wanted, const std::vector<NamedParameter>& own,
                at::Tensor& sum) {
  const auto signs = own[0].parameter.value->diagonal();
  for (const auto& one : own) {
    if (at::equal(one.parameter.value->diagonal(), signs)) continue;
    fail(ErrorCode::unsupported, operation, "the signs on the diagonal of " + wanted.name + " are not the same in all",
         {.expected = "orthogonal weights that were trained from one start",
          .hint = "Average ReFT adapters without orthogonality (noreft) instead"});
  }
  sum.diagonal().copy_(signs);
}

void write_sums(const std::string& operation, const std::vector<NamedParameter>& target, const States& states,
                const std::vector<AverageSource>& sources, AverageStrategy strategy) {
  for (const auto& wanted : target) {
    const auto own = found(operation, wanted, states, sources, false);
    if (own[0].parameter.value == wanted.parameter.value) continue;  // a decoder that is the word embedding
    if (wanted.parameter.fixed) {
      check_same(operation, wanted, own);
      wanted.parameter.value->copy_(*own[0].parameter.value);
      continue;
    }
    const bool positive = strategy == AverageStrategy::negate_b && wanted.name.ends_with(".lora_A");
    auto sum = at::zeros_like(doubled(wanted));
    for (size_t i = 0; i < own.size(); ++i)
      sum.add_(doubled(own[i]), positive ? std::abs(sources[i].weight) : sources[i].weight);
    if (wanted.name.ends_with(".parametrizations.weight.original")) keep_signs(operation, wanted, own, sum);
    wanted.parameter.value->copy_(sum);
  }
}

struct Factors {
  at::Tensor a, b;
};

// B A ≈ Σ wi si / s Bi Ai. The sum has at most the rank of all of them together, so its singular values are those of a
// small matrix between two orthonormal ones.
void write_factors(const Factors& target, const std::vector<Factors>& own, double scale,
                   const std::vector<AverageSource>& sources) {
  std::vector<at::Tensor> rows, columns;
  for (size_t i = 0; i < sources.size(); ++i) {
    rows.push_back(own[i].a);
    columns.push_back(own[i].b * (sources[i].weight * sources[i].scale / scale));
  }
  const auto [qb, rb] = at::linalg_qr(at::cat(columns, 1));
  const auto [qa, ra] = at::linalg_qr(at::cat(rows, 0).t());
  const auto [u, s, vh] = at::linalg_svd(at::matmul(rb, ra.t()), false);
  const int64_t rank = std::min<int64_t>(target.a.size(0), s.size(0));
  target.a.zero_();
  target.b.zero_();
  target.a.narrow(0, 0, rank).copy_(at::matmul(vh.narrow(0, 0, rank), qa.t()));
  target.b.narrow(1, 0, rank).copy_(at::matmul(qb, u.narrow(1, 0, rank) * s.narrow(0, 0, rank)));
}

// The i-th of the factors that stand side by side at a Linear of several matrices (merged_parts.h); elsewhere there is
// one.
Factors part_of(const at::Tensor& a, const at::Tensor& b, int64_t i) {
  const int64_t rank = b.size(1), rows = b.size(0) * rank / a.size(0);
  return {a.narrow(0, i * rank, rank), b.narrow(0, i * rows, rows)};
}

}  // namespace

void average_adapters(AdapterModel& model, const std::string& name, double scale,
                      const std::vector<AverageSource>& sources, AverageStrategy strategy) {
  const auto operation = "averageAdapter '" + name + "'";
  c10::NoGradGuard guard;
  auto target = model.adapter_state(name);
  States states;
  for (const auto& source : sources)
    states.push_back(by_name(model.adapter_state(source.name), {KeyOwner::Kind::adapter, source.name}, name));
  if (strategy != AverageStrategy::delta_w_svd) return write_sums(operation, target, states, sources, strategy);
  auto own = by_name(target, {KeyOwner::Kind::adapter, name}, name);
  for (auto& b : target) {
    if (!b.name.ends_with(".lora_B")) continue;
    const auto at_a = own.find(b.name.substr(0, b.name.size() - 1) + "A");
    if (at_a == own.end()) {
      fail(ErrorCode::unsupported, operation, b.name + " is no factor of a product",
           {.expected = "LoRA", .hint = "Use combineStrategy 'linear'"});
    }
    const auto& a = at_a->second;
    const auto own_a = found(operation, a, states, sources, true), own_b = found(operation, b, states, sources, true);
    const auto &target_a = *a.parameter.value, &target_b = *b.parameter.value;
    for (int64_t part = 0; part < target_a.size(0) / target_b.size(1); ++part) {
      std::vector<Factors> own_parts;
      for (size_t i = 0; i < sources.size(); ++i)
        own_parts.push_back(part_of(doubled(own_a[i]), doubled(own_b[i]), part));
      write_factors(part_of(target_a, target_b, part), own_parts, scale, sources);
    }
  }
}

void average_heads(AdapterModel& model, const std::string& name, const std::vector<AverageSource>& sources) {
  c10::NoGradGuard guard;
  States states;
  for (const auto& source : sources)
    states.push_back(by_name(model.head_state(source.name), {KeyOwner::Kind::head, source.name}, name));
  write_sums("averageHead '" + name + "'", model.head_state(name), states, sources, AverageStrategy::linear);
}

}  // namespace ta
