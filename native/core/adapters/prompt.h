#pragma once
// Prompt tuning (Lester et al. 2021, arXiv 2104.08691): p learned vectors among every row's embeddings e [tokens,
// size].
//
//   prefix             e' = [P; e]                  P [p, size]
//   prefix_after_bos   e' = [e_0; P; e_1 …]
//   as words           e' = [P; e] before positions, token types and the LayerNorm
// But for the last, they come behind the embeddings' LayerNorm and have no positions of their own; the row's tokens
// keep theirs. As words (PEFT's form) they have the first positions and token type 0, and the row's positions follow.
// What the model makes of them is dropped after the last layer, but for a head that reads the first token of a row:
// that is the first of e'. Each row has its own setup's, of any length, or none; a stack puts one after the other.
// PyTorch keys (adapters), beside the layers: prompt_tuning.prompt_tunings.<name>.prompt_embedding.weight.

#include "core/adapters/place.h"
#include "core/config/adapter_config.h"
#include "core/nn/embedding.h"

namespace ta {

class PromptTuning : public AdapterModule {
 public:
  /// `size` of the embeddings; `words`: those of the model, where the prompt starts with some.
  PromptTuning(const PromptConfig& config, int64_t size, const Embedding* words);
  const char* type() const override { return "PromptTuning"; }
  const char* why_not_fused() const override { return "adds tokens to a row"; }
  void initialise(Random& random) override;

  const PromptConfig& config() const { return config_; }
  /// P, differentiable.
  at::Tensor values() const;

 private:
  PromptConfig config_;
  const Embedding* words_;
  std::shared_ptr<Embedding> prompt_;
};

/// Rows with their prompts.
struct PromptedRows {
  at::Tensor x;  ///< [tokens and prompts, size]
  RowLayout rows;
  at::Tensor own;    ///< [tokens] int64: where each row's own tokens are
  at::Tensor first;  ///< [rows] int64: where each row begins
};

/// PyTorch's ModuleDict `prompt_tunings`.
class PromptPlace : public AdapterPlace {
 public:
  /// Whether a row of the batch has a prompt: one like words, or one of the others. Throws ERR_UNSUPPORTED: a Fuse,
  /// Split or Average of adapters with one.
  bool acts(const ForwardContext& context, bool as_words) const;
  /// Rows with the prompts of the one kind.
  PromptedRows extend(const at::Tensor& e, const ForwardContext& context, bool as_words) const;
  /// How many tokens a setup's prompts of that kind are.
  int64_t length(const Composition* setup, bool as_words) const;

 private:
  std::vector<const PromptTuning*> prompts_of(const Composition& setup, bool as_words) const;
};

}  // namespace ta
