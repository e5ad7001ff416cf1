#pragma once
// One optimizer step: forward and backward over each micro-batch, then each member that takes part clips and moves its
// own parameters. Everything that a resumed run needs to go on bit for bit is here: trained values, the optimizers'
// states, step numbers, random state.

#include "core/training/frozen_states.h"
#include "core/training/gradients.h"
#include "core/training/member.h"

#include <functional>

namespace ta {

struct TrainerOptions {
  std::vector<MemberOptions> members{MemberOptions{}};
  ClassWeights class_weights{};  ///< above 0
  uint64_t seed = 42;
};

struct MicroBatch {
  PackedBatch batch;
  ForwardRequest request;
  /// Of each of the request's heads: the member that learns from its loss, and what the loss counts in the gradients
  /// of what several share. Empty: the first member's, 1.
  std::vector<int64_t> head_members{};
  std::vector<double> head_weights{};
  FrozenStates* frozen = nullptr;  ///< where what the frozen layers give is kept; null: nowhere
};

struct MemberResult {
  int64_t member = 0;
  double loss = 0;           ///< mean over the micro-batches in which it has rows
  double learning_rate = 0;  ///< used in this step by what is in no group
  double grad_norm = 0;      ///< before clipping
  bool finite = true;        ///< false: it stands where it stood before
};

struct StepResult {
  std::vector<MemberResult> members;
  int64_t tokens = 0;
};

/// In bytes.
struct MemoryUse {
  int64_t gradients = 0;    ///< of what trains
  int64_t optimizer = 0;    ///< state of all members
  int64_t activations = 0;  ///< what a pass and its way back take at once at most, threads' own gradients among it
  int64_t process = 0;      ///< what the process had in memory by then (nn/allocation_meter.h), or 0
};

class Trainer {
 public:
  /// Trains what the model's set_trainable chose. Throws ERR_INVALID_ARGUMENT where nothing trains, where a buffer
  /// belongs to two members or to none, or where a head has another number of labels than its weights.
  Trainer(AdapterModel& model, TrainerOptions options);

  /// A step of these members, in rising order. Throws ERR_NAN_LOSS, the parameters as they were before the step, unless
  /// `go_on`: then the others move. ERR_ABORTED where `stopped` says so between micro-batches, nothing updated.
  StepResult step(std::vector<MicroBatch>& batches, const std::vector<int64_t>& members, bool go_on,
                  const std::function<bool()>& stopped);

  /// What a step over these micro-batches takes, found by passing them through once, forward and backward; nothing
  /// moves, and random numbers go on as if it had not been.
  MemoryUse measure(std::vector<MicroBatch>& batches);

  int64_t steps(int64_t member = 0) const { return at(member).steps(); }
  void set_scale(int64_t member, double scale) { at(member).set_scale(scale); }
  void keep(int64_t member) { at(member).keep(); }
  void restore(int64_t member) { at(member).restore(); }
  /// Writes everything atomically as one safetensors file; `user` is the caller's own text.
  void save(const std::string& file, const std::string& user);
  /// Checks names, shapes and checksum before anything changes; returns the caller's text.
  std::string load(const std::string& file);

 private:
  Member& at(int64_t member) const;
  /// What one micro-batch's losses are of each member's mean.
  std::vector<double> shares(const std::vector<MicroBatch>& batches) const;
  /// Tells a micro-batch's request what its losses weigh; gives the weight of the whole.
  double weigh(MicroBatch& micro, const std::vector<double>& share) const;
  BatchLoss add(const MicroBatch& micro, double share);
  std::vector<std::pair<std::string, at::Tensor>> tensors();

  AdapterModel& model_;
  Gradients gradients_;
  std::vector<std::unique_ptr<Member>> members_;
  std::shared_ptr<const ClassWeights> class_weights_;
  Random random_;
};

}  // namespace ta
