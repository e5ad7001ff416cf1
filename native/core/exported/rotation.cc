#include "core/exported/rotation.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/sqrt.h>
#include <ATen/ops/where.h>

namespace ta::exported {

namespace {

constexpr double kExact = 1e-4;  // of the largest value: float32 through several layers
constexpr double kTurned = 1e-6;

// Of the first `count` features: halves beside each other (Llama), or neighbours (GPT-J).
Rotation pairs_of(int64_t count, bool neighbours) {
  Rotation rotation;
  rotation.first = neighbours ? at::arange(0, count, 2, at::kLong) : at::arange(0, count / 2, at::kLong);
  rotation.second = neighbours ? rotation.first + 1 : rotation.first + count / 2;
  return rotation;
}

// The angles that fit best, if any do. from, to [n, d] float64
bool fit(Rotation& rotation, const at::Tensor& from, const at::Tensor& to) {
  const auto a = from.index_select(1, rotation.first), b = from.index_select(1, rotation.second);
  const auto a2 = to.index_select(1, rotation.first), b2 = to.index_select(1, rotation.second);
  const auto square = (a * a + b * b).sum(0);
  const auto cos = (a * a2 + b * b2).sum(0), sin = (a * b2 - b * a2).sum(0);
  const auto length = at::sqrt(cos * cos + sin * sin);
  const auto any = length > 0;
  rotation.cos = at::where(any, cos / length, 1.0);
  rotation.sin = at::where(any, sin / length, 0.0);
  rotation.turns = (sin.abs() > kTurned * square).any().item<bool>();
  const double largest = from.abs().max().item<double>();
  return (rotation.of(from, false) - to).abs().max().item<double>() <= kExact * largest;
}

}  // namespace

at::Tensor Rotation::of(const at::Tensor& x, bool back) const {
  const auto a = x.index_select(-1, first), b = x.index_select(-1, second);
  const auto c = cos.to(x.scalar_type()), s = (back ? sin.neg() : sin).to(x.scalar_type());
  return x.index_copy(-1, first, a * c - b * s).index_copy(-1, second, b * c + a * s);
}

std::optional<Rotation> find_rotation(const at::Tensor& from, const at::Tensor& to) {
  const auto one = from.to(at::kCPU, at::kDouble), other = to.to(at::kCPU, at::kDouble);
  const int64_t features = one.size(1) - one.size(1) % 2;
  for (int64_t count = features; count > 0; count -= 2) {
    for (const bool neighbours : {false, true}) {
      auto rotation = pairs_of(count, neighbours);
      if (fit(rotation, one, other)) return rotation;
    }
  }
  return std::nullopt;
}

}  // namespace ta::exported
