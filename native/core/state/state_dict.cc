#include "core/state/state_dict.h"

#include "core/error.h"

namespace ta {

StateDict::StateDict(std::initializer_list<Entry> entries) {
  for (const auto& [name, tensor] : entries) add(name, tensor);
}

void StateDict::add(std::string name, at::Tensor tensor) {
  if (!index_.emplace(name, entries_.size()).second) {
    fail(ErrorCode::state_dict, "collect weights", "the name '" + name + "' appears twice");
  }
  entries_.emplace_back(std::move(name), std::move(tensor));
}

const at::Tensor* StateDict::find(const std::string& name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &entries_[found->second].second;
}

const at::Tensor& StateDict::at(const std::string& name) const {
  if (const at::Tensor* tensor = find(name)) return *tensor;
  fail(ErrorCode::state_dict, "look up weights", "no tensor named '" + name + "'",
       {.got = empty() ? "no tensors at all" : text(size(), " tensors: ", name_list(names()))});
}

std::vector<std::string> StateDict::names() const {
  std::vector<std::string> names;
  names.reserve(size());
  for (const auto& entry : entries_) names.push_back(entry.first);
  return names;
}

uint64_t StateDict::bytes() const {
  uint64_t total = 0;
  for (const auto& entry : entries_) total += entry.second.nbytes();
  return total;
}

}  // namespace ta
