// ExportedModel's part that says what a prefix is to a network whose positions begin behind it (Hugging Face's PEFT).
// Where keys are turned by their position, that is the same as turning the prefix the other way round:
//
//   (R_{p+i} q)ᵀ K = (R_i q)ᵀ (R_{-p} K)
//
// The values of a prefix stay, and so does what tokens are to each other.

#include <ATen/TensorOperators.h>
#include <ATen/ops/stack.h>
#include <c10/core/GradMode.h>

#include <algorithm>

#include "core/error.h"
#include "core/exported/exported_model.h"
#include "core/exported/rotation.h"

namespace ta::exported {

namespace {

constexpr int64_t kProbes = 4;

[[noreturn]] void refuse(const std::string& why, const std::string& hint) {
  fail(ErrorCode::unsupported, "exchange a prefix with PEFT", "positions begin behind PEFT's prefixes, and " + why,
       {.expected = "a network whose tokens see those before them, and that turns keys by their positions (rotary "
                    "embeddings, as Llama), in float32",
        .hint = hint});
}

}  // namespace

// Rows of one word each, which every layer makes alike at all positions, but for what positions make of it.
at::Tensor ExportedModel::turned_keys(const at::Tensor& keys, bool back) {
  const c10::NoGradGuard guard;
  const int64_t shift = keys.size(0);
  const std::string apart =
      "Its prefixes go to the adapters library alone; our own families (fromPretrained) take PEFT's";
  if (ids_ < 0 || facts_.has_decoder || !facts_.is_causal) refuse("no graph says what that changes here", apart);
  if (columns_.most != 0 && shift + 1 > columns_.most)
    refuse(text("the graph has ", columns_.most, " positions for a prefix of ", shift), "Train a shorter one");
  const int64_t columns = std::max(shift + 1, columns_.least), vocabulary = std::max<int64_t>(facts_.vocabulary, 2);
  BatchInput input;
  for (int64_t row = 0; row < kProbes; ++row) {
    input.ids.insert(input.ids.end(), columns, static_cast<int32_t>((1 + row * vocabulary / kProbes) % vocabulary));
    input.row_lengths.push_back(static_cast<int32_t>(columns));
  }
  prepare(input);
  const auto batch = PackedBatch::pack(input, program_->device());
  const PaddedRows rows(batch.layout, program_->device(), columns_.least);
  const auto given = inputs_of(batch, rows, nullptr);
  const ForwardContext context{&batch.layout};
  std::vector<at::Tensor> turned;
  bool turns = false;
  for (size_t layer = 0; layer < prefixes_.size(); ++layer) {
    const auto& place = prefixes_[layer];
    const auto& attention = place.attentions[0];
    const Pass pass{context, rows};
    Execution execution(*program_, &pass, false);
    const Running running(execution, pass);
    for (size_t i = 0; i < given.size(); ++i) execution.set(user_inputs_[i]->slot, given[i]);
    execution.run_nodes({0, reader_of_keys(attention) - 1});
    const auto made = keys_of(attention, execution);  // [.., columns, d]
    const auto at = [&](int64_t column) { return made.select(-2, column).reshape({-1, place.size}); };
    const auto rotation = find_rotation(at(0), at(shift));
    if (!rotation) refuse("this network counts them in another way", apart);
    turns = turns || rotation->turns;
    const auto own = keys.select(1, static_cast<int64_t>(layer)).reshape({shift, place.heads, place.size});
    turned.push_back(rotation->of(own, back).reshape({shift, -1}));
  }
  if (!turns) refuse("this network has none in its keys", apart);
  return at::stack(turned, 1);
}

}  // namespace ta::exported
