#include "core/exported/written_attention.h"

#include <algorithm>

namespace ta::exported {

namespace {

constexpr int kMostSteps = 64;

class AttentionReader {
 public:
  AttentionReader(const Graph& graph, const AttentionCore& core, const Size& rows)
      : graph_(graph), core_(core), rows_(rows) {}

  std::optional<WrittenAttention> read(int32_t& stopped) {
    const auto read = read_all();
    stopped = at_;
    return read;
  }

 private:
  std::optional<WrittenAttention> read_all() {
    at_ = core_.node;
    if (core_.scores < 0) return std::nullopt;
    const auto axes = read_axes(graph_, core_, rows_, at_);
    if (!axes) return std::nullopt;
    own_.scores = core_.scores, own_.softmax = core_.softmax, own_.product = core_.node;
    own_.query = core_.query, own_.key = core_.key, own_.axes = *axes;
    in_turn_ = std::is_sorted(axes->scores.begin(), axes->scores.end());
    key_from_end_ = axes->scores.size() - axes->scores.back();
    if (!read_scores_product() || !read_keys() || !read_values()) return std::nullopt;
    if (!read_scores() || !read_weights()) return std::nullopt;
    return own_;
  }

  const Node& node(int32_t index) const { return graph_.nodes[index]; }
  const std::vector<Size>& shape(int32_t slot) const {
    static const std::vector<Size> none;
    return slot < 0 ? none : graph_.slots[slot].shape;
  }
  // The node that makes a value, which is the one that is read now.
  const Node* maker(int32_t slot) {
    const int32_t producer = slot < 0 ? -1 : graph_.slots[slot].producer;
    if (producer >= 0) at_ = producer;
    return producer < 0 ? nullptr : &node(producer);
  }
  int32_t index_of(const Node& one) const { return static_cast<int32_t>(&one - graph_.nodes.data()); }

  // How many keys the scores in a slot are for.
  Size keys_of(int32_t slot) const {
    const auto& own = shape(slot);
    return own.size() < key_from_end_ ? Size{} : own[own.size() - key_from_end_];
  }
  Size keys() const { return shape(own_.key)[own_.axes.key[own_.axes.key.size() - 2]]; }

  bool read_scores_product() {
    at_ = own_.scores;
    const auto& product = node(own_.scores);
    const auto& query = shape(own_.query);
    if (own_.axes.matrices && query.size() == 4 && query[1].number < 1) return false;
    own_.size = query[own_.axes.query.back()].number;
    if (own_.size < 1 || shape(own_.key)[own_.axes.key.back()].number != own_.size) return false;
    if (product.operator_name() != "aten.baddbmm.default") return true;
    const auto alpha = product.arguments[4].number();
    if (alpha) own_.steps.push_back({ScoreStep::Kind::multiply, own_.scores, -1, *alpha});
    return alpha.has_value();
  }

  // Back to where heads are parted: from [.., d, tokens], or from what an einsum reads. What scales the keys on the
  // way scales the scores.
  bool read_keys() {
    int32_t slot = own_.key;
    std::vector<ScoreStep> scales;
    bool turned = node(own_.scores).operator_name() == "aten.einsum.default";
    const bool by_einsum = turned;
    for (int i = 0; i < kMostSteps; ++i) {
      const auto* one = maker(slot);
      const auto by = one == nullptr ? std::nullopt : scale(*one);
      if (by && (by->slot < 0 || is_single(by->slot))) {
        if (turned && !by_einsum) break;
        scales.push_back(*by);
      } else if (turned) {
        break;
      } else if (one != nullptr && one->is_one_of({"aten.transpose.int", "aten.permute.default"})) {
        turned = true;
      } else if (one == nullptr || !keeps_values(*one)) {
        return false;
      }
      slot = one->slot(0);
    }
    own_.steps.insert(own_.steps.begin(), scales.rbegin(), scales.rend());
    if (by_einsum) return take_heads_of(slot, own_.axes.key);
    // The last two turned round, or all of [rows, tokens, heads, d] at once.
    const size_t rank = shape(own_.key).size();
    const auto& before = shape(slot);
    if (before.size() != rank || before.back().number != own_.size) return false;
    if (rank == 4 && before[1] != shape(own_.key)[1]) {
      const int64_t heads = before[2].number;
      return before[2] == shape(own_.key)[1] && take_heads(heads, heads_before_repeat(graph_, slot, heads, 2));
    }
    return parted(slot);
  }

