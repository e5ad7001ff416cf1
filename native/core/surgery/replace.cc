#include "core/surgery/replace.h"

#include <algorithm>
#include <set>
#include <utility>

#include "core/error.h"
#include "core/surgery/module_path.h"

namespace ta {

namespace {

using Modules = std::unordered_set<const Module*>;

void add_reachable(const Module& module, Modules& seen) {
  if (!seen.insert(&module).second) return;
  for (const auto& child : module.children()) add_reachable(*child.module, seen);
}

// A walk down from here meets a module that it is still inside of.
bool has_cycle(const Module& module, Modules& inside, Modules& done) {
  if (done.contains(&module)) return false;
  if (!inside.insert(&module).second) return true;
  for (const auto& child : module.children())
    if (has_cycle(*child.module, inside, done)) return true;
  inside.erase(&module);
  done.insert(&module);
  return false;
}

// What is wrong with the tree after the swaps; empty where nothing is. What was made and is no part of it would get no
// memory: its place was in something that went.
std::string why_no_tree(const Module& root, const BuiltModules& built) {
  Modules inside, done;
  if (has_cycle(root, inside, done)) return "a module would stand inside itself";
  const auto is_part = [&](const auto& layer) { return done.contains(layer.get()); };
  return std::all_of(built.made.begin(), built.made.end(), is_part)
             ? ""
             : "what is to stand in a place would be lost: the place is inside of a module that goes";
}

// Two replacements of one place: the second would throw away what the first made.
void check_twice(const std::string& operation, const Module* owner, const std::string& name, const std::string& path,
                 std::set<std::pair<const Module*, std::string>>& taken) {
  if (taken.emplace(owner, name).second) return;
  fail(ErrorCode::invalid_argument, operation, "the place '" + path + "' is named twice",
       {.hint = "Name each place once; a module that stands in several places has one path in each"});
}

void check_replaced_size(const std::string& operation, const std::string& path, LayerSize before, LayerSize after) {
  const auto differs = [](int64_t a, int64_t b) { return a != 0 && b != 0 && a != b; };
  if (!differs(before.in, after.in) && !differs(before.out, after.out)) return;
  fail(ErrorCode::invalid_argument, operation, "what is to stand at '" + path + "' has another size",
       {.expected = text(before.in, " → ", before.out, " features"),
        .got = text(after.in, " → ", after.out),
        .hint = "hiddenSize is the size of what the module gives"});
}

}  // namespace

Surgery::Swap Surgery::prepare(const std::string& operation, const Replacement& replacement,
                               BuiltModules& built) const {
  auto place = find_slot(root_, operation, replacement.path);
  auto layer = build_module(root_, operation, replacement.with, known_, built);
  check_replaced_size(operation, replacement.path, place.occupant->size(), layer->size());
  return {std::move(place.owner), std::move(place.name), replacement.path, std::move(place.occupant), std::move(layer)};
}

Surgery::Done Surgery::replace(const std::vector<Replacement>& replacements) {
  const std::string name = replacements.size() == 1 ? "replaceModule '" + replacements[0].path + "'" : "replaceModule";
  BuiltModules built;
  Operation operation{next_, {}, {}};
  std::set<std::pair<const Module*, std::string>> taken;
  for (const auto& replacement : replacements) {
    operation.swaps.push_back(prepare(name, replacement, built));
    const auto& swap = operation.swaps.back();
    check_twice(name, swap.owner.get(), swap.name, swap.path, taken);
  }
  operation.used = std::move(built.used);

  for (const auto& swap : operation.swaps) swap.owner->occupy(swap.name, swap.after);
  if (const auto wrong = why_no_tree(root_, built); !wrong.empty()) {
    for (auto swap = operation.swaps.rbegin(); swap != operation.swaps.rend(); ++swap)
      swap->owner->occupy(swap->name, swap->before);
    fail(ErrorCode::invalid_argument, name, wrong);
  }
  for (auto& [id, layer] : built.by_id) known_[id] = layer;
  operations_.push_back(std::move(operation));
  list_values();
  return {next_++, std::move(built.made)};
}

// A later operation replaced the same place again, or something inside of what stands there now.
void Surgery::check_undo(const Operation& operation) const {
  Modules inside;
  for (const auto& swap : operation.swaps) add_reachable(*swap.after, inside);
  std::vector<std::string> later;
  for (const auto& other : operations_) {
    if (other.number <= operation.number) continue;
    for (const auto& swap : other.swaps) {
      const bool same = std::any_of(operation.swaps.begin(), operation.swaps.end(),
                                    [&](const Swap& own) { return own.owner == swap.owner && own.name == swap.name; });
      if (same || inside.contains(swap.owner.get())) later.push_back(swap.path);
    }
  }
  if (later.empty()) return;
  fail(ErrorCode::invalid_argument, "undo", "later replacements stand on this one: " + name_list(later),
       {.hint = "Undo those first, the last one before the others"});
}

void Surgery::undo(int64_t number) {
  const auto found = std::find_if(operations_.begin(), operations_.end(),
                                  [&](const Operation& operation) { return operation.number == number; });
  if (found == operations_.end()) {
    fail(ErrorCode::invalid_argument, "undo", "there is no such replacement, or it was undone before");
  }
  check_undo(*found);
  for (auto swap = found->swaps.rbegin(); swap != found->swaps.rend(); ++swap)
    swap->owner->occupy(swap->name, swap->before);
  operations_.erase(found);
  std::erase_if(known_, [](const auto& entry) { return entry.second.expired(); });
  list_values();
}

void Surgery::list_values() {
  values_.clear();
  for (const auto& operation : operations_)
    for (const auto& layer : operation.used) values_.insert(layer->own().begin(), layer->own().end());
}

}  // namespace ta
