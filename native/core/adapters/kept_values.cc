#include "core/adapters/kept_values.h"

#include <c10/core/GradMode.h>

namespace ta {

KeptValues::Value KeptValues::of(const std::vector<at::Tensor>& parameters, const std::function<Value()>& make) {
  std::vector<ParameterStamp> stamps;
  for (const auto& parameter : parameters) {
    if (!parameter.defined()) continue;
    if (parameter.requires_grad() && c10::GradMode::is_enabled()) return make();
    stamps.emplace_back(parameter);
  }
  const std::lock_guard lock(mutex_);
  if (value_.empty() || stamps_ != stamps) {
    value_ = make();
    stamps_ = std::move(stamps);
  }
  return value_;
}

}  // namespace ta
