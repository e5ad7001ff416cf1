#include "core/exported/module_table.h"

#include <algorithm>
#include <charconv>
#include <set>
#include <string_view>

#include "core/error.h"
#include "core/exported/json_fields.h"

namespace ta::exported {
namespace {

// Far past any model; a path of a million dots is a million modules.
constexpr std::size_t longest_path = 512;
constexpr std::size_t most_modules = 200'000;
constexpr std::size_t deepest_stack = 256;

// What PyTorch puts where a node belongs to no module.
constexpr std::string_view no_module = "_empty_nn_module_stack_from_metadata_hook";

// "encoder@2" → "encoder", 2
std::pair<std::string_view, int64_t> split_call(std::string_view key) {
  const std::size_t at = key.rfind('@');
  int64_t number = 0;
  if (at == std::string_view::npos) return {key, 0};
  const char* end = key.data() + key.size();
  const auto [stop, error] = std::from_chars(key.data() + at + 1, end, number);
  if (error != std::errc() || stop != end || number < 0) return {key, 0};
  return {key.substr(0, at), number};
}

std::string_view short_name(std::string_view type) {
  const std::size_t dot = type.rfind('.');
  return dot == std::string_view::npos ? type : type.substr(dot + 1);
}

}  // namespace

ModuleTable::ModuleTable(const Json* call_graph, std::string source, const SameModules& same)
    : call_graph_(call_graph), source_(std::move(source)) {
  add("");
  std::map<std::string, int32_t> others;
  for (const auto& [name, first] : same) names_[name] = {first, ++others[first]};
  if (!call_graph_) return;
  for (const Json& entry : call_graph_->as_array(source_)) {
    const std::string& path = field(entry, "fqn", source_).as_string(source_);
    const auto [name, number] = split_call(path);
    const Key key = key_of(name, number);
    if (key.name == 0) call(key);
  }
}

ModuleTable::Key ModuleTable::key_of(std::string_view path, int64_t number) {
  const auto found = names_.find(path);
  if (found == names_.end()) return {add(std::string(path)), 0, number};
  return {add(found->second.first), found->second.second, number};
}

int32_t ModuleTable::add(const std::string& path) {
  if (const auto found = index_.find(path); found != index_.end()) return found->second;
  if (path.size() > longest_path || modules_.size() >= most_modules) {
    fail(ErrorCode::file_format, "read " + source_, "too many modules, or a module's path is too long",
         {.got = "'" + path.substr(0, 80) + "…'"});
  }
  ModuleInfo module;
  module.path = path;
  if (!path.empty()) {
    const std::size_t dot = path.rfind('.');
    module.parent = add(dot == std::string::npos ? "" : path.substr(0, dot));
  }
  const int32_t index = static_cast<int32_t>(modules_.size());
  index_.emplace(path, index);
  modules_.push_back(std::move(module));
  return index;
}

ModuleTable::Call& ModuleTable::call(const Key& key) {
  return calls_.try_emplace(key, Call{key.module}).first->second;
}

std::vector<ModuleTable::Call*> ModuleTable::parse(const std::string& stack) {
  std::vector<Call*> calls;
  for (std::string_view rest = stack; !rest.empty();) {
    const std::string_view entry = rest.substr(0, rest.find(';'));
    rest.remove_prefix(std::min(rest.size(), entry.size() + 1));
    const std::size_t first = entry.find(',');
    const std::size_t second = first == std::string_view::npos ? first : entry.find(',', first + 1);
    if (second == std::string_view::npos || calls.size() >= deepest_stack) {
      fail(ErrorCode::file_format, "read " + source_, "a node's stack of modules is not 'key,path,class;…'",
           {.got = "'" + stack.substr(0, 200) + "'"});
    }
    const std::string_view path = entry.substr(first + 1, second - first - 1);
    if (path == no_module) continue;
    const Key key = key_of(split_call(path).first, split_call(entry.substr(0, first)).second);
    ModuleInfo& info = modules_[static_cast<std::size_t>(key.module)];
    if (info.type.empty()) info.type = short_name(entry.substr(second + 1));
    calls.push_back(&call(key));
  }
  return calls;
}

int32_t ModuleTable::visit(const std::string& stack, int32_t node) {
  auto found = stacks_.find(stack);
  if (found == stacks_.end()) found = stacks_.emplace(stack, parse(stack)).first;
  const std::vector<Call*>& calls = found->second;
  if (node >= 0) {
    for (Call* call : calls) {
      if (call->first < 0) call->first = node;
      if (call->last != node) ++call->count;
      call->last = node;
    }
    if (calls.empty()) outside_.push_back(node);
  }
  return calls.empty() ? -1 : calls.back()->module;
}

std::vector<ModuleInfo> ModuleTable::finish(int32_t nodes,
                                            const std::function<int32_t(const std::string& name)>& slot_of) {
  const auto outside_before = [&](int32_t node) {
    return std::lower_bound(outside_.begin(), outside_.end(), node) - outside_.begin();
  };
  std::map<int32_t, std::vector<Call*>> by_module;
  std::set<int32_t> several;  // names
  for (auto& [key, call] : calls_) {
    by_module[key.module].push_back(&call);
    if (key.name > 0) several.insert(key.module);
  }
  for (auto& [module, own] : by_module) {
    // By one name they are in order: the map's. A name that nobody called is no call.
    if (several.contains(module)) {
      std::erase_if(own, [](const Call* call) { return call->count == 0; });
      std::stable_sort(own.begin(), own.end(), [](const Call* a, const Call* b) { return a->first < b->first; });
    }
    for (Call* call : own) {
      ModuleCall made;
      if (call->count > 0) {
        made.nodes = {call->first, call->last};
        const auto between = outside_before(call->last) - outside_before(call->first);
        made.contiguous = call->count + between == made.nodes.size();
      }
      std::vector<ModuleCall>& calls = modules_[static_cast<std::size_t>(module)].calls;
      call->position = calls.size();
      calls.push_back(std::move(made));
    }
  }
  // The model itself is called once, by its user, and all nodes are its own.
  ModuleCall whole;
  whole.nodes = {0, nodes - 1};
  whole.contiguous = true;
  modules_.front().calls.assign(1, std::move(whole));
  if (call_graph_) {
    for (const Json& entry : call_graph_->as_array(source_)) read_signature(entry, slot_of);
  }
  for (ModuleInfo& module : modules_) {
    if (module.calls.empty()) module.calls.emplace_back();
  }
  return std::move(modules_);
}

void ModuleTable::read_signature(const Json& entry, const std::function<int32_t(const std::string&)>& slot_of) {
  const std::string& path = field(entry, "fqn", source_).as_string(source_);
  const Json* signature = optional_field(entry, "signature");
  if (path.empty() || !signature) return;
  const std::string what = source_ + ", signature of '" + path.substr(0, longest_path) + "'";
  bool known = true;
  const auto slots = [&](const char* key) {
    std::vector<int32_t> result;
    for (const Json& argument : field(*signature, key, what).as_array(what)) {
      const auto& [tag, value] = tagged(argument, what);
      result.push_back(tag == "as_tensor" ? slot_of(value_name(value, what)) : -1);
      // A name that is none of the main graph's: the module stands inside torch.no_grad.
      if (tag == "as_tensor" && result.back() < 0) known = false;
    }
    return result;
  };
  std::vector<int32_t> inputs = slots("inputs");
  std::vector<int32_t> outputs = slots("outputs");
  const auto [name, number] = split_call(path);
  const Key key = key_of(name, number);
  const auto found = calls_.find(key);
  auto& calls = modules_[static_cast<std::size_t>(key.module)].calls;
  if (!known || found == calls_.end() || found->second.position >= calls.size()) return;
  ModuleCall& call = calls[found->second.position];
  call.has_signature = true;
  call.inputs = std::move(inputs);
  call.outputs = std::move(outputs);
}

}  // namespace ta::exported
