#pragma once
// A node of the autograd graph whose backward pass is written by hand. What torch::autograd::Function offers for that
// keeps its values in a map by name and looks up the autograd kernel of every operator in between; a node has members
// and calls the operators themselves, which is a third of the time where tensors are small.

#include <ATen/core/LegacyTypeDispatch.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>

#include <memory>
#include <type_traits>

namespace ta {

/// While it lives, operators of this thread record nothing and skip autograd altogether.
using WithoutAutograd = at::AutoDispatchBelowADInplaceOrView;

/// True where a gradient must flow back through x.
inline bool needs_grad(const at::Tensor& x) {
  return c10::GradMode::is_enabled() && x.requires_grad();
}

/// One output; as many gradients as inputs were attached (or none, where all of them are parameters).
class BackwardNode : public torch::autograd::Node {
 public:
  using variable_list = torch::autograd::variable_list;

 protected:
  virtual variable_list backward(const at::Tensor& grad) = 0;

 private:
  variable_list apply(variable_list&& grads) final {
    const WithoutAutograd guard;
    if (!grads[0].defined()) return variable_list(next_edges().size());
    return backward(grads[0].contiguous());
  }
};

/// A new node, held as this libtorch's graph holds its own: by shared_ptr or (2.13) by intrusive_ptr.
template <class N>
auto make_node() {
  if constexpr (std::is_same_v<decltype(torch::autograd::Edge::function), std::shared_ptr<torch::autograd::Node>>) {
    return std::make_shared<N>();
  } else {
    return c10::make_intrusive<N>();
  }
}

/// y, made without autograd, as the node's output; gradients flow on to `inputs`.
template <class Pointer, class... Inputs>
at::Tensor attach(at::Tensor y, const Pointer& node, const Inputs&... inputs) {
  node->set_next_edges(torch::autograd::collect_next_edges(inputs...));
  torch::autograd::set_history(y, node);
  return y;
}

}  // namespace ta
