#pragma once
// Which module each node belongs to. A node carries its modules as text, outermost first:
//
//   "L__self__,,models.BertModel;L__self__encoder,encoder,models.BertEncoder;…"      key,path,class;…
//
// A module that is called again has '@1', '@2' … behind its key. The archive's module_call_graph names all modules that
// there are, and what those take and give whose signature was preserved at export.

#include <compare>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/exported/graph.h"
#include "core/state/json.h"

namespace ta::exported {

class ModuleTable {
 public:
  /// `call_graph`: module_call_graph; null: the archive has none. Calls by another name of a module are the module's.
  ModuleTable(const Json* call_graph, std::string source, const SameModules& same);

  /// A node's stack; `node` < 0: it is none of the main graph's. The innermost module, -1 where there is none.
  int32_t visit(const std::string& stack, int32_t node);

  /// `slot_of`: the tensor of this name in the main graph, -1: there is none.
  std::vector<ModuleInfo> finish(int32_t nodes, const std::function<int32_t(const std::string& name)>& slot_of);

 private:
  struct Call {
    int32_t module;
    int32_t first = -1, last = -1, count = 0;
    std::size_t position = 0;  ///< among the module's calls
  };
  struct Key {
    int32_t module, name;  ///< the first name is 0
    int64_t number;        ///< of the calls by this name
    auto operator<=>(const Key&) const = default;
  };
  int32_t add(const std::string& path);
  Key key_of(std::string_view path, int64_t number);
  Call& call(const Key& key);
  std::vector<Call*> parse(const std::string& stack);
  void read_signature(const Json& entry, const std::function<int32_t(const std::string&)>& slot_of);

  const Json* call_graph_;
  std::string source_;
  std::vector<ModuleInfo> modules_;
  std::unordered_map<std::string, int32_t> index_;
  std::map<Key, Call> calls_;
  std::map<std::string, std::pair<std::string, int32_t>, std::less<>> names_;  ///< other names → the first, which other
  std::unordered_map<std::string, std::vector<Call*>> stacks_;
  std::vector<int32_t> outside_;  ///< nodes without a stack
};

}  // namespace ta::exported
