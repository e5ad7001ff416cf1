#include "core/exported/plan.h"

#include <algorithm>
#include <utility>

#include "core/error.h"

namespace ta::exported {
namespace {

using Action = Step::Action;

bool is_dropout(const std::string& base) {
  return base == "dropout" || base == "dropout_" || base == "feature_dropout" || base == "alpha_dropout" ||
         base == "feature_alpha_dropout";
}

// Checks of what was true at export; what matters of it, inputs' types and sizes, is checked before anything runs.
bool is_assertion(const std::string& base) {
  return base == "_assert_tensor_metadata" || base == "sym_constrain_range" || base == "sym_constrain_range_for_size";
}

Load load_of(const Argument& argument, at::Device device) {
  Load load;
  switch (argument.kind) {
    case Argument::Kind::constant:
      load.value = argument.value.isDevice() ? c10::IValue(device) : argument.value;
      break;
    case Argument::Kind::slot:
      load.kind = argument.wrapped ? Load::Kind::wrapped : Load::Kind::copy;
      load.slot = argument.slot;
      break;
    case Argument::Kind::list:
      load.kind = argument.list == Argument::List::integers  ? Load::Kind::integers
                  : argument.list == Argument::List::tensors ? Load::Kind::tensors
                                                             : Load::Kind::optional_tensors;
      load.items = argument.items;
      break;
    case Argument::Kind::branch:
      load.slot = argument.slot;
      break;
  }
  return load;
}

std::size_t argument_index(const Operator& op, const char* name) {
  const auto index = op.schema().argumentIndexWithName(name);
  return index ? static_cast<std::size_t>(*index) : op.schema().arguments().size();
}

// What an export fixes and a run decides: whether it trains.
void set_mode(const Operator& op, Step& step) {
  const std::string base = op.base_name();
  const auto mode = [&](const char* name, std::optional<c10::IValue> training, c10::IValue evaluating) {
    const std::size_t i = argument_index(op, name);
    if (i >= step.loads.size()) return;
    Load& load = step.loads[i];
    if (training) load.value = std::move(*training);
    if (load.kind != Load::Kind::constant) return;
    load.kind = Load::Kind::mode;
    load.evaluating = std::move(evaluating);
  };
  if (is_dropout(base)) {
    mode("train", true, false);
    step.evaluating = step.outputs[0] < 0 ? Action::skip : Action::pass_on;
    const Load& rate = step.loads[1];
    if (rate.kind == Load::Kind::constant && rate.value.isDouble() && rate.value.toDouble() == 0)
      step.training = step.evaluating;
  } else if (base == "native_dropout") {
    mode("train", true, false);
  } else if (base == "scaled_dot_product_attention") {
    mode("dropout_p", std::nullopt, 0.0);
  } else if (base == "batch_norm") {
    // The base model is frozen, and its statistics with it.
    mode("training", false, false);
  } else if (base == "lstm" || base == "gru" || base == "rnn_tanh" || base == "rnn_relu") {
    // What they draw is no row's own.
    mode("train", false, false);
  } else if (base == "rrelu") {
    mode("training", false, false);
  } else if (base == "instance_norm") {
    const Load& mean = step.loads[argument_index(op, "running_mean")];
    if (mean.kind == Load::Kind::copy) mode("use_input_stats", false, false);
  }
}

bool copies_constant(const Graph& graph, const Node& node, const std::string& base) {
  if (node.slot(0) < 0) return false;
  if (base == "lift_fresh_copy") return true;
  const int32_t producer = graph.slots[static_cast<std::size_t>(node.slot(0))].producer;
  return base == "detach_" && producer >= 0 &&
         graph.nodes[static_cast<std::size_t>(producer)].operator_name() == "aten.lift_fresh_copy.default";
}

Step make_step(const Graph& graph, const Node& node, const std::string& what, at::Device device) {
  Step step;
  step.op = node.op;
  step.no_grad = node.no_grad, step.autocast = node.autocast;
  step.splits_list = node.splits_list;
  step.outputs = node.outputs;
  for (const Argument& argument : node.arguments) step.loads.push_back(load_of(argument, device));
  if (node.kind != Node::Kind::aten) {
    step.training = step.evaluating = node.kind == Node::Kind::cond ? Action::branch : Action::symbolic;
    return step;
  }
  const std::string base = node.op->base_name();
  bool dropped = is_assertion(base);
  if (!dropped) step.written = written_slot(graph, node, what, dropped);
  if (dropped) {
    step.training = step.evaluating = Action::skip;
    return step;
  }
  // A constant that is copied so that it may be written to, and never is.
  if (copies_constant(graph, node, base) && node.outputs[0] >= 0 && is_read_only(graph, node.outputs[0])) {
    step.training = step.evaluating = Action::pass_on;
    step.written = -1;
    return step;
  }
  if (!node.autocast) choose_fast_path(node, step);
  if (step.fast_path) step.training = step.evaluating = Action::fast;
  set_mode(*node.op, step);
  return step;
}

// The last that reads a value, or else its maker, releases it; who takes the last copy of it takes the value itself.
void set_liveness(std::vector<Step>& steps, std::vector<bool>& kept) {
  for (std::size_t i = steps.size(); i-- > 0;) {
    Step& step = steps[i];
    const auto release = [&](int32_t slot) {
      if (slot < 0 || kept[static_cast<std::size_t>(slot)]) return false;
      kept[static_cast<std::size_t>(slot)] = true;
      step.dead.push_back(slot);
      return true;
    };
    for (const int32_t output : step.outputs) release(output);
    for (std::size_t j = step.loads.size(); j-- > 0;) {
      Load& load = step.loads[j];
      if (load.kind == Load::Kind::copy && release(load.slot)) load.kind = Load::Kind::move;
      if (load.kind == Load::Kind::wrapped) release(load.slot);
      for (const Argument::Item& item : load.items) release(item.slot);
    }
  }
}

}  // namespace

Plan::Plan(const Graph& graph, at::Device device) : form(graph) {
  // A program outlives the mode of the thread that makes it: its constants must serve training, too.
  const c10::InferenceMode off(false);
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    steps.push_back(
        make_step(graph, graph.nodes[i], graph.source + ", " + graph.describe(static_cast<int32_t>(i)), device));
  }
  // Inputs and weights stay: a part may run several times.
  std::vector<bool> kept(graph.slots.size());
  for (const Input& input : graph.inputs) kept[static_cast<std::size_t>(input.slot)] = true;
  for (std::size_t i = 0; i < graph.slots.size(); ++i) kept[i] = kept[i] || graph.slots[i].is_output;
  set_liveness(steps, kept);
  for (const Branch& branch : graph.branches) {
    BranchPlan made;
    for (const Node& node : branch.nodes) {
      made.steps.push_back(make_step(graph, node, graph.source + ", " + node.operator_name(), device));
    }
    made.inputs = branch.inputs;
    made.dead = branch.inputs;
    for (const int32_t slot : branch.inputs) kept[static_cast<std::size_t>(slot)] = true;
    for (const Argument& output : branch.outputs) {
      made.outputs.push_back(output.slot);
      made.dead.push_back(output.slot);
      kept[static_cast<std::size_t>(output.slot)] = true;
    }
    set_liveness(made.steps, kept);
    branches.push_back(std::move(made));
  }
  mark_form();
}

