#pragma once
// PEFT's adapter at a Linear of a head, such as BERT's pooler: no adapter stands there, so it becomes part of the
// Linear, whose own weights are the model's. As the layers of a head it then learns as a whole.
//   LoRA  W + s B A                    DoRA  m / ‖W + s B A‖ (W + s B A), row by row
//   VeRA  W + diag(b) B diag(d) A      (IA)³ diag(l) W and l b, or W diag(l) where it scales the input
// Keys: lora_A.weight, lora_B.weight, lora_magnitude_vector, vera_lambda_d, vera_lambda_b, base_model.vera_A,
// base_model.vera_B, ia3_l.

#include "core/state/state_dict.h"
#include "core/surgery/adapter_model.h"

namespace ta {

enum class FoldedKind { lora, dora, vera, ia3, ia3_input };

struct FoldedLinear {
  std::string module;  ///< as in the file: base_model.model.bert.pooler.dense
  std::string source;  ///< the Linear of the model that it stands at: bert.pooler.dense
  FoldedKind kind = FoldedKind::lora;
  double scale = 1;  ///< of LoRA and DoRA
};

/// "lora", "dora", "vera", "ia3" or "ia3_input".
FoldedKind parse_folded_kind(const std::string& name);

/// What the file has, with the Linear's weight and bias in the place of its adapter.
StateDict with_folded(const StateDict& file, const FoldedLinear& folded, AdapterModel& model,
                      const std::string& operation);

}  // namespace ta
