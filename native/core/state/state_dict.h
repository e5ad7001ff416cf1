// Names and tensors in the order of a file or a model: what PyTorch calls a state dict.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace ta {

class StateDict {
 public:
  using Entry = std::pair<std::string, at::Tensor>;

  StateDict() = default;
  StateDict(std::initializer_list<Entry> entries);

  // A name that is there already is ERR_STATE_DICT: which of the two would count is anyone's guess.
  void add(std::string name, at::Tensor tensor);

  // Null when there is none of that name.
  const at::Tensor* find(const std::string& name) const;
  bool contains(const std::string& name) const { return find(name) != nullptr; }
  // Fails with ERR_STATE_DICT, naming it, when there is none.
  const at::Tensor& at(const std::string& name) const;

  std::size_t size() const { return entries_.size(); }
  bool empty() const { return entries_.empty(); }
  auto begin() const { return entries_.begin(); }
  auto end() const { return entries_.end(); }
  std::vector<std::string> names() const;
  // Sum of the tensors' elements, shared ones counted as often as they are named.
  uint64_t bytes() const;

  // The same tensors under other names; `rename` takes a name and gives the new one.
  template <class Rename>
  StateDict renamed(Rename rename) const {
    StateDict result;
    for (const auto& [name, tensor] : entries_) result.add(std::string(rename(name)), tensor);
    return result;
  }

 private:
  std::vector<Entry> entries_;
  std::unordered_map<std::string, std::size_t> index_;
};

}  // namespace ta
