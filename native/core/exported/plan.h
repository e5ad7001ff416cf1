#pragma once
// What a program runs: for every node one step, with everything decided that does not depend on a pass. Nothing here
// has a name; the graph's node of the same number has.

#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/ivalue.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "core/exported/form_nodes.h"
#include "core/exported/graph.h"
#include "core/exported/operators.h"
#include "core/exported/program.h"

namespace ta::exported {

/// How one argument comes to be.
struct Load {
  enum class Kind : uint8_t {
    constant,  ///< `value`
    mode,      ///< `value` when training, `evaluating` otherwise
    copy,      ///< `slot`
    move,      ///< `slot`, which nobody reads afterwards
    wrapped,   ///< the number in `slot`, as a tensor
    integers,
    tensors,
    optional_tensors
  };
  Kind kind = Kind::constant;
  int32_t slot = -1;
  c10::IValue value;
  c10::IValue evaluating;
  std::vector<Argument::Item> items;
};

struct Step;
/// An operator called by its C++ name, for those that models are made of: reads and sets `values`.
using FastPath = void (*)(const Step& step, c10::IValue* values, bool training);

struct Step {
  enum class Action : uint8_t {
    call,      ///< the operator
    fast,      ///< `fast_path`
    pass_on,   ///< the output is the first argument
    skip,      ///< nothing: an assertion
    symbolic,  ///< arithmetic on sizes
    branch     ///< torch.cond
  };
  Action training = Action::call;
  Action evaluating = Action::call;
  bool no_grad = false;
  std::optional<at::ScalarType> autocast;
  bool splits_list = false;
  bool of_form = false;  ///< form_nodes.h, and in no hook's range
  int32_t hook = -1;     ///< the outermost that starts here
  int32_t written = -1;  ///< a slot that the operator changes in place and that may lie in a weight
  const Operator* op = nullptr;
  FastPath fast_path = nullptr;
  std::vector<Load> loads;
  std::vector<int64_t> integers;  ///< the fast path's constants
  std::vector<int32_t> outputs;
  std::vector<int32_t> dead;  ///< released afterwards
};

struct BranchPlan {
  std::vector<Step> steps;
  std::vector<int32_t> inputs;
  std::vector<int32_t> outputs;
  std::vector<int32_t> dead;  ///< released when its outputs are taken
};

struct HookEntry {
  Range range;
  Hook hook;
  bool may_cross = false;
  int32_t depth = 0;          ///< how many stand around it
  int32_t next = -1;          ///< the next inner one that starts at the same node
  std::vector<int32_t> dead;  ///< released behind the range
};

struct Plan {
  Plan(const Graph& graph, at::Device device);
  void add_hook(Range range, Hook hook, bool may_cross = false);
  void clear_hooks();
  /// Steps that a run may take from another of its form: nothing in a hook's range, which may ask for any of them.
  void mark_form();
  /// The last node of what must run for a node to: hooks stand for whole ranges.
  int32_t end_of(int32_t node) const;

  std::vector<Step> steps;
  std::vector<BranchPlan> branches;
  std::vector<HookEntry> hooks;
  FormNodes form;
};

/// fast_paths.cc: gives the step its fast path where the node has one. None under torch.autocast.
void choose_fast_path(const Node& node, Step& step);

/// writes.cc: the slot that a node changes in place, -1: none. Throws ERR_UNSUPPORTED where that is a weight or an
/// input of the user's; sets `dropped` where it only counts batches.
int32_t written_slot(const Graph& graph, const Node& node, const std::string& what, bool& dropped);
/// Whether a copy that nobody writes to may be left out.
bool is_read_only(const Graph& graph, int32_t slot);

}  // namespace ta::exported
