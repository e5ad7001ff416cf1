#pragma once
// A tied weight of an archive is one tensor, of which each of its modules has a handle.

#include <ATen/core/Tensor.h>

#include <unordered_map>
#include <vector>

namespace ta {

/// What handles of one tensor have in common; of one that is not there yet, itself.
inline const void* identity_of(const at::Tensor* handle) {
  return handle->defined() ? static_cast<const void*>(handle->unsafeGetTensorImpl()) : handle;
}

class TensorHandles {
 public:
  void add(at::Tensor* handle) {
    const auto [found, is_new] = groups_of_.try_emplace(identity_of(handle), groups_.size());
    if (is_new) groups_.emplace_back();
    groups_[found->second].push_back(handle);
    group_of_.emplace(handle, found->second);
  }

  /// Gives another tensor to this handle and to all that had its tensor when they were added.
  void assign(const at::Tensor* handle, const at::Tensor& tensor) const {
    const at::Tensor given = tensor;  // may be what one of them holds
    for (auto* each : groups_[group_of_.at(handle)]) *each = given;
  }

 private:
  std::vector<std::vector<at::Tensor*>> groups_;
  std::unordered_map<const void*, size_t> groups_of_;
  std::unordered_map<const at::Tensor*, size_t> group_of_;
};

}  // namespace ta
