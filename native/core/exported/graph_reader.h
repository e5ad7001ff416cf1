#pragma once
// model.json → Graph. Every value is made once, before it is read; every operator is one of those allowed; every
// argument is what the operator's schema asks for. What is left to run time are shapes, which operators check.

#include <string>
#include <unordered_map>
#include <vector>

#include "core/exported/argument_reader.h"
#include "core/exported/graph.h"
#include "core/exported/module_table.h"
#include "core/state/json.h"

namespace ta::exported {

class GraphReader {
 public:
  GraphReader(const Json& model, const std::string& source, const SameModules& same);
  Graph read();

 private:
  /// What holds for the nodes of a region.
  struct Region {
    bool no_grad = false;
    std::optional<at::ScalarType> autocast;
    bool in_branch = false;
    const std::string* stack = nullptr;  ///< of the node that stands for it; null: the model itself
  };

  void read_inputs();
  void read_input(const std::string& kind, const Json& spec, std::size_t position);
  void read_nodes(const Json& graph, Scope& scope, std::vector<Node>& nodes, const Region& region);
  void read_node(const Json& json, Scope& scope, std::vector<Node>& nodes, const Region& region);
  void read_aten(const Json& json, const Operator& op, Scope& scope, Node& node, const std::string& what);
  void read_symbolic(const Json& json, const Operator& op, Scope& scope, Node& node, const std::string& what);
  /// torch.no_grad and the like: the nodes inside, as if they stood in the graph itself. `graph_at`: which argument is
  /// their graph; what they read stands behind it.
  void read_region(const Json& json, std::size_t graph_at, Scope& scope, std::vector<Node>& nodes, const Region& inside,
                   const std::string& what);
  void read_cond(const Json& json, Scope& scope, Node& node, const Region& region, const std::string& what);
  int32_t read_branch(const Json& argument, const std::vector<Argument>& operands, const Scope& scope,
                      const Region& region, const std::string& what);
  void read_outputs(const Scope& scope);
  /// The slot of the value in float32, where torch.autocast made it short.
  int32_t widen(int32_t slot, const std::string& what);
  void read_ranges();
  void link();

  int32_t define(Scope& scope, const std::string& name, ValueKind kind, const std::string& what);
  int32_t define_output(const Json& output, Scope& scope, const c10::Argument* schema, const std::string& what);
  /// Shapes of the values in `scope`.
  void read_shapes(const Json& graph, const Scope& scope);
  Size read_size(const Json& json, const std::string& what);

  const Json& model_;
  const Json& module_;
  std::string source_;
  Graph graph_;
  std::vector<ValueKind> kinds_;
  Scope main_;
  ModuleTable modules_;
  std::unordered_map<std::string, int32_t> symbols_;
};

}  // namespace ta::exported
