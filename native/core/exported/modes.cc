#include "core/exported/modes.h"

#include <ATen/autocast_mode.h>
#include <c10/core/GradMode.h>

namespace ta::exported {

Modes::Modes(at::DeviceType device) : device_(device), grad_(c10::GradMode::is_enabled()), grad_now_(grad_) {
  if (at::autocast::is_autocast_enabled(device)) autocast_before_ = at::autocast::get_autocast_dtype(device);
  autocast_ = autocast_before_;
}

Modes::~Modes() {
  if (grad_now_ != grad_) set_grad(grad_);
  if (autocast_ != autocast_before_) set_autocast(autocast_before_);
}

void Modes::set_grad(bool grad) {
  c10::GradMode::set_enabled(grad_now_ = grad);
}

// Copies of weights are not kept from one node to the next, as in an exported program of PyTorch's.
void Modes::set_autocast(std::optional<at::ScalarType> type) {
  if (type) at::autocast::set_autocast_dtype(device_, *type);
  at::autocast::set_autocast_cache_enabled(false);
  at::autocast::set_autocast_enabled(device_, type.has_value());
  autocast_ = type;
}

}  // namespace ta::exported
