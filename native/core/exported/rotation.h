#pragma once
// How far a network turns keys from one position to another (rotary embeddings, Su et al. 2021, arXiv 2104.09864), seen
// by what it makes of one word at both: pairs of features turn by an angle of their own, the others stay.
//
//   (a, b) → (a cos φ − b sin φ, b cos φ + a sin φ)

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

namespace ta::exported {

/// φ of each pair, and which features are a pair.
struct Rotation {
  at::Tensor cos, sin;       ///< [pairs]
  at::Tensor first, second;  ///< features of one head, [pairs]
  bool turns = false;        ///< some angle is not 0

  /// x [..., d]; by −φ where `back`.
  at::Tensor of(const at::Tensor& x, bool back) const;
};

/// The same vectors [n, d] at two positions; nothing where no rotation makes the one of the other.
std::optional<Rotation> find_rotation(const at::Tensor& from, const at::Tensor& to);

}  // namespace ta::exported
