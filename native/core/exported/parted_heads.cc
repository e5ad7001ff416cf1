#include "core/exported/parted_heads.h"

namespace ta::exported {

namespace {

constexpr int kMostPartedSteps = 64;

class PartedReader {
 public:
  PartedReader(const Graph& graph, const Size& rows, int64_t size, int32_t& at)
      : graph_(graph), rows_(rows), size_(size), at_(at) {}

  std::optional<PartedHeads> read(int32_t slot) {
    for (int i = 0; i < kMostPartedSteps; ++i) {
      const auto& own = shape(slot);
      if (own.size() == 4) return of_four(slot, i > 0);
      if (own.size() == 3 && own[0] == rows_) return PartedHeads{1, 1};
      const auto* one = maker(slot);
      if (one != nullptr && one->operator_name() == "aten.transpose.int") return behind_tokens(one->slot(0));
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
    const int64_t heads = own[rows_first ? 1 : 0].number;
    return PartedHeads{heads, rows_first ? heads_before_repeat(graph_, slot, heads) : heads, !rows_first};
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

int64_t heads_before_repeat(const Graph& graph, int32_t slot, int64_t heads) {
  const auto made = [&](int32_t value) {
    const int32_t producer = graph.slots[value].producer;
    return producer < 0 ? nullptr : &graph.nodes[producer];
  };
  // reshape(expand(unsqueeze(k))): each head of the keys for several of the queries.
  const auto* joined = made(slot);
  if (joined == nullptr || !reshapes(*joined)) return heads;
  const int32_t repeated = joined->slot(0);
  const auto& five = graph.slots[repeated].shape;
  const auto* expanded = made(repeated);
  if (five.size() != 5 || expanded == nullptr || expanded->operator_name() != "aten.expand.default") return heads;
  return five[1].number > 0 && five[1].number * five[2].number == heads ? five[1].number : heads;
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
