#pragma once
// What a pass computes of parameters alone, once, however many rows and layers read it. It lives as long as the pass:
// parameters may change between two of them. Gradients flow through what it holds, so a thread has one of its own.

#include <ATen/core/Tensor.h>

#include <functional>
#include <map>
#include <utility>
#include <vector>

namespace ta {

class PassMemo {
 public:
  /// Two addresses that tell what the value is made of.
  using Key = std::pair<const void*, const void*>;
  using Value = std::vector<at::Tensor>;

  const Value& of(const Key& key, const std::function<Value()>& make) {
    const auto found = values_.find(key);
    return found != values_.end() ? found->second : values_.emplace(key, make()).first->second;
  }

 private:
  std::map<Key, Value> values_;
};

}  // namespace ta