  // As the axes tell them; where these are in turn, back to where several of the queries' share one.
  bool take_heads_of(int32_t slot, const Axes& axes) {
    const auto& told = own_.axes;
    const bool shared = told.heads != told.key_heads;
    if (!shared && std::is_sorted(axes.begin(), axes.end())) return parted(slot);
    if (shared) return take_heads(told.heads, told.key_heads);
    const bool apart = axes.size() == 4;
    const int64_t heads = told.heads > 0 ? told.heads : apart ? shape(slot)[axes[1]].number : 0;
    return heads > 0 && take_heads(heads, apart ? heads_before_repeat(graph_, slot, heads, axes[1]) : heads);
  }

  bool read_values() {
    at_ = own_.product;
    const auto& value = shape(core_.value);
    const auto& axes = own_.axes.value;
    if (value[axes.back()].number != own_.size || value[axes[axes.size() - 2]] != keys()) return false;
    return take_heads_of(core_.value, axes);
  }

  bool parted(int32_t slot) {
    const auto heads = read_heads(graph_, slot, rows_, own_.size, at_);
    return heads && take(*heads);
  }

  // Keys and values have the same.
  bool take(const PartedHeads& heads) {
    if (own_.parted.heads == 0) own_.parted = heads;
    return own_.parted == heads;
  }
  bool take_heads(int64_t heads, int64_t key_heads) { return take({heads, key_heads}); }

  // A step by a number or by a tensor that is the same for all keys.
  std::optional<ScoreStep> step(const Node& one, ScoreStep::Kind kind, size_t operand) const {
    ScoreStep result{kind, index_of(one), one.slot(operand), 0};
    if (result.slot >= 0) {
      if (one.arguments[operand].wrapped || !same_for_all(result.slot)) return std::nullopt;
      return result;
    }
    const auto number = one.arguments[operand].number();
    if (!number) return std::nullopt;
    result.number = *number;
    return result;
  }

  bool is_single(int32_t slot) const {
    return std::all_of(shape(slot).begin(), shape(slot).end(), [](const Size& one) { return one.number == 1; });
  }

  bool same_for_all(int32_t slot) const {
    const auto& own = shape(slot);
    const bool one = own.size() < key_from_end_ || own[own.size() - key_from_end_].number == 1;
    return graph_.slots[slot].is_tensor && own.size() <= 4 && one;
  }

  std::optional<ScoreStep> scale(const Node& one, size_t operand = 1) const {
    if (one.is_one_of({"aten.mul.Tensor", "aten.mul_.Tensor", "aten.mul.Scalar"}))
      return step(one, ScoreStep::Kind::multiply, operand);
    if (operand == 1 && one.is_one_of({"aten.div.Tensor", "aten.div_.Tensor", "aten.div.Scalar"}))
      return step(one, ScoreStep::Kind::divide, operand);
    return std::nullopt;
  }

  // Whether a value is made of the scores: nodes stand in the order in which they run.
  bool made_of_scores(int32_t slot) const {
    std::vector<int32_t> open{graph_.slots[slot].producer}, seen;
    while (!open.empty()) {
      const int32_t index = open.back();
      open.pop_back();
      if (index == own_.scores) return true;
      if (index < own_.scores || std::find(seen.begin(), seen.end(), index) != seen.end()) continue;
      seen.push_back(index);
      each_read(node(index), [&](int32_t read) { open.push_back(graph_.slots[read].producer); });
    }
    return false;
  }

  // Whether the scores are what stands at `index` of a node's arguments, and no other tensor is made of them.
  bool scores_at(const Node& one, size_t index) const {
    if (one.slot(index) < 0 || one.arguments[index].wrapped || !made_of_scores(one.slot(index))) return false;
    int64_t count = 0;
    each_read(one, [&](int32_t read) { count += made_of_scores(read) ? 1 : 0; });
    return count == 1;
  }

  // What a node does to the scores that it reads at `index`; nothing where that is not understood. A bias, or a mask,
  // is a step of none.
  bool take_step(const Node& one, size_t index, std::vector<ScoreStep>& steps) const {
    if (keeps_values(one)) return index == 0;
    if (reshapes(one)) return keeps_pairs(one.slot(0), one.outputs[0]);
    if (one.is_one_of({"aten.tanh.default", "aten.tanh_.default"})) {
      steps.push_back({ScoreStep::Kind::tanh, index_of(one)});
      return true;
    }
    if (one.is_one_of({"aten.masked_fill.Scalar", "aten.masked_fill.Tensor", "aten.masked_fill_.Scalar",
                       "aten.masked_fill_.Tensor"}))
      return index == 0;
    if (one.is_one_of({"aten.where.self", "aten.where.ScalarOther", "aten.where.ScalarSelf"})) return index > 0;
    const auto by = scale(one, 1 - index);
    if (!by) return take_sum(one, index, steps);
    steps.push_back(*by);
    return fits_heads(one, *by);
  }

