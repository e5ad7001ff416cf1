#include "core/exported/named_modules.h"

#include <algorithm>

#include "core/error.h"

namespace ta::exported {

namespace {

/// A message names so many of what it could be.
constexpr size_t kNamesTold = 8;

std::string listing(const std::vector<std::string>& names, const char* between) {
  std::string result;
  for (const auto& name : names) result += (result.empty() ? "" : between) + name;
  return result;
}

}  // namespace

bool matches(std::string_view pattern, std::string_view path) {
  if (pattern.empty()) return path.empty();
  if (pattern.front() != '*') {
    return !path.empty() && pattern.front() == path.front() && matches(pattern.substr(1), path.substr(1));
  }
  const bool any = pattern.starts_with("**");
  const auto rest = pattern.substr(any ? 2 : 1);
  for (size_t taken = 0;; ++taken) {
    if (matches(rest, path.substr(taken))) return true;
    if (taken == path.size() || (!any && path[taken] == '.')) return false;
  }
}

// What could be meant, numbers written as `*`.
std::string NamedModules::candidates() const {
  std::vector<std::string> found;
  for (const auto& place : tree_.slots()) {
    if (place.of_rows) continue;
    if (hidden_ > 0 && graph_.slots[place.output].shape.back().number != hidden_) continue;
    std::string general;
    for (const auto& part : name(place.path)) {
      const bool digit = part >= '0' && part <= '9';
      const bool begins = general.empty() || general.back() == '.';
      if (digit && begins) {
        general += '*';
      } else if (!digit || general.back() != '*') {
        general += part;
      }
    }
    if (std::find(found.begin(), found.end(), general) == found.end()) found.push_back(general);
  }
  const bool more = found.size() > kNamesTold;
  if (more) found.resize(kNamesTold);
  return found.empty() ? "no module of this network" : listing(found, ", ") + (more ? ", …" : "");
}

const SlotPlace* NamedModules::place_at(const std::string& path) const {
  const auto found = std::find_if(tree_.slots().begin(), tree_.slots().end(),
                                  [&](const SlotPlace& place) { return place.path == path && !place.of_rows; });
  return found == tree_.slots().end() ? nullptr : &*found;
}

// What it takes and gives.
std::string NamedModules::values_of(const ModuleInfo& module) const {
  const auto& call = module.calls.front();
  if (call.nodes.empty() && !call.has_signature) return "it runs nothing itself";
  const auto shapes = [&](const std::vector<int32_t>& slots) {
    std::vector<std::string> result;
    for (int32_t slot : slots)
      if (slot >= 0 && graph_.slots[slot].is_tensor) result.push_back(shape_text(graph_, slot));
    return result.empty() ? std::string("no tensor") : listing(result, " and ");
  };
  return text("it takes ", shapes(call.has_signature ? call.inputs : graph_.entering(call.nodes)), " and gives ",
              shapes(call.has_signature ? call.outputs : graph_.leaving(call.nodes)));
}

std::vector<const SlotPlace*> NamedModules::places(const char* option, const std::string& pattern) {
  std::vector<const ModuleInfo*> found;
  for (const auto& module : graph_.modules)
    if (!module.path.empty() && matches(pattern, name(module.path))) found.push_back(&module);
  if (found.empty()) {
    fail(ErrorCode::invalid_argument, kPlaceAdapters, text(option, ": no module matches '", pattern, "'"),
         {.expected = text("one that maps tokens to tokens, such as ", candidates())});
  }
  std::vector<const SlotPlace*> result;
  for (const auto* module : found) {
    for (const auto* outer : found) {
      if (module->path.starts_with(outer->path + ".")) {
        fail(ErrorCode::invalid_argument, kPlaceAdapters,
             text(option, ": '", pattern, "' matches '", name(outer->path), "' and '", name(module->path),
                  "' inside of it"),
             {.expected = "one module a layer", .hint = "Give a narrower pattern"});
      }
    }
    result.push_back(checked(option, *module));
  }
  std::sort(result.begin(), result.end(),
            [](const SlotPlace* a, const SlotPlace* b) { return a->nodes.first < b->nodes.first; });
  return result;
}

const SlotPlace* NamedModules::checked(const char* option, const ModuleInfo& module) {
  const auto* place = place_at(module.path);
  if (place == nullptr && module.calls.size() > 1) {
    fail(ErrorCode::invalid_argument, kPlaceAdapters,
         text(option, ": '", name(module.path), "': the network calls it ", module.calls.size(),
              " times, and a pattern names modules that are called once"),
         {.expected = text("such a module: ", candidates()),
          .hint = "Leave it to 'auto', which has one adapter at every call of a layer that the graph shows."});
  }
  if (place == nullptr) {
    const auto& unclear = tree_.unclear_modules();
    const auto why = unclear.find(module.path);
    fail(ErrorCode::invalid_argument, kPlaceAdapters,
         text(option, ": '", name(module.path),
              "' does not map tokens to tokens: ", why == unclear.end() ? values_of(module) : why->second),
         {.expected = text("a module that does, such as ", candidates()),
          .hint = gives_rows(graph_)
                      ? "What comes out of the network is one value a row: have it give the states of all "
                        "places, too (return logits, states), and export it again."
                      : ""});
  }
  const int64_t features = graph_.slots[place->output].shape.back().number;
  if (hidden_ == 0) hidden_ = features;
  if (features == hidden_) return place;
  fail(ErrorCode::invalid_argument, kPlaceAdapters,
       text(option, ": '", name(module.path), "' gives ", features, " features a token"),
       {.expected = text(hidden_, ", the width of the layers, such as ", candidates()), .got = text(features)});
}

bool gives_rows(const Graph& graph) {
  return std::all_of(graph.outputs.begin(), graph.outputs.end(), [&](const Argument& output) {
    return output.kind != Argument::Kind::slot || graph.slots[output.slot].shape.size() < 3;
  });
}

}  // namespace ta::exported
