// Where heads lie in a value of three axes, and what is not told.
#include "core/exported/parted_heads.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>

#include "check.h"
#include "core/exported/operators.h"
#include "tensors.h"

using namespace ta::exported;

namespace {

constexpr Size kRows{-1, 0}, kTokens{-1, 1}, kJoint{-1, 2};

Size number(int64_t value) {
  return {value, -1};
}

// Values one behind the other, each made of the one before by the operator beside it.
struct Chain {
  Graph graph;

  explicit Chain(const std::vector<Size>& shape) { add(shape); }
  Chain& then(const std::string& name, const std::vector<Size>& shape, const std::vector<int64_t>& numbers = {}) {
    Node node;
    node.op = &find_operator("torch.ops.aten." + name, "a test");
    node.arguments.resize(1);
    node.arguments[0].kind = Argument::Kind::slot, node.arguments[0].slot = last();
    for (int64_t one : numbers) node.arguments.emplace_back().value = one;
    node.outputs = {last() + 1};
    graph.nodes.push_back(node);
    add(shape);
    graph.slots.back().producer = static_cast<int32_t>(graph.nodes.size()) - 1;
    return *this;
  }
  std::optional<PartedHeads> heads(const Size& rows = kRows, int64_t size = 4) {
    stopped = -1;
    return read_heads(graph, last(), rows, size, stopped);
  }
  int32_t last() const { return static_cast<int32_t>(graph.slots.size()) - 1; }

  int32_t stopped = -1;

 private:
  void add(const std::vector<Size>& shape) {
    SlotInfo slot;
    slot.is_tensor = true, slot.shape = shape, slot.producer = -1;
    graph.slots.push_back(slot);
  }
};

const std::vector<Size> kJoined{kJoint, kTokens, number(4)};

}  // namespace

TEST(rows_and_heads_in_one_axis_are_told_by_the_four_before_it) {
  const std::vector<Size> apart{kRows, number(2), kTokens, number(4)};
  for (const auto* joins : {"view.default", "reshape.default", "flatten.using_ints"}) {
    auto chain = Chain(apart).then("contiguous.default", apart).then(joins, kJoined);
    CHECK(chain.heads() == (PartedHeads{2, 2, false}));
  }
  auto heads_first = Chain({number(2), kRows, kTokens, number(4)}).then("reshape.default", kJoined);
  CHECK(heads_first.heads() == (PartedHeads{2, 2, true}));
}

TEST(one_head_has_the_rows_alone) {
  CHECK(Chain({kRows, kTokens, number(4)}).heads() == (PartedHeads{1, 1, false}));
}

TEST(tokens_first_are_told_by_what_is_turned_round) {
  auto chain = Chain({kTokens, kRows, number(8)})
                   .then("view.default", {kTokens, kJoint, number(4)})
                   .then("transpose.int", kJoined);
  CHECK(chain.heads() == (PartedHeads{2, 2, false}));
}

TEST(keys_that_are_repeated_for_several_queries_are_as_many_as_before) {
  const PartedHeads shared{4, 2, false};
  const std::vector<Size> two{kRows, number(2), kTokens, number(4)}, four{kRows, number(4), kTokens, number(4)};
  const std::vector<Size> twice{{-1, 3}, kTokens, number(4)};
  const auto* repeat = "repeat_interleave.self_int";
  CHECK(Chain(two).then(repeat, four, {2, 1}).then("reshape.default", kJoined).heads() == shared);
  CHECK(Chain(two).then("reshape.default", kJoined).then(repeat, twice, {2, 0}).heads() == shared);
  CHECK(Chain({kRows, kTokens, number(2), number(4)})
            .then(repeat, {kRows, kTokens, number(4), number(4)}, {2, -2})
            .then("transpose.int", four, {1, 2})
            .then("reshape.default", kJoined)
            .heads() == shared);
  const std::vector<Size> five{kRows, number(2), number(2), kTokens, number(4)};
  CHECK(Chain({kRows, number(2), number(1), kTokens, number(4)})
            .then("expand.default", five)
            .then("reshape.default", kJoined)
            .heads() == shared);
  // Of tokens, it is no repeat of heads; rows behind heads are none that it could be told of.
  CHECK(Chain(four).then(repeat, four, {2, 2}).heads() == (PartedHeads{4, 4, false}));
  CHECK(!Chain({number(2), kRows, kTokens, number(4)})
             .then("reshape.default", kJoined)
             .then(repeat, twice, {2, 0})
             .heads());
}

TEST(what_is_not_told_is_no_heads) {
  // Nothing says which of the two rows are: an archive of two rows of two heads.
  auto twice = Chain({number(2), number(2), kTokens, number(4)}).then("reshape.default", kJoined);
  CHECK(!twice.heads(number(2)));
  CHECK_EQ(twice.stopped, 0);
  // With as many rows as heads are not, it does.
  CHECK(twice.heads(number(3)) == std::nullopt);
  auto three = Chain({number(3), number(2), kTokens, number(4)}).then("reshape.default", kJoined);
  CHECK(three.heads(number(3)) == (PartedHeads{2, 2, false}));
  auto one = Chain({number(1), number(1), kTokens, number(4)}).then("reshape.default", kJoined);
  CHECK(one.heads(number(1)) == (PartedHeads{1, 1, false}));
  // Something else on the way, other features, or no beginning.
  auto rolled = Chain({kRows, number(2), kTokens, number(4)}).then("relu.default", kJoined);
  CHECK(!rolled.heads());
  CHECK_EQ(rolled.stopped, 0);
  CHECK(!Chain({kRows, number(2), kTokens, number(8)}).then("reshape.default", kJoined).heads());
  CHECK(!Chain(kJoined).heads());
}

TEST(joined_tensors_come_apart_and_back) {
  const auto joined = check::counting({6, 2, 4});  // three rows of two heads
  const PartedHeads rows{2, 2, false}, heads{2, 2, true};
  CHECK(at::equal(heads_apart(joined, rows).select(0, 1).select(0, 1), joined.select(0, 3)));
  CHECK(at::equal(heads_apart(joined, heads).select(0, 1).select(0, 1), joined.select(0, 4)));
  for (const auto& parted : {rows, heads}) {
    const auto apart = heads_apart(joined, parted);
    CHECK_EQ(apart.sizes().vec(), (std::vector<int64_t>{3, 2, 2, 4}));
    CHECK(at::equal(rows_first(apart, parted).flatten(0, 1), joined));
  }
}
