#include "core/exported/own_head.h"

#include <algorithm>
#include <limits>
#include <set>
#include <string_view>

#include "core/error.h"
#include "core/exported/paths.h"

namespace ta::exported {

namespace {

// What maps each token by itself, over its features; others may mix tokens.
constexpr std::string_view kByToken[] = {
    "aten.linear.default", "aten.dropout.default", "aten.layer_norm.default", "aten.gelu.default",
    "aten.relu.default",   "aten.silu.default",    "aten.tanh.default",       "aten.sigmoid.default",
    "aten.mul.Tensor",     "aten.mul.Scalar",      "aten.div.Tensor",         "aten.div.Scalar",
    "aten.add.Tensor",     "aten.sub.Tensor",      "aten.to.dtype",           "aten.contiguous.default",
    "aten.clone.default",  "aten.alias.default",   "aten.detach_.default"};

// What gives the same values in another form: never what mixes tokens, though what does may read them so.
constexpr std::string_view kViews[] = {"aten.view.default",      "aten.reshape.default", "aten.flatten.using_ints",
                                       "aten.unflatten.int",     "aten.transpose.int",   "aten.permute.default",
                                       "aten.unsqueeze.default", "aten.squeeze.dim",     "aten.expand.default"};

bool is_number(const Argument& argument, int64_t number) {
  return argument.kind == Argument::Kind::constant && argument.value.isInt() && argument.value.toInt() == number;
}

bool is_by_token(std::string_view name) {
  return std::find(std::begin(kByToken), std::end(kByToken), name) != std::end(kByToken);
}

bool is_view(std::string_view name) {
  return std::find(std::begin(kViews), std::end(kViews), name) != std::end(kViews);
}

// x[:, 0]
bool takes_one(const Graph& graph, const Node& node) {
  return node.operator_name() == "aten.select.int" && graph.slots[node.slot(0)].shape.size() == 3 &&
         is_number(node.arguments[1], 1) && (is_number(node.arguments[2], 0) || is_number(node.arguments[2], -1));
}

// Where the base model ends: the slot that heads read.
struct States {
  int32_t slot = -1;
  std::string base;
  int32_t nodes = 0;  // of the base model; 0: it is no module of its own
};

bool are_states(const SlotInfo& info, const std::vector<Size>& form) {
  return info.is_tensor && info.is_real() && info.shape.size() == 3 && info.shape[2].number > 0 && !form.empty() &&
         info.shape[0] == form[0] && (form.size() == 2 || info.shape[1] == form[1]);
}

// Of the network's own modules the largest that gives states of the logits' tokens is the base model.
std::optional<States> states_of_base(const Graph& graph, int32_t logits) {
  std::optional<States> result;
  for (const auto& module : graph.modules) {
    if (module.path.empty() || module.path.find('.') != std::string::npos || module.calls.size() != 1) continue;
    const auto& call = module.calls[0];
    const int32_t size = call.nodes.size();
    if (size <= (result ? result->nodes : 0)) continue;
    for (int32_t slot : call.has_signature ? call.outputs : graph.leaving(call.nodes)) {
      if (slot < 0 || slot == logits || !are_states(graph.slots[slot], graph.slots[logits].shape)) continue;
      result = States{slot, module.path, size};
      break;
    }
  }
  return result;
}

// The network's own module that most of its nodes in front of `last` stand in; empty: there is none.
std::string most_of_all(const Graph& graph, int32_t last) {
  for (const auto& module : graph.modules) {
    if (module.path.empty() || module.path.find('.') != std::string::npos || module.calls.size() != 1) continue;
    const auto& nodes = module.calls[0].nodes;
    if (nodes.last < last && 2 * static_cast<int32_t>(nodes.size()) > last) return module.path;
  }
  return "";
}

// Where no module is the base model: what the last Linear of each token reads, or what one token of each row is of.
std::optional<States> states_of_last_linear(const Graph& graph, const Weights& weights, int32_t logits) {
  const auto& form = graph.slots[logits].shape;
  bool passed = false;
  for (int32_t slot = logits; slot >= 0;) {
    if (passed && are_states(graph.slots[slot], form)) return States{slot, "", 0};
    const int32_t producer = graph.slots[slot].producer;
    if (producer < 0) break;
    const auto& node = graph.nodes[producer];
    if (!is_by_token(node.operator_name()) && !takes_one(graph, node)) break;
    passed = passed || weights.multiplies(node);
    slot = node.slot(0);
  }
  return std::nullopt;
}

// What the last Linear reads of each row, where no tokens come out.
std::optional<States> states_of_rows(const Graph& graph, const Weights& weights, int32_t logits) {
  const auto& form = graph.slots[logits].shape;
  for (int32_t slot = logits; form.size() == 2 && slot >= 0;) {
    const int32_t producer = graph.slots[slot].producer;
    if (producer < 0 || !is_by_token(graph.nodes[producer].operator_name())) break;
    slot = graph.nodes[producer].slot(0);
    if (slot < 0 || !weights.multiplies(graph.nodes[producer])) continue;
    const auto& info = graph.slots[slot];
    const bool are_rows = info.shape.size() == 2 && info.shape[0] == form[0] && info.shape[1].number > 0;
    return are_rows && info.is_real() && info.producer >= 0
               ? std::optional(States{slot, most_of_all(graph, producer), 0})
               : std::nullopt;
  }
  return std::nullopt;
}

// The head behind states.
class HeadFinder {
 public:
  HeadFinder(const Graph& graph, const Weights& weights, int32_t logits)
      : graph_(graph), weights_(weights), logits_(logits) {
    for (const auto& input : graph.inputs)
      if ((input.kind == Input::Kind::buffer || input.kind == Input::Kind::constant) && is_row(input.slot))
        rows_.insert(input.slot);
  }

