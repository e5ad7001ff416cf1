#include "core/adapters/place.h"

namespace ta {

void AdapterPlace::add(int64_t index, const std::string& name, std::shared_ptr<AdapterModule> module) {
  if (static_cast<int64_t>(modules_.size()) <= index) modules_.resize(index + 1);
  modules_[index] = module;
  child(name, std::move(module));
}

void AdapterPlace::remove(int64_t index, const std::string& name) {
  if (!module(index)) return;
  modules_[index].reset();
  remove_child(name);
}

std::string AdapterPlace::name_of(int64_t index) const {
  for (const auto& child : children())
    if (child.module == module(index)) return child.name;
  return {};
}

bool AdapterPlace::has_any(const Composition& setup) const {
  if (children().empty()) return false;
  bool found = false;
  setup.visit([&](const Composition& part) {
    found = found || (part.kind == Composition::Kind::adapter && module(part.index) != nullptr);
  });
  return found;
}

}  // namespace ta
