// Equations of einsum, with their axes by hand.
#include "core/exported/einsum.h"

#include "check.h"
#include "core/exported/operators.h"

using namespace ta::exported;

namespace {

// Three tensors of as many axes: left, right, and what comes out.
std::optional<Einsum> read(const std::string& equation, std::vector<size_t> counts) {
  Graph graph;
  for (size_t count : counts) {
    SlotInfo slot;
    slot.is_tensor = true, slot.shape.resize(count);
    graph.slots.push_back(slot);
  }
  Node node;
  node.op = &find_operator("torch.ops.aten.einsum.default", "a test");
  node.arguments.resize(3);
  node.arguments[0].value = equation;
  node.arguments[1].kind = Argument::Kind::list;
  for (int32_t slot = 0; slot + 1 < static_cast<int32_t>(counts.size()); ++slot)
    node.arguments[1].items.push_back({.slot = slot});
  node.outputs = {static_cast<int32_t>(counts.size()) - 1};
  return read_einsum(graph, node);
}

}  // namespace

TEST(einsum_names_each_axis) {
  const auto one = read("b q h d, b k h d -> b h q k", {4, 4, 4});
  CHECK(one.has_value());
  CHECK_EQ(one->left, 0), CHECK_EQ(one->right, 1);
  CHECK_EQ(one->left_axes, std::string("bqhd")), CHECK_EQ(one->right_axes, std::string("bkhd"));
  CHECK_EQ(one->out_axes, std::string("bhqk"));
}

TEST(einsum_dots_are_the_same_axes_in_all_from_the_end) {
  const auto one = read("...id,...jd->...ij", {4, 3, 4});
  CHECK(one.has_value());
  CHECK_EQ(one->left_axes, std::string("\2\1id")), CHECK_EQ(one->right_axes, std::string("\1jd"));
  CHECK_EQ(one->out_axes, std::string("\2\1ij"));
}

TEST(einsum_without_an_arrow_gives_what_one_tensor_has_by_the_alphabet) {
  CHECK_EQ(read("...ij,...jd", {4, 4, 4})->out_axes, std::string("\2\1di"));
  CHECK_EQ(read("ij,jz", {2, 2, 2})->out_axes, std::string("iz"));
}

TEST(einsum_of_other_forms_is_not_read) {
  CHECK(!read("bii,bij->bj", {3, 3, 2}));
  CHECK(!read("bij,bjk->bik", {3, 4, 3}));
  CHECK(!read("bij->bji", {3, 3}));
  CHECK(!read("ij,jk,kl->il", {2, 2, 2, 2}));
  CHECK(!read("......i,ij->j", {3, 2, 1}));
  CHECK(!read("", {2, 2, 2}));
}
