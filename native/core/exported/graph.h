#pragma once
// The graph of a torch.export archive as flat arrays: values are numbered slots, nodes stand in the order in which they
// run, modules are ranges of nodes. Regions that only set a mode (torch.no_grad, torch.autocast) are written into the
// list, with the mode on every node; the branches of torch.cond are graphs of their own over the same slots.
//
// Nothing here depends on weights or on how a pass runs: program.h does.

#include <ATen/core/ivalue.h>

#include <cstdint>
#include <initializer_list>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace ta::exported {

struct Operator;

/// Where one module stands under several names: each but the first → the first.
using SameModules = std::map<std::string, std::string>;

/// One size of a shape: a number, or one of the graph's symbols.
struct Size {
  int64_t number = -1;
  int32_t symbol = -1;  ///< in Graph::symbols; -1: `number` counts
  bool operator==(const Size&) const = default;
};

/// A size that differs from call to call: a name, or an expression of names ("2*s43").
struct Symbol {
  std::string text;
  int64_t least = 0;
  int64_t most = std::numeric_limits<int64_t>::max();
  bool is_name() const;  ///< no expression
};

/// A value: of an input or of one node's output. `users` are nodes of the main graph, ascending, each once.
struct SlotInfo {
  std::string name;       ///< PyTorch's: "linear_3"
  int32_t producer = -1;  ///< a node; -1: an input, or a value inside a branch
  std::vector<int32_t> users;
  bool is_tensor = false;
  bool is_output = false;               ///< the graph returns it
  std::optional<at::ScalarType> dtype;  ///< of tensors, as they were exported
  std::vector<Size> shape;

  /// Real numbers that adapters can act on: float32, or what torch.autocast makes of it (mixed_precision.h).
  bool is_real() const { return dtype == at::kFloat || dtype == at::kBFloat16 || dtype == at::kHalf; }
};

/// What an operator's argument is made of.
struct Argument {
  enum class Kind : uint8_t {
    constant,  ///< `value`; also every default of the schema
    slot,      ///< `slot`
    list,      ///< `items`: integers of a shape, tensors, tensors or none
    branch     ///< `slot` counts Graph::branches
  };
  enum class List : uint8_t { integers, tensors, optional_tensors };
  struct Item {
    int32_t slot = -1;  ///< -1: `number`, or no tensor
    int64_t number = 0;
  };
  Kind kind = Kind::constant;
  List list = List::integers;
  bool wrapped = false;  ///< a number in `slot`, where the operator takes a tensor
  int32_t slot = -1;
  c10::IValue value;
  std::vector<Item> items;

  /// Of a constant that is a number, or a tensor of one value that stands for it.
  std::optional<double> number() const;
};

struct Node {
  enum class Kind : uint8_t { aten, symbolic, cond };
  Kind kind = Kind::aten;
  bool no_grad = false;  ///< inside torch.no_grad
  /// Inside torch.autocast: the element type in which products are computed there. Of regions for another device than
  /// the export's, which PyTorch passes by, nothing.
  std::optional<at::ScalarType> autocast;
  bool splits_list = false;         ///< the operator gives one list, whose elements are `outputs`
  int32_t module = -1;              ///< the innermost; -1: none
  const Operator* op = nullptr;     ///< operators.h; lives as long as the process
  std::vector<Argument> arguments;  ///< one for each of the schema's, defaults filled in
  std::vector<int32_t> outputs;     ///< slots; -1: nobody named it

  /// "aten.linear.default", "_operator.add", "higher_order.cond".
  const std::string& operator_name() const;
  bool is_one_of(std::initializer_list<std::string_view> names) const;
  /// The library's own code does not give what it gives.
  bool has_mode() const { return no_grad || autocast; }
  /// The slot of argument i; -1 where it is no single slot (or there are fewer).
  int32_t slot(std::size_t i) const;
};

/// Nodes first .. last.
struct Range {
  int32_t first = 0;
  int32_t last = -1;
  bool empty() const { return last < first; }
  int32_t size() const { return last - first + 1; }
  bool contains(int32_t node) const { return first <= node && node <= last; }
  bool operator==(const Range&) const = default;
};

/// One call of a module: the nodes that bear its name, from the first to the last.
struct ModuleCall {
  Range nodes;                  ///< empty: the module left no node (Identity, ModuleList)
  bool contiguous = false;      ///< no other module's node stands between
  bool has_signature = false;   ///< kept by preserve_module_call_signature: the two below are PyTorch's
  std::vector<int32_t> inputs;  ///< slots; -1: none, or no tensor
  std::vector<int32_t> outputs;
};

struct ModuleInfo {
  std::string path;               ///< "" is the model itself
  std::string type;               ///< "BertOutput"; empty where the archive does not say
  int32_t parent = -1;            ///< by path; -1: of the model itself
  std::vector<ModuleCall> calls;  ///< at least one; several where PyTorch calls it several times
};

struct Input {
  enum class Kind : uint8_t { user, parameter, buffer, constant };
  Kind kind = Kind::user;
  std::string name;  ///< PyTorch's in the state dict; a user input's own
  int32_t slot = -1;
  bool persistent = true;  ///< in the state dict
};

/// A branch of torch.cond. Its slots are the graph's own; its nodes are numbered by themselves.
struct Branch {
  std::vector<Node> nodes;
  std::vector<int32_t> inputs;
  std::vector<Argument> outputs;
};

class Graph {
 public:
  /// From model.json's text; `source` names it in messages. ERR_FILE_FORMAT on what no archive may hold,
  /// ERR_UNSUPPORTED, naming operator and module, on what does not run here.
  /// `same`: names of modules that are another name's module.
  static Graph parse(std::string_view json, const std::string& source, const SameModules& same = {});

  std::string source;
  std::string torch_version;
  std::vector<Input> inputs;  ///< in the graph's order
  std::vector<Node> nodes;
  std::vector<Argument> outputs;  ///< constants where PyTorch returns None or a number
  std::vector<SlotInfo> slots;
  std::vector<Symbol> symbols;
  std::vector<ModuleInfo> modules;  ///< parents before children; the first is the model itself
  std::vector<Branch> branches;

  /// -1: no such path.
  int32_t find_module(const std::string& path) const;
  /// A module and what it stands in, innermost first, ending with the model itself.
  std::vector<int32_t> enclosing(int32_t module) const;
  bool inside(int32_t module, int32_t outer) const;

  /// Tensors that nodes of the range make and others read, or the graph returns; in order of nodes.
  std::vector<int32_t> leaving(Range range) const;
  /// Tensors that nodes of the range read and others make: no parameters, buffers, constants; in order of use.
  std::vector<int32_t> entering(Range range) const;
  /// A node with its operator and module, for messages: "aten.linear.default (node 12, encoder.layer.0.output.dense)".
  std::string describe(int32_t node) const;

  /// The slots that an argument reads.
  template <class Visit>
  static void each_slot(const Argument& argument, Visit visit) {
    if (argument.kind == Argument::Kind::slot) visit(argument.slot);
    if (argument.kind != Argument::Kind::list) return;
    for (const Argument::Item& item : argument.items) {
      if (item.slot >= 0) visit(item.slot);
    }
  }

 private:
  std::unordered_map<std::string, int32_t> module_index_;
  std::vector<uint8_t> is_weight_;
  friend class GraphReader;
};

}  // namespace ta::exported
