#include "core/exported/attention_mask.h"

#include <algorithm>

namespace ta::exported {

namespace {

constexpr float kNothing = -1e30F;

enum class Sight { seen, hidden, neither };

Sight sight(bool value) {
  return value ? Sight::seen : Sight::hidden;
}
Sight sight(float value) {
  if (value == 0) return Sight::seen;
  return value <= kNothing ? Sight::hidden : Sight::neither;
}

template <class T>
MaskForm form_of(const at::Tensor& mask, int64_t tokens) {
  const T* data = mask.const_data_ptr<T>();
  const auto sizes = mask.sizes(), strides = mask.strides();
  // What is repeated in memory is looked at once.
  const auto distinct = [&](int i) { return strides[i] == 0 ? std::min<int64_t>(sizes[i], 1) : sizes[i]; };
  const bool same_for_all_queries = distinct(2) == 1;
  bool all = true, causal = !same_for_all_queries;
  for (int64_t row = 0; row < distinct(0); ++row) {
    for (int64_t head = 0; head < distinct(1); ++head) {
      for (int64_t query = 0; query < distinct(2); ++query) {
        const T* line = data + row * strides[0] + head * strides[1] + query * strides[2];
        for (int64_t key = 0; key < tokens; ++key) {
          const Sight one = sight(line[key * strides[3]]);
          all = all && one == Sight::seen;
          causal = causal && one == (key <= query ? Sight::seen : Sight::hidden);
        }
        if (!all && !causal) return MaskForm::other;
      }
    }
  }
  return all ? MaskForm::none : MaskForm::causal;
}

}  // namespace

MaskForm form_of_mask(const at::Tensor& mask, int64_t tokens) {
  if (!mask.device().is_cpu() || mask.requires_grad() || mask.dim() != 4 || mask.size(3) != tokens)
    return MaskForm::other;
  if (mask.size(2) != tokens && mask.size(2) != 1) return MaskForm::other;
  if (mask.scalar_type() == at::kBool) return form_of<bool>(mask, tokens);
  return mask.scalar_type() == at::kFloat ? form_of<float>(mask, tokens) : MaskForm::other;
}

}  // namespace ta::exported
