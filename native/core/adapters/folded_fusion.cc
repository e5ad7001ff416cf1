#include "core/adapters/folded_fusion.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/mv.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/stack.h>

#include <algorithm>

#include "core/adapters/kept_values.h"
#include "core/nn/gemm.h"

namespace ta {

namespace {

using Stamp = ParameterStamp;

constexpr size_t kMostForms = 4;

std::vector<Stamp> stamps_of(const FusionWeights& weights, const std::vector<const Bottleneck*>& adapters) {
  std::vector<Stamp> stamps;
  const auto add = [&](const Linear* linear) {
    if (linear == nullptr) return;
    stamps.emplace_back(linear->weight);
    if (linear->bias.defined()) stamps.emplace_back(linear->bias);
  };
  for (const auto* linear : {weights.query, weights.key, weights.value}) add(linear);
  for (const auto* adapter : adapters) add(adapter->down.get()), add(adapter->up.get());
  return stamps;
}

}  // namespace

FoldedFusion::FoldedFusion(const FusionWeights& weights, const std::vector<const Bottleneck*>& adapters)
    : activation_(adapters.front()->activation) {
  const auto& [query, key, value] = weights;
  std::vector<at::Tensor> down, down_bias, up, up_bias;
  for (const auto* adapter : adapters) {
    const double s = adapter->config().scaling_value;
    sizes_.push_back(adapter->down->weight.size(0));
    down.push_back(adapter->down->weight);
    down_bias.push_back(adapter->down->bias);
    up.push_back(adapter->up->weight * s);
    up_bias.push_back(adapter->up->bias * s);
  }
  down_ = at::cat(down);
  down_bias_ = at::cat(down_bias);
  const auto ups = at::cat({at::cat(up, 1), at::stack(up_bias, 1)}, 1);  // [hidden, R + N]
  auto read = ups.t();
  if (key) read = at::matmul(read, key->weight.t());
  score_bias_ = query ? at::mv(read, query->bias) : at::Tensor();
  score_ = (query ? at::matmul(read, query->weight) : read).contiguous();
  value_ = value ? at::matmul(value->weight, ups) : ups;
}

at::Tensor FoldedFusion::forward(const at::Tensor& q, const at::Tensor& x, double temperature,
                                 at::Tensor* scores) const {
  const int64_t n = x.size(0), all = down_.size(0), count = static_cast<int64_t>(sizes_.size());
  const auto z = activation_->forward(affine(x, down_, down_bias_));
  const auto read = affine(q, score_, score_bias_);  // [n, R + N]
  const bool alike = all == count * sizes_.front();
  const auto by_adapter = [&](const at::Tensor& values, int64_t from, size_t i) {
    return values.narrow(1, from, sizes_[i]);
  };
  const auto product = z * read.narrow(1, 0, all);
  at::Tensor s;
  if (alike) {
    s = product.view({n, count, sizes_.front()}).sum(-1);
  } else {
    std::vector<at::Tensor> sums;
    for (size_t i = 0, from = 0; i < sizes_.size(); from += sizes_[i++])
      sums.push_back(by_adapter(product, static_cast<int64_t>(from), i).sum(-1));
    s = at::stack(sums, 1);
  }
  s = s + read.narrow(1, all, count);
  const auto p = at::softmax(temperature == 1 ? s : s / temperature, -1);
  if (scores != nullptr) *scores = p;
  at::Tensor weighted;
  if (alike) {
    weighted = (z.view({n, count, sizes_.front()}) * p.unsqueeze(2)).view({n, all});
  } else {
    std::vector<at::Tensor> parts;
    for (size_t i = 0, from = 0; i < sizes_.size(); from += sizes_[i++])
      parts.push_back(by_adapter(z, static_cast<int64_t>(from), i) * p.narrow(1, static_cast<int64_t>(i), 1));
    weighted = at::cat(parts, 1);
  }
  return affine(at::cat({weighted, p}, 1), value_, {});
}

struct FoldedFusions::Made {
  std::vector<Stamp> stamps;
  std::shared_ptr<const FoldedFusion> form;
};

std::shared_ptr<const FoldedFusion> FoldedFusions::of(const FusionWeights& weights,
                                                      const std::vector<const Bottleneck*>& adapters) {
  auto stamps = stamps_of(weights, adapters);
  // Another thread that comes meanwhile waits for the form instead of making it, too.
  const std::lock_guard lock(mutex_);
  const auto found = std::find_if(made_.begin(), made_.end(), [&](const auto& one) { return one->stamps == stamps; });
  if (found != made_.end()) return (*found)->form;
  auto form = std::make_shared<const FoldedFusion>(weights, adapters);
  if (made_.size() == kMostForms) made_.erase(made_.begin());
  made_.push_back(std::make_shared<Made>(Made{std::move(stamps), form}));
  return form;
}

}  // namespace ta
