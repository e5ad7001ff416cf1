#pragma once
// What a graph computes of a batch's form alone: from the sizes of its inputs, its own constants and those inputs that
// say which tokens there are (a mask, positions), and from no weight and no token. Tables of positions and the mask
// that attention adds are such values. A program keeps them from one run to the next of the same form.

#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue.h>

#include <cstdint>
#include <utility>
#include <vector>

#include "core/exported/graph.h"

namespace ta::exported {

struct FormNodes {
  explicit FormNodes(const Graph& graph);

  std::vector<bool> nodes;           ///< by number; all false where the graph writes to one of their values
  std::vector<std::size_t> sources;  ///< which of the user's inputs have values that they read
};

/// The values of one form.
class FormValues {
 public:
  /// `inputs`: the user's, in order; `sources` as FormNodes has them; `last`: the last node that is run.
  FormValues(const std::vector<at::Tensor>& inputs, const std::vector<std::size_t>& sources, bool training,
             int32_t last);

  /// Whether a run has this form: modes, sizes, and the values of the sources.
  bool fits(const std::vector<at::Tensor>& inputs, const std::vector<std::size_t>& sources, bool training) const;
  void add(int32_t slot, const c10::IValue& value);
  int32_t last() const { return last_; }
  /// Few enough to keep.
  bool small() const { return numbers_ <= kMost; }
  const std::vector<std::pair<int32_t, c10::IValue>>& values() const { return values_; }

 private:
  static constexpr int64_t kMost = 1 << 20;
  bool training_, inference_;
  int32_t last_;
  std::vector<std::vector<int64_t>> sizes_;
  std::vector<at::Tensor> sources_;
  std::vector<std::pair<int32_t, c10::IValue>> values_;
  int64_t numbers_ = 0;
};

}  // namespace ta::exported
