#include "core/nn/random.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>

#include <cmath>
#include <mutex>

namespace ta {

Random::Random(uint64_t seed, at::Device device) {
  generator_ =
      device.is_cpu() ? at::detail::createCPUGenerator(seed) : at::globalContext().defaultGenerator(device).clone();
  std::lock_guard lock(generator_.mutex());
  generator_.set_current_seed(seed);
}

at::Tensor Random::state() {
  std::lock_guard lock(generator_.mutex());
  return generator_.get_state();
}

void Random::set_state(const at::Tensor& state) {
  std::lock_guard lock(generator_.mutex());
  generator_.set_state(state);
}

Random Random::fork() {
  auto seed = at::empty({1}, at::TensorOptions(at::kLong).device(generator_.device()));
  seed.random_(generator_);
  return Random(static_cast<uint64_t>(seed.item<int64_t>()), generator_.device());
}

template <class Draw>
at::Tensor& Random::fill(at::Tensor& tensor, Draw draw) {
  if (tensor.device() == generator_.device()) return draw(tensor);
  auto here = at::empty(tensor.sizes(), tensor.options().device(generator_.device()).requires_grad(false));
  return tensor.copy_(draw(here));
}

at::Tensor& Random::normal_(at::Tensor& tensor, double mean, double std) {
  return fill(tensor, [&](at::Tensor& x) -> at::Tensor& { return x.normal_(mean, std, generator_); });
}

at::Tensor& Random::uniform_(at::Tensor& tensor, double low, double high) {
  return fill(tensor, [&](at::Tensor& x) -> at::Tensor& { return x.uniform_(low, high, generator_); });
}

at::Tensor& Random::truncated_normal_(at::Tensor& tensor, double mean, double std, double low, double high) {
  auto cdf = [&](double x) { return (1.0 + std::erf((x - mean) / (std * std::sqrt(2.0)))) / 2.0; };
  return fill(tensor, [&](at::Tensor& x) -> at::Tensor& {
    x.uniform_(2 * cdf(low) - 1, 2 * cdf(high) - 1, generator_);
    return x.erfinv_().mul_(std * std::sqrt(2.0)).add_(mean).clamp_(low, high);
  });
}

at::Tensor Random::keep_mask(at::IntArrayRef shape, const at::TensorOptions& options, double p) {
  auto mask = at::empty(shape, options);
  if (p >= 1.0) return mask.zero_();
  return mask.bernoulli_(1.0 - p, generator_).mul_(1.0 / (1.0 - p));
}

at::Tensor dropout(const at::Tensor& x, double p, Random* random) {
  if (random == nullptr || p <= 0.0) return x;
  return x * random->keep_mask(x.sizes(), x.options().requires_grad(false), p);
}

}  // namespace ta
