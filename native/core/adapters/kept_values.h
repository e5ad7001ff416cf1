#pragma once
// What passes compute of parameters alone, kept from one to the next while the parameters stand still, so that rows of
// many adapters do not pay for it many times in each. What learns makes it anew.

#include <ATen/core/Tensor.h>
#include <c10/util/intrusive_ptr.h>

#include <functional>
#include <mutex>
#include <vector>

namespace ta {

/// A parameter as it was: the same tensor, not written to since. It does not keep the values alive, and while it is
/// there no other tensor takes the address.
struct ParameterStamp {
  c10::weak_intrusive_ptr<c10::TensorImpl> tensor;
  int64_t version;

  explicit ParameterStamp(const at::Tensor& parameter)
      : tensor(parameter.getIntrusivePtr()), version(static_cast<int64_t>(parameter._version())) {}
  bool operator==(const ParameterStamp& other) const { return tensor == other.tensor && version == other.version; }
};

class KeptValues {
 public:
  using Value = std::vector<at::Tensor>;

  /// What `make` makes of these parameters; undefined ones count for nothing. Made for this call alone where a gradient
  /// goes through it. Thread-safe: another thread that comes meanwhile waits.
  Value of(const std::vector<at::Tensor>& parameters, const std::function<Value()>& make);

 private:
  std::mutex mutex_;
  std::vector<ParameterStamp> stamps_;
  Value value_;
};

}  // namespace ta
