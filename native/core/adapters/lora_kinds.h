#pragma once
// VeRA and MTL-LoRA: the two whose factors are made of several parameters; the formulas stand in lora.h.
//
// VeRA's d and b are vectors, as in its paper. The peer trains whole matrices [r, r] and [out, out] in their places;
// surgery/vera_files.h says what of the two can be exchanged. A and B are made for the largest Linear, and a smaller
// one takes their first columns and rows, and so does each of the matrices in a merged one.

#include "core/adapters/lora.h"

namespace ta {

/// The frozen pair, `shared_parameters.<name>` beside the layers.
class VeraShared : public AdapterModule {
 public:
  VeraShared(const LoraConfig& config, int64_t in, int64_t out);
  const char* type() const override { return "ParameterDict"; }
  void initialise(Random& random) override;

  at::Tensor a, b;  ///< [r, in], [out, r]

 private:
  LoraInit init_;
};

class Vera : public LowRankModule {
 public:
  Vera(const LoraConfig& config, std::shared_ptr<VeraShared> shared, const LoraTarget& target);
  const char* type() const override { return "Vera"; }
  void initialise(Random& random) override;

 protected:
  LowRank factors() const override;
  std::vector<at::Tensor> shared_parameters() const override { return {shared_->a, shared_->b}; }

 private:
  std::shared_ptr<VeraShared> shared_;
  at::Tensor d_, b_;
  int64_t in_, out_;
};

/// Λ, of one task.
class TaskMatrix : public Module {
 public:
  TaskMatrix(std::vector<int64_t> shape, bool linear);
  const char* type() const override { return type_; }

  at::Tensor values;

 private:
  const char* type_;
};

/// What tasks may share: A and all up-projections. Λ and the weights are always a task's own.
struct MtlFactors {
  at::Tensor a, b;
};

class MtlLora : public LowRankModule {
 public:
  MtlLora(const LoraConfig& config, const LoraTarget& target);
  const char* type() const override { return "MTLLoRA"; }
  void initialise(Random& random) override;
  /// From now on its A and up-projections are the other's, one tensor each.
  void share(const MtlLora& other);
  /// They are its own again, with the values they have.
  void unshare();

 protected:
  LowRank factors() const override;

 private:
  void use(std::shared_ptr<MtlFactors> factors);

  std::shared_ptr<MtlFactors> shared_ = std::make_shared<MtlFactors>();
  at::Tensor weights_;
  std::shared_ptr<TaskMatrix> task_;
};

}  // namespace ta
