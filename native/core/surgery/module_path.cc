#include "core/surgery/module_path.h"

#include "core/error.h"

namespace ta {

namespace {

/// A child and whose it is; null where there is none of this name.
struct FoundChild {
  std::shared_ptr<Module> owner;  ///< null: the module that was asked
  const Module::Child* child = nullptr;
};

// Children of one without a name count as the module's own.
FoundChild child_of(const Module& module, const std::string& name) {
  for (const auto& child : module.children())
    if (child.name == name && !name.empty()) return {nullptr, &child};
  for (const auto& unnamed : module.children()) {
    if (!unnamed.name.empty()) continue;
    for (const auto& child : unnamed.module->children())
      if (child.name == name) return {unnamed.module, &child};
  }
  return {};
}

// The components of a path: 'a.b' → a, b; '' → none.
std::vector<std::string> components(const std::string& path) {
  std::vector<std::string> names;
  for (size_t begin = 0; !path.empty();) {
    const auto end = path.find('.', begin);
    names.push_back(path.substr(begin, end - begin));
    if (end == std::string::npos) break;
    begin = end + 1;
  }
  return names;
}

void add_slots(const Module& module, const std::string& prefix, std::vector<SlotPath>& paths) {
  for (const auto& child : module.children()) {
    const auto path = prefix.empty() || child.name.empty() ? prefix + child.name : prefix + "." + child.name;
    if (child.slot != nullptr) paths.push_back({path, child.slot});
    add_slots(*child.module, path, paths);
  }
}

// Slots at the path's parents and below it, which is where a near miss lies.
std::vector<std::string> slots_near(const Module& root, const std::string& path) {
  std::vector<std::string> result;
  for (const auto& [slot, place] : slot_paths(root))
    if (slot.starts_with(path + ".") || path.starts_with(slot + ".")) result.push_back(slot);
  return result;
}

}  // namespace

std::shared_ptr<Module> find_module(const Module& root, const std::string& path) {
  std::shared_ptr<Module> found;
  for (const auto& name : components(path)) {
    const auto* child = child_of(found ? *found : root, name).child;
    if (child == nullptr) return nullptr;
    found = child->module;
  }
  return found;
}

SlotPlace find_slot(const Module& root, const std::string& operation, const std::string& path) {
  const auto found = find_module(root, path);
  if (!found) {
    fail(ErrorCode::invalid_argument, operation, "no module '" + path + "' here",
         {.hint = "namedModules() lists the paths"});
  }
  const auto dot = path.rfind('.');
  const auto parent = dot == std::string::npos ? nullptr : find_module(root, path.substr(0, dot));
  const auto name = path.substr(dot + 1);
  const auto [other, child] = child_of(parent ? *parent : root, name);
  const auto owner = other ? other : parent;
  if (child == nullptr || child->slot == nullptr || !owner) {
    const auto others = slots_near(root, path);
    if (std::string(found->type()) == "Dropout") {
      fail(ErrorCode::invalid_argument, operation, "'" + path + "' (Dropout) is what the block around it does itself",
           {.expected = others.empty() ? "a module that computes by itself" : "one of " + name_list(others),
            .got = "'" + path + "'",
            .hint = "How often it drops is a field of the model's config.json"});
    }
    fail(ErrorCode::invalid_argument, operation,
         "'" + path + "' (" + found->type() + ") does not map tokens to tokens by itself",
         {.expected = others.empty() ? "a module that does" : "one of " + name_list(others), .got = "'" + path + "'"});
  }
  return {owner, name, child->slot->layer};
}

std::vector<SlotPath> slot_paths(const Module& root) {
  std::vector<SlotPath> paths;
  add_slots(root, "", paths);
  return paths;
}

}  // namespace ta
