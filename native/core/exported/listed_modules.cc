#include "core/exported/listed_modules.h"

#include "core/exported/exported_model.h"

namespace ta::exported {

namespace {

bool is_place(const Module& module) {
  if (dynamic_cast<const AdapterPlace*>(&module) != nullptr) return true;
  const std::string type = module.type();
  return type == "BottleneckLayer" || type == "ReftLayer" || type == "PrefixTuningLayer";
}

}  // namespace

std::set<std::string> listed_modules(const ExportedModel& model, const Module& root) {
  const auto prefix = model.prefix().empty() ? "" : model.prefix() + ".";
  const auto below = [&](const std::string& path) { return path.substr(prefix.size()); };
  std::set<std::string> listed, inserted;
  root.visit_modules("", [&](const std::string& path, const Module& module) {
    if (path.empty() || path == model.prefix()) {
      listed.insert(path);
      return;
    }
    if (!path.starts_with(prefix)) return;
    if (model.shapes_at(below(path)) != nullptr) {
      listed.insert(path);
      return;
    }
    const auto dot = path.rfind('.');
    if (dot == std::string::npos || is_place(module)) return;
    const auto parent = path.substr(0, dot);
    const bool replaced = parent.size() >= prefix.size() && model.is_replaced(below(parent));
    if (!inserted.contains(parent) && !replaced) return;
    inserted.insert(path);
    listed.insert(path);
  });
  return listed;
}

}  // namespace ta::exported
