#include "core/models/initialise.h"

#include <ATen/ops/empty.h>
#include <c10/core/GradMode.h>

#include <cmath>

namespace ta {

namespace {

void sinusoidal(at::Tensor& value) {
  auto table = at::empty(value.sizes(), at::TensorOptions(at::kFloat));
  auto* at = table.mutable_data_ptr<float>();
  const int64_t size = value.size(1);
  for (int64_t i = 0; i < value.size(0); ++i)
    for (int64_t j = 0; j < size; ++j) {
      const double exponent = 2.0 * static_cast<double>(j / 2) / static_cast<double>(size);
      const double angle = static_cast<double>(i) / std::pow(10000.0, exponent);
      *at++ = static_cast<float>(j % 2 == 0 ? std::sin(angle) : std::cos(angle));
    }
  value.copy_(table);
}

}  // namespace

void initialise(const Parameter& parameter, double std, Random& random) {
  c10::NoGradGuard guard;
  auto& value = *parameter.value;
  switch (parameter.init) {
    case Init::normal:
      random.normal_(value, 0, parameter.constant == 0 ? std : std * parameter.constant);
      break;
    case Init::zeros:
      value.zero_();
      break;
    case Init::ones:
      value.fill_(1);
      break;
    case Init::constant:
      value.fill_(parameter.constant);
      break;
    case Init::sinusoidal:
      sinusoidal(value);
      break;
    case Init::embedding:
      random.normal_(value, 0, std);
      if (parameter.constant >= 0) value.select(0, static_cast<int64_t>(parameter.constant)).zero_();
      break;
  }
}

std::vector<std::string> initialise_missing(Module& module, const std::string& prefix, double std, Random& random,
                                            at::Device device, at::ScalarType trunk) {
  std::vector<std::string> names;
  module.visit_parameters(prefix, [&](const std::string& name, const Parameter& parameter) {
    if (parameter.value->defined()) return;
    *parameter.value = at::empty(parameter.shape, at::TensorOptions(at::kFloat).device(device));
    initialise(parameter, std, random);
    *parameter.value = parameter.value->to(parameter.type_in(trunk));
    names.push_back(name);
  });
  return names;
}

}  // namespace ta
