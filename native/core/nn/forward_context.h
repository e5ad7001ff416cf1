#pragma once
// What a forward pass carries besides the tokens: how rows lie, what each row passes through, and dropout's random
// numbers. It is data, made anew for each batch; nothing in the module tree changes when it does.

#include <memory>
#include <vector>

#include "core/nn/composition.h"
#include "core/nn/packed_batch.h"
#include "core/nn/pass_memo.h"

namespace ta {

class Random;
class PassPrefixes;
class FusionScores;

/// Rows first .. last-1 pass through `setup`; null: the base model alone.
struct RowSegment {
  int64_t first = 0;
  int64_t last = 0;
  std::shared_ptr<const Composition> setup;
};

/// Refers to its parts, which the caller keeps: a copy with another layout costs nothing.
struct ForwardContext {
  const RowLayout* layout = nullptr;                  ///< of the tokens that are handed on with it
  const std::vector<RowSegment>* segments = nullptr;  ///< null or empty: the base model alone
  Random* random = nullptr;                           ///< dropout acts where set: training
  PassMemo* memo = nullptr;                           ///< null: nothing is kept
  const PassPrefixes* prefixes = nullptr;             ///< keys and values that rows have in front; null: none have
  FusionScores* fusion_scores = nullptr;              ///< where they are kept; null: nobody asks

  ForwardContext with(const RowLayout& rows) const {
    auto context = *this;
    context.layout = &rows;
    return context;
  }
};

}  // namespace ta
