#include "core/models/unplaced_weights.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>

#include "core/state/key_names.h"

namespace ta {

namespace {

// Ones, or zeros: as good as any other tensor that has not learned.
bool is_constant(const at::Tensor& tensor) {
  return tensor.numel() < 2 || tensor.eq(tensor.flatten()[0]).all().item<bool>();
}

bool is_same(const at::Tensor& one, const at::Tensor& other) {
  if (one.sizes() != other.sizes() || one.scalar_type() != other.scalar_type()) return false;
  if (one.const_data_ptr() == other.const_data_ptr() && one.strides() == other.strides()) return true;
  return at::equal(one, other) && !is_constant(one);
}

}  // namespace

std::vector<std::string> unplaced_weights(const StateDict& weights, const std::string& prefix,
                                          const std::unordered_set<std::string>& known) {
  const auto has_place = [&](const std::string& name) {
    return known.contains(strip_base_prefix(modern_key(name), prefix));
  };
  std::vector<const at::Tensor*> placed;
  for (const auto& [name, tensor] : weights)
    if (has_place(name)) placed.push_back(&tensor);
  const auto is_tied = [&](const at::Tensor& tensor) {
    for (const auto* one : placed)
      if (is_same(*one, tensor)) return true;
    return false;
  };
  std::vector<std::string> unplaced;
  for (const auto& [name, tensor] : weights)
    if (!has_place(name) && tensor.is_floating_point() && !is_tied(tensor)) unplaced.push_back(name);
  return unplaced;
}

}  // namespace ta