  // A tensor of several values needs rows and heads apart, and in turn.
  bool fits_heads(const Node& one, const ScoreStep& by) const {
    if (by.slot < 0 || is_single(by.slot)) return true;
    return in_turn_ && !own_.parted.heads_first && shape(one.outputs[0]).size() == 4;
  }

  bool take_sum(const Node& one, size_t index, std::vector<ScoreStep>& steps) const {
    const bool adds = one.is_one_of({"aten.add.Tensor", "aten.add_.Tensor", "aten.add.Scalar"});
    const bool subtracts = index == 0 && one.is_one_of({"aten.sub.Tensor", "aten.sub_.Tensor", "aten.sub.Scalar"});
    if (!adds && !subtracts) return false;
    const auto factor = one.arguments[2].number();
    if (!factor || *factor != 1) return false;
    const int32_t other = one.slot(1 - index);
    if (other >= 0 && !same_for_all(other)) return !shape(other).empty() && shape(other).size() <= 4;
    const auto by = step(one, adds ? ScoreStep::Kind::add : ScoreStep::Kind::subtract, 1 - index);
    if (!by) return false;
    steps.push_back(*by);
    return fits_heads(one, *by);
  }

  // [.., queries, keys] in another form, the last two as they were.
  bool keeps_pairs(int32_t from, int32_t to) const {
    const auto &before = shape(from), &after = shape(to);
    if (!in_turn_ || before.size() < 3 || before.size() > 4 || after.size() < 3 || after.size() > 4) return false;
    return before.back() == after.back() && before[before.size() - 2] == after[after.size() - 2];
  }

  // From the softmax back to the first product.
  bool read_scores() {
    at_ = own_.softmax;
    const auto& softmax = node(own_.softmax);
    const auto dim = softmax.arguments[1].number();
    int32_t slot = softmax.slot(0);
    const auto from_end = static_cast<double>(key_from_end_), rank = static_cast<double>(shape(slot).size());
    if (!dim || (*dim != -from_end && *dim != rank - from_end) || softmax.outputs[0] < 0) return false;
    std::vector<ScoreStep> steps;
    for (int i = 0; i < kMostSteps; ++i) {
      const auto* one = maker(slot);
      if (one == nullptr || keys_of(slot) != keys()) return false;
      if (index_of(*one) == own_.scores) {
        own_.steps.insert(own_.steps.end(), steps.rbegin(), steps.rend());
        return true;
      }
      size_t index = 0;
      while (index < one->arguments.size() && !scores_at(*one, index)) ++index;
      if (index > 2 || !take_step(*one, index, steps)) return false;
      slot = one->slot(index);
    }
    return false;
  }

  // From the second product back to the softmax.
  bool read_weights() {
    int32_t slot = own_.axes.weights;
    for (int i = 0; i < kMostSteps; ++i) {
      const auto* one = maker(slot);
      if (one == nullptr || keys_of(slot) != keys()) return false;
      if (index_of(*one) == own_.softmax) return true;
      if (one->operator_name() == "aten.dropout.default") {
        const auto rate = one->arguments[1].number();
        if (!rate || own_.dropout > 0) return false;
        own_.dropout = *rate;
      } else if (reshapes(*one)) {
        if (!keeps_pairs(one->slot(0), slot)) return false;
      } else if (!keeps_values(*one) && !one->is_one_of({"aten.masked_fill.Scalar", "aten.masked_fill.Tensor"})) {
        return false;
      }
      slot = one->slot(0);
    }
    return false;
  }

  const Graph& graph_;
  const AttentionCore& core_;
  const Size& rows_;
  WrittenAttention own_;
  int32_t at_ = -1;
  bool in_turn_ = true;      // the axes of the scores
  size_t key_from_end_ = 1;  // among them
};

}  // namespace

std::optional<WrittenAttention> read_attention(const Graph& graph, const AttentionCore& core, const Size& rows,
                                               int32_t& stopped) {
  return AttentionReader(graph, core, rows).read(stopped);
}

}  // namespace ta::exported