  std::optional<OwnHead> behind(const States& from) {
    head_.states = from.slot, head_.base = from.base;
    made_.insert(from.slot);
    for (int32_t i = graph_.slots[from.slot].producer + 1; i < static_cast<int32_t>(graph_.nodes.size()); ++i) take(i);
    if (!made_.contains(logits_)) {
      why_ = why_not(from);
      return std::nullopt;
    }
    choose_token();
    keep_needed();
    // What is more than the rest of the network is no head.
    if (from.nodes > 0 && static_cast<int32_t>(head_.nodes.size()) > from.nodes) return std::nullopt;
    return std::move(head_);
  }

  const std::string& why() const { return why_; }

 private:
  bool is_made(int32_t slot) const { return made_.contains(slot); }

  // One value a feature, the same for every token, as BART's final_logits_bias [1, words].
  bool is_row(int32_t slot) const {
    if (slot < 0) return false;
    const auto& shape = graph_.slots[slot].shape;
    return shape.size() == 1 || (shape.size() == 2 && shape[0].number == 1);
  }

  // A node that reads what is made of the states, and beside it weights and numbers alone.
  void take(int32_t index) {
    const auto& node = graph_.nodes[index];
    bool reads = false, alone = true;
    for (const auto& argument : node.arguments) {
      Graph::each_slot(argument, [&](int32_t slot) {
        reads = reads || is_made(slot);
        alone = alone && (is_made(slot) || rows_.contains(slot) || weights_.parameter(slot) != nullptr);
      });
    }
    if (node.outputs.size() != 1 || node.outputs[0] < 0) return;
    const int32_t out = node.outputs[0];
    if (rows_.contains(weights_.root(out))) {
      // `.to(device)` of one.
      rows_.insert(out);
      head_.nodes.push_back(index);
    }
    if (!reads) return;
    const auto& name = node.operator_name();
    if (name == "aten.index.Tensor" && is_made(node.slot(0)) && out == logits_) {
      // Llama's classifier: of each row the logits of the token in front of its padding.
      logits_ = node.slot(0), head_.reads = OwnHead::Reads::last;
      return;
    }
    if (!alone || !maps_tokens(node)) return;
    made_.insert(out);
    head_.nodes.push_back(index);
  }

  bool maps_tokens(const Node& node) const {
    return is_by_token(node.operator_name()) || takes_all(node) || takes_one(graph_, node);
  }

  // Nodes that the logits are made by, sizes left out.
  std::vector<bool> makers() const {
    std::vector<bool> wanted(graph_.slots.size(), false), result(graph_.nodes.size(), false);
    wanted[logits_] = true;
    for (auto i = static_cast<int32_t>(graph_.nodes.size()) - 1; i >= 0; --i) {
      const auto& node = graph_.nodes[i];
      result[i] = std::any_of(node.outputs.begin(), node.outputs.end(),
                              [&](int32_t out) { return out >= 0 && graph_.slots[out].is_tensor && wanted[out]; });
      if (result[i]) each_read(node, [&](int32_t slot) { wanted[slot] = true; });
    }
    return result;
  }

