#include "core/exported/parted_heads.h"

namespace ta::exported {

namespace {

constexpr int kMostPartedSteps = 64;

class PartedReader {
 public:
  PartedReader(const Graph& graph, const Size& rows, int64_t size, int32_t& at)
      : graph_(graph), rows_(rows), size_(size), at_(at) {}

  std::optional<PartedHeads> read(int32_t slot) {
    int64_t repeats = 1;  // of heads that are joined with rows already
    for (int i = 0; i < kMostPartedSteps; ++i) {
      const auto& own = shape(slot);
      if (own.size() == 4) return repeated(of_four(slot, i > 0), repeats);
      if (own.size() == 3 && own[0] == rows_) return repeated(PartedHeads{1, 1}, repeats);
      const auto* one = maker(slot);
      if (one != nullptr && own.size() == 3 && one->operator_name() == "aten.repeat_interleave.self_int") {
        const auto times = one->arguments[1].number(), dim = one->arguments[2].number();
        if (!times || !dim || *times < 1 || (*dim != 0 && *dim != -3) || one->slot(0) < 0) return std::nullopt;
        repeats *= static_cast<int64_t>(*times);
        slot = one->slot(0);
        continue;
      }
      if (one != nullptr && reshapes(*one) && one->slot(0) >= 0 && shape(one->slot(0)).size() == 5)
        return repeated(of_five(one->slot(0), own), repeats);
      if (one != nullptr && one->operator_name() == "aten.transpose.int")
        return repeated(behind_tokens(one->slot(0)), repeats);
      if (one == nullptr || (!keeps_values(*one) && !reshapes(*one)) || one->slot(0) < 0) return std::nullopt;
      const auto& before = shape(one->slot(0));
      if (own.size() != 3 || before.size() < 3 || before.size() > 4 || before.back() != own.back() ||
          before[before.size() - 2] != own[1])
        return std::nullopt;
      slot = one->slot(0);
    }
    return std::nullopt;
  }

 private:
  const std::vector<Size>& shape(int32_t slot) const { return graph_.slots[slot].shape; }
  // The node that makes a value, which is the one that is read now.
  const Node* maker(int32_t slot) {
    const int32_t producer = graph_.slots[slot].producer;
    if (producer >= 0) at_ = producer;
    return producer < 0 ? nullptr : &graph_.nodes[producer];
  }

  std::optional<PartedHeads> of_four(int32_t slot, bool joined) const {
    const auto& own = shape(slot);
    if (own[3].number != size_) return std::nullopt;
    const bool rows_first = own[0] == rows_ && own[1].number > 0;
    const bool heads_first = joined && own[1] == rows_ && own[0].number > 0;
    if (!rows_first && !heads_first) return std::nullopt;
    // In an archive of as many rows as there are heads, their sizes do not tell which are which.
    if (rows_first && heads_first && rows_.number != 1) return std::nullopt;
    const size_t axis = rows_first ? 1 : 0;
    const int64_t heads = own[axis].number;
    return PartedHeads{heads, heads_before_repeat(graph_, slot, heads, axis), !rows_first};
  }

  // [rows, key heads, times, tokens, d], each for several of the queries', which becomes [rows · heads, tokens, d].
  std::optional<PartedHeads> of_five(int32_t slot, const std::vector<Size>& joined) {
    const auto& own = shape(slot);
    const auto* one = maker(slot);
    const bool fits = own[0] == rows_ && own[1].number > 0 && own[2].number > 0 && joined.size() == 3 &&
                      own[3] == joined[1] && own[4] == joined[2];
    if (!fits || one == nullptr || one->operator_name() != "aten.expand.default") return std::nullopt;
    return PartedHeads{own[1].number * own[2].number, own[1].number};
  }

  // Each of them for several of the queries': rows come first.
  static std::optional<PartedHeads> repeated(std::optional<PartedHeads> heads, int64_t times) {
    if (!heads || times == 1) return heads;
    if (heads->heads_first) return std::nullopt;
    heads->heads *= times;
    return heads;
  }

