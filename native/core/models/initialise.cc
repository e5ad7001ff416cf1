#include "core/models/initialise.h"

#include <ATen/ops/empty.h>
#include <c10/core/GradMode.h>

namespace ta {

void initialise(const Parameter& parameter, double std, Random& random) {
  c10::NoGradGuard guard;
  auto& value = *parameter.value;
  switch (parameter.init) {
    case Init::normal:
      random.normal_(value, 0, std);
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
    case Init::embedding:
      random.normal_(value, 0, std);
      if (parameter.constant >= 0) value.select(0, static_cast<int64_t>(parameter.constant)).zero_();
      break;
  }
}

std::vector<std::string> initialise_missing(Module& module, const std::string& prefix, double std, Random& random,
                                            at::Device device) {
  std::vector<std::string> names;
  module.visit_parameters(prefix, [&](const std::string& name, const Parameter& parameter) {
    if (parameter.value->defined()) return;
    *parameter.value = at::empty(parameter.shape, at::TensorOptions(at::kFloat).device(device));
    initialise(parameter, std, random);
    names.push_back(name);
  });
  return names;
}

}  // namespace ta
