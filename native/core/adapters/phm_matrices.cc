#include "core/adapters/phm_matrices.h"

#include <ATen/ops/bmm.h>

#include <cmath>

#include "core/nn/gradient.h"

namespace ta {

void PhmMatrices::describe(const std::string& name, int64_t n, int64_t rows, int64_t columns, int64_t rank, bool fixed,
                           const std::function<void(Parameter, at::Tensor&)>& add) {
  const auto one = [&](const char* end, int64_t high, int64_t wide, at::Tensor& value) {
    add({.name = name + end, .shape = {n, high, wide}, .decay = true, .fixed = fixed}, value);
  };
  if (rank == 0) return one("", rows, columns, whole);
  one("_left", rows, rank, left);
  one("_right", rank, columns, right);
}

at::Tensor PhmMatrices::product() const {
  return whole.defined() ? tracked(whole) : at::bmm(tracked(left), tracked(right));
}

void PhmMatrices::each(const std::function<void(at::Tensor&)>& visit) {
  for (auto* tensor : {&whole, &left, &right})
    if (tensor->defined()) visit(*tensor);
}

void initialise_weights(PhmMatrices& w, const BottleneckConfig& config, bool is_up, Random& random) {
  w.each([&](at::Tensor& tensor) {
    // Glorot and Bengio 2010, of each of the n matrices.
    const double spread = std::sqrt(2.0 / static_cast<double>(tensor.size(1) + tensor.size(2)));
    if (config.init_weights == AdapterInit::houlsby) {
      random.truncated_normal_(tensor, 0, 0.01, -0.02, 0.02);
    } else if (config.phm->w_init == PhmWeightInit::glorot_uniform) {
      random.uniform_(tensor, -std::sqrt(3.0) * spread, std::sqrt(3.0) * spread);
    } else {
      random.normal_(tensor, 0, config.phm->w_init == PhmWeightInit::normal ? config.phm->init_range : spread);
    }
  });
  const bool starts_at_zero =
      config.init_weights == AdapterInit::mam_adapter || config.init_weights == AdapterInit::zeros;
  if (is_up && starts_at_zero) (w.whole.defined() ? w.whole : w.right).zero_();
}

void initialise_rule(PhmMatrices& c, const PhmConfig& config, double std, double bound, Random& random) {
  c.each([&](at::Tensor& tensor) {
    if (config.uniform_rule) {
      random.uniform_(tensor, -bound, bound);
    } else {
      random.normal_(tensor, 0, std);
    }
  });
}

}  // namespace ta
