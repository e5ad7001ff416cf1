#pragma once
// A Split block's parts: which of a batch's tokens each child takes.

#include "core/nn/composition.h"
#include "core/nn/packed_batch.h"

namespace ta {

struct SplitPart {
  const Composition* child;
  at::Tensor tokens;  ///< their numbers, [tokens of the part] int64
  RowLayout rows;
};

/// Parts without tokens are left out.  Throws ERR_OUT_OF_RANGE where the sizes do not add up to a row's tokens.
std::vector<SplitPart> split_tokens(const Composition& setup, const RowLayout& rows, at::Device device);

/// Of a row of so many tokens, which are `prompted` with those of its prompt. Throws ERR_OUT_OF_RANGE where a Split of
/// the setup shares out another number: here alone the two are known apart.
void check_splits(const Composition& setup, int64_t tokens, int64_t prompted);

}  // namespace ta