void Plan::mark_form() {
  for (std::size_t i = 0; i < steps.size(); ++i) steps[i].of_form = form.nodes[i];
}

void Plan::add_hook(Range range, Hook hook, bool may_cross) {
  if (range.empty() || range.first < 0 || static_cast<std::size_t>(range.last) >= steps.size()) {
    fail(ErrorCode::invalid_argument, "hook", "the range is none of the graph's",
         {.expected = text("0 to ", steps.size() - 1), .got = text(range.first, " to ", range.last)});
  }
  HookEntry entry{.range = range, .hook = std::move(hook), .may_cross = may_cross, .depth = 0, .next = -1, .dead = {}};
  for (const HookEntry& other : hooks) {
    const bool apart = other.range.last < range.first || range.last < other.range.first;
    const bool around = other.range.first <= range.first && range.last <= other.range.last;
    const bool within = range.first <= other.range.first && other.range.last <= range.last;
    if (apart || around || within || may_cross || other.may_cross) continue;
    fail(ErrorCode::invalid_argument, "hook", "two ranges cross",
         {.expected = "ranges that are apart or nested",
          .got = text(range.first, " to ", range.last, " and ", other.range.first, " to ", other.range.last)});
  }
  for (HookEntry& other : hooks) {
    if (range.first <= other.range.first && other.range.last <= range.last) {
      ++other.depth;
    } else if (other.range.first <= range.first && range.last <= other.range.last) {
      ++entry.depth;
    }
  }
  for (int32_t i = range.first; i <= range.last; ++i) {
    const std::vector<int32_t>& dead = steps[static_cast<std::size_t>(i)].dead;
    entry.dead.insert(entry.dead.end(), dead.begin(), dead.end());
    steps[static_cast<std::size_t>(i)].of_form = false;
  }
  // Outermost first among those that start at one node.
  int32_t* link = &steps[static_cast<std::size_t>(range.first)].hook;
  while (*link >= 0 && hooks[static_cast<std::size_t>(*link)].depth < entry.depth) {
    link = &hooks[static_cast<std::size_t>(*link)].next;
  }
  entry.next = std::exchange(*link, static_cast<int32_t>(hooks.size()));
  hooks.push_back(std::move(entry));
}

int32_t Plan::end_of(int32_t node) const {
  for (bool grows = true; std::exchange(grows, false);) {
    for (const HookEntry& entry : hooks) {
      if (entry.range.first > node || entry.range.last <= node) continue;
      node = entry.range.last;
      grows = true;
    }
  }
  return node;
}

void Plan::clear_hooks() {
  hooks.clear();
  for (Step& step : steps) step.hook = -1;
  mark_form();
}

}  // namespace ta::exported
