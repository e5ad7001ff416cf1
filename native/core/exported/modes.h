#pragma once
// What a node runs under: gradients, and torch.autocast. Both are the thread's; what it had before is its again behind.

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>

#include <optional>

namespace ta::exported {

class Modes {
 public:
  explicit Modes(at::DeviceType device);
  ~Modes();
  Modes(const Modes&) = delete;
  Modes& operator=(const Modes&) = delete;

  /// For what follows. Gradients are on at no node where the thread had them off.
  void set(bool no_grad, std::optional<at::ScalarType> autocast) {
    if (const bool grad = grad_ && !no_grad; grad != grad_now_) set_grad(grad);
    if (autocast != autocast_) set_autocast(autocast);
  }

 private:
  void set_grad(bool grad);
  void set_autocast(std::optional<at::ScalarType> type);

  at::DeviceType device_;
  bool grad_, grad_now_;
  std::optional<at::ScalarType> autocast_before_, autocast_;
};

}  // namespace ta::exported
