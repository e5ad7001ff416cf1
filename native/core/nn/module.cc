#include "core/nn/module.h"

#include <algorithm>
#include <utility>

#include "core/error.h"

namespace ta {

namespace {
// A child without a name has no place in names: what is below it is called as its parent's own.
std::string join(const std::string& prefix, const std::string& name) {
  if (prefix.empty() || name.empty()) return prefix + name;
  return prefix + "." + name;
}
}  // namespace

at::Tensor Slot::operator()(const at::Tensor& x, const ForwardContext& context) const {
  return layer->forward(x, context);
}

void Module::parameter(Parameter description, at::Tensor& value) {
  description.value = &value;
  parameters_.push_back(std::move(description));
}

void Module::child(std::string name, std::shared_ptr<Module> module) {
  children_.push_back({std::move(name), std::move(module), nullptr});
}

void Module::child(std::string name, Slot& slot, std::shared_ptr<Layer> layer) {
  slot.layer = layer;
  children_.push_back({std::move(name), std::move(layer), &slot});
}

void Module::remove_child(const std::string& name) {
  std::erase_if(children_, [&](const Child& child) { return child.name == name; });
}

std::shared_ptr<Layer> Module::occupy(const std::string& name, std::shared_ptr<Layer> layer) {
  for (auto& child : children_) {
    if (child.name != name || child.slot == nullptr) continue;
    child.module = layer;
    return std::exchange(child.slot->layer, std::move(layer));
  }
  return nullptr;
}

void Module::visit_parameters(const std::string& prefix,
                              const std::function<void(const std::string&, const Parameter&)>& visit) const {
  for (const auto& parameter : parameters_) visit(join(prefix, parameter.name), parameter);
  for (const auto& child : children_) child.module->visit_parameters(join(prefix, child.name), visit);
}

void Module::visit_modules(const std::string& prefix,
                           const std::function<void(const std::string&, const Module&)>& visit) const {
  visit(prefix, *this);
  for (const auto& child : children_) {
    const auto& inner = *child.module;
    if (!child.name.empty()) {
      inner.visit_modules(join(prefix, child.name), visit);
      continue;
    }
    for (const auto& below : inner.children_) below.module->visit_modules(join(prefix, below.name), visit);
  }
}

void Module::repoint(const std::string& name, at::Tensor& value) {
  for (auto& parameter : parameters_)
    if (parameter.name == name) parameter.value = &value;
}

}  // namespace ta