  // Of what makes logits of the states the first node that maps no token by itself; a view only where there is no
  // other.
  std::string why_not(const States& from) const {
    const auto makes = makers();
    std::set<int32_t> reached{from.slot};
    int32_t view = -1;
    for (int32_t i = graph_.slots[from.slot].producer + 1; i < static_cast<int32_t>(graph_.nodes.size()); ++i) {
      const auto& node = graph_.nodes[i];
      bool reads = false, alone = true;
      each_read(node, [&](int32_t slot) {
        reads = reads || reached.contains(slot);
        alone = alone && (reached.contains(slot) || rows_.contains(slot) || weights_.parameter(slot) != nullptr ||
                          !graph_.slots[slot].is_tensor);
      });
      if (!makes[i] || !reads) continue;
      const bool turns = is_view(node.operator_name());
      if (node.outputs.size() != 1 || !alone || !(turns || maps_tokens(node))) return "it has " + graph_.describe(i);
      if (turns && view < 0) view = i;
      reached.insert(node.outputs[0]);
    }
    return view < 0 ? "they are made of more than the states" : "it has " + graph_.describe(view);
  }

  // x[:]
  bool takes_all(const Node& node) const {
    constexpr int64_t kEnd = std::numeric_limits<int64_t>::max();
    return node.operator_name() == "aten.slice.Tensor" &&
           (is_number(node.arguments[2], 0) || node.arguments[2].value.isNone()) &&
           (is_number(node.arguments[3], kEnd) || node.arguments[3].value.isNone()) && is_number(node.arguments[4], 1);
  }

  void choose_token() {
    if (head_.reads == OwnHead::Reads::last || graph_.slots[logits_].shape.size() == 3) return;
    if (graph_.slots[head_.states].shape.size() == 2) head_.reads = OwnHead::Reads::first;
    for (int32_t index : head_.nodes) {
      const auto& node = graph_.nodes[index];
      if (node.operator_name() == "aten.select.int")
        head_.reads = is_number(node.arguments[2], 0) ? OwnHead::Reads::first : OwnHead::Reads::last;
    }
  }

  // Others, such as a pooler that the head does not read, are left out.
  void keep_needed() {
    head_.logits = logits_;
    std::set<int32_t> needed{logits_};
    std::vector<int32_t> nodes;
    for (auto index = head_.nodes.rbegin(); index != head_.nodes.rend(); ++index) {
      const auto& node = graph_.nodes[*index];
      if (!needed.contains(node.outputs[0])) continue;
      nodes.push_back(*index);
      for (const auto& argument : node.arguments)
        Graph::each_slot(argument, [&](int32_t slot) { needed.insert(slot); });
    }
    head_.nodes.assign(nodes.rbegin(), nodes.rend());
    const auto product = std::find_if(nodes.begin(), nodes.end(),
                                      [&](int32_t index) { return weights_.multiplies(graph_.nodes[index]); });
    if (product != nodes.end()) head_.last_product = *product;
  }

  const Graph& graph_;
  const Weights& weights_;
  int32_t logits_;
  OwnHead head_;
  std::set<int32_t> made_;  // of the states alone
  std::set<int32_t> rows_;  // buffers of one value a feature
  std::string why_;
};

}  // namespace

OwnHead find_own_head(const Graph& graph, const Weights& weights, int32_t logits, bool of_rows) {
  std::string why = "its base model gives no states of tokens";
  for (const auto& states : {states_of_base(graph, logits), states_of_last_linear(graph, weights, logits),
                             of_rows ? states_of_rows(graph, weights, logits) : std::nullopt}) {
    if (!states) continue;
    HeadFinder finder(graph, weights, logits);
    if (auto head = finder.behind(*states)) return std::move(*head);
    if (!finder.why().empty()) why = finder.why();
  }
  fail(ErrorCode::unsupported, "load the exported model",
       "the logits are made by a head that cannot run by itself: " + why,
       {.expected = "a head that maps each token's state, or that of each row's first or last token",
        .hint = "Export a model that gives its states (of Hugging Face: --class AutoModel), and add a head here"});
}

}  // namespace ta::exported
