// One pass over a batch whose rows are shared among threads, and how far two results lie apart.
#pragma once

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>

#include <algorithm>
#include <cmath>

#include "check.h"
#include "core/training/shards.h"
#include "tiny.h"

namespace shard_results {

using namespace ta;

inline double difference(const at::Tensor& a, const at::Tensor& b) {
  return (a - b).abs().max().item<double>() / (1e-3 + b.abs().max().item<double>());
}

struct Threads {
  explicit Threads(int count) : before(at::get_num_threads()) { at::set_num_threads(count); }
  ~Threads() { at::set_num_threads(before); }
  int before;
};

struct Result {
  double loss;
  std::vector<at::Tensor> grads;
};

inline void check_same(const Result& got, const Result& expected) {
  CHECK_NEAR(got.loss, expected.loss, 1e-6 * std::max(1.0, std::abs(expected.loss)));
  CHECK_EQ(got.grads.size(), expected.grads.size());
  for (size_t i = 0; i < expected.grads.size(); ++i) CHECK_NEAR(difference(got.grads[i], expected.grads[i]), 0, 1e-5);
}

inline Result gradients(AdapterModel& model, const MicroBatch& batch, int shards, Random* random = nullptr) {
  Gradients pass(model);
  pass.zero();
  Result result{pass.add(batch.batch, batch.request, random, 0.5, shards).total, {}};
  for (const auto* flat : pass.parameters()) result.grads.push_back(flat->grads().clone());
  return result;
}

/// Rows shared among threads teach what they teach in one, and that is something.
inline Result check_shards(AdapterModel& model, const MicroBatch& batch, std::initializer_list<int> counts) {
  const auto whole = gradients(model, batch, 1);
  CHECK(whole.grads[0].abs().max().item<double>() > 0);
  for (int count : counts) check_same(gradients(model, batch, count), whole);
  return whole;
}

}  // namespace shard_results
