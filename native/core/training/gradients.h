#pragma once
// Forward and backward of one batch: gradients of what trains are added to its buffers.

#include "core/nn/gradient.h"
#include "core/training/shards.h"

namespace ta {

/// What to do where nothing trains.
inline constexpr const char* nothing_trains_hint =
    "Call trainAdapter(name), freezeBaseModel() for what surgery put in, or unfreeze parameters, before training";

struct BatchLoss {
  double total = 0;
  std::vector<double> heads;  ///< of each of the request's heads, without their weights; 0 where no label counts
};

class Gradients {
 public:
  /// Of what the model's set_trainable chose. Throws ERR_INVALID_ARGUMENT where nothing trains.
  explicit Gradients(AdapterModel& model);

  const std::vector<FlatParameters*>& parameters() const { return parameters_; }
  void zero();
  /// Adds share · ∂loss; returns the batch's losses. `shards`: threads that share the rows, 0 to choose.
  /// Throws ERR_INVALID_ARGUMENT without labels or a head, and where nothing that trains takes part in the loss.
  BatchLoss add(PackedBatch batch, ForwardRequest request, Random* random, double share, int shards = 0);

 private:
  // Gradients of a thread other than the first, laid out as the parameters' own.
  struct Extra {
    std::vector<at::Tensor> flat;
    GradientBuffers views;
  };
  BatchLoss add_shards(std::vector<Shard>& shards, Random* random, double share);
  void make_extra(size_t count);

  AdapterModel& model_;
  std::vector<FlatParameters*> parameters_;
  std::vector<Extra> extra_;
};

}  // namespace ta