  // nn.MultiheadAttention has tokens first: [tokens, rows · heads, d], made of [tokens, rows, heads · d].
  std::optional<PartedHeads> behind_tokens(int32_t slot) {
    if (slot < 0) return std::nullopt;
    const auto* one = maker(slot);
    if (one == nullptr || !reshapes(*one) || one->slot(0) < 0 || shape(slot).size() != 3) return std::nullopt;
    const auto &own = shape(slot), &before = shape(one->slot(0));
    const int64_t width = before.size() == 3 ? before[2].number : 0;
    if (width < 1 || before[0] != own[0] || before[1] != rows_ || own[2].number != size_ || width % size_ != 0)
      return std::nullopt;
    return PartedHeads{width / size_, width / size_};
  }

  const Graph& graph_;
  const Size& rows_;
  int64_t size_;
  int32_t& at_;
};

}  // namespace

std::optional<PartedHeads> read_heads(const Graph& graph, int32_t slot, const Size& rows, int64_t size,
                                      int32_t& stopped) {
  return PartedReader(graph, rows, size, stopped).read(slot);
}

at::Tensor heads_apart(const at::Tensor& joined, const PartedHeads& parted) {
  return rows_first(
      joined.unflatten(0, parted.heads_first ? at::IntArrayRef{parted.heads, -1} : at::IntArrayRef{-1, parted.heads}),
      parted);
}

at::Tensor rows_first(const at::Tensor& apart, const PartedHeads& parted) {
  return parted.heads_first ? apart.transpose(0, 1) : apart;
}

int64_t heads_before_repeat(const Graph& graph, int32_t slot, int64_t heads, size_t axis) {
  const auto number = [](const Argument& argument) { return static_cast<int64_t>(argument.number().value_or(-100)); };
  const auto on_axis = [](int64_t dim, size_t rank) { return dim < 0 ? dim + static_cast<int64_t>(rank) : dim; };
  for (int i = 0; i < kMostPartedSteps; ++i) {
    const int32_t producer = graph.slots[slot].producer;
    if (producer < 0 || graph.slots[slot].shape.size() != 4) break;
    const auto& one = graph.nodes[producer];
    const int32_t before = one.slot(0);
    if (before < 0) break;
    if (one.operator_name() == "aten.repeat_interleave.self_int") {
      const int64_t repeats = number(one.arguments[1]), dim = on_axis(number(one.arguments[2]), 4);
      return repeats > 0 && dim == static_cast<int64_t>(axis) && heads % repeats == 0 ? heads / repeats : heads;
    }
    if (reshapes(one)) {
      // reshape(expand(unsqueeze(k))): each head of the keys for several of the queries.
      const auto& five = graph.slots[before].shape;
      const int32_t expanded = graph.slots[before].producer;
      if (five.size() != 5 || expanded < 0 || graph.nodes[expanded].operator_name() != "aten.expand.default") break;
      const bool fits = five[axis].number > 0 && five[axis].number * five[axis + 1].number == heads;
      return fits ? five[axis].number : heads;
    }
    if (one.operator_name() == "aten.transpose.int") {
      const int64_t a = on_axis(number(one.arguments[1]), 4), b = on_axis(number(one.arguments[2]), 4);
      const auto own = static_cast<int64_t>(axis);
      axis = static_cast<size_t>(own == a ? b : own == b ? a : own);
    } else if (!keeps_values(one)) {
      break;
    }
    slot = before;
  }
  return heads;
}

bool reshapes(const Node& node) {
  return node.is_one_of({"aten.view.default", "aten.reshape.default", "aten._unsafe_view.default",
                         "aten.flatten.using_ints", "aten.unflatten.int"});
}

bool keeps_values(const Node& node) {
  return node.is_one_of({"aten.to.dtype", "aten.to.dtype_layout", "aten.to.device", "aten._to_copy.default",
                         "aten.type_as.default", "aten.contiguous.default", "aten.clone.default",
                         "aten.alias.default"});
}

}  // namespace ta::exported
