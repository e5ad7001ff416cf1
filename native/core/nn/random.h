#pragma once
// Random numbers that belong to one owner, never to the process: two trainings side by side do not disturb each other,
// and a checkpoint carries its own state.

#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>

namespace ta {

class Random {
 public:
  explicit Random(uint64_t seed, at::Device device = at::kCPU);

  /// The generator's whole state as bytes (CPU: 5056), for checkpoints.
  at::Tensor state();
  void set_state(const at::Tensor& state);

  /// Another source, seeded by this one's next number: for a thread of its own.
  Random fork();

  /// Drawn where the generator is, whatever device the tensor is on: a seed gives each device the same values.
  at::Tensor& normal_(at::Tensor& tensor, double mean, double std);
  at::Tensor& uniform_(at::Tensor& tensor, double low, double high);
  /// Normal values outside [low, high] are drawn again (PyTorch's trunc_normal_, by the inverse of its distribution).
  at::Tensor& truncated_normal_(at::Tensor& tensor, double mean, double std, double low, double high);
  /// Zero with probability p, otherwise 1 / (1 - p).
  at::Tensor keep_mask(at::IntArrayRef shape, const at::TensorOptions& options, double p);

 private:
  template <class Draw>
  at::Tensor& fill(at::Tensor& tensor, Draw draw);

  at::Generator generator_;
};

/// x with each element zeroed with probability p and the rest scaled by 1 / (1 - p); x itself where random is null or p
/// is 0.
at::Tensor dropout(const at::Tensor& x, double p, Random* random);

}  // namespace ta
