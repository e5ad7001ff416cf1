#include "core/adapters/prompt.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>
#include <c10/core/GradMode.h>

#include <algorithm>

#include "core/error.h"
#include "core/nn/gradient.h"

namespace ta {

namespace {

using Kind = Composition::Kind;

at::Tensor token_numbers(const std::vector<int64_t>& values, at::Device device) {
  return at::tensor(values, at::TensorOptions(at::kLong)).to(device);
}

}  // namespace

PromptTuning::PromptTuning(const PromptConfig& config, int64_t size, const Embedding* words)
    : config_(config), words_(words), prompt_(std::make_shared<Embedding>(config.length, size)) {
  child("prompt_embedding", prompt_);
}

void PromptTuning::initialise(Random& random) {
  const c10::NoGradGuard guard;
  if (config_.start_ids.empty()) {
    random.uniform_(prompt_->weight, -config_.random_uniform_scale, config_.random_uniform_scale);
    return;
  }
  std::vector<int64_t> ids;  // again and again, as far as the prompt goes
  for (int64_t i = 0; i < config_.length; ++i)
    ids.push_back(config_.start_ids[i % static_cast<int64_t>(config_.start_ids.size())]);
  prompt_->weight.copy_(words_->weight.index_select(0, token_numbers(ids, words_->weight.device())));
}

at::Tensor PromptTuning::values() const {
  return tracked(prompt_->weight);
}

std::vector<const PromptTuning*> PromptPlace::prompts_of(const Composition& setup, bool as_words) const {
  std::vector<const PromptTuning*> prompts;
  setup.visit([&](const Composition& part) {
    if (part.kind == Kind::adapter) {
      const auto* prompt = static_cast<const PromptTuning*>(module(part.index).get());
      if (prompt != nullptr && prompt->config().as_words == as_words) prompts.push_back(prompt);
    } else if (part.kind != Kind::none && part.kind != Kind::stack && has_any(part)) {
      fail(ErrorCode::unsupported,
           part.kind == Kind::fuse    ? "Fuse"
           : part.kind == Kind::split ? "Split"
                                      : "Average",
           "it has no meaning for the tokens of a prompt",
           {.expected = "prompt tuning alone or in a Stack; rows may have setups of their own",
            .hint = "Use Stack, BatchSplit, Parallel or a list with one setup a row"});
    }
  });
  return prompts;
}

bool PromptPlace::acts(const ForwardContext& context, bool as_words) const {
  if (context.segments == nullptr || children().empty()) return false;
  return std::any_of(context.segments->begin(), context.segments->end(), [&](const RowSegment& segment) {
    return segment.setup && has_any(*segment.setup) && !prompts_of(*segment.setup, as_words).empty();
  });
}

int64_t PromptPlace::length(const Composition* setup, bool as_words) const {
  if (setup == nullptr || !has_any(*setup)) return 0;
  int64_t length = 0;
  for (const auto* prompt : prompts_of(*setup, as_words)) length += prompt->config().length;
  return length;
}

PromptedRows PromptPlace::extend(const at::Tensor& e, const ForwardContext& context, bool as_words) const {
  const auto& rows = *context.layout;
  std::vector<at::Tensor> parts;
  std::vector<int64_t> lengths, own, first;
  int64_t at = 0;
  for (const auto& segment : *context.segments) {
    std::vector<std::pair<const PromptTuning*, at::Tensor>> prompts;
    if (segment.setup && has_any(*segment.setup))
      for (const auto* prompt : prompts_of(*segment.setup, as_words)) prompts.emplace_back(prompt, prompt->values());
    for (int64_t row = segment.first; row < segment.last; ++row) {
      // The next prompt stands in front of those before it, or of those behind the first token.
      std::vector<at::Tensor> before, after;
      int64_t ahead = 0, behind = 0;
      for (const auto& [prompt, values] : prompts) {
        const bool is_after = prompt->config().after_first;
        auto& side = is_after ? after : before;
        side.insert(side.begin(), values);
        (is_after ? behind : ahead) += prompt->config().length;
      }
      const int64_t begin = rows.starts()[row], length = rows.length(row);
      first.push_back(at);
      parts.insert(parts.end(), before.begin(), before.end());
      parts.push_back(e.narrow(0, begin, behind > 0 ? 1 : length));
      parts.insert(parts.end(), after.begin(), after.end());
      if (behind > 0) parts.push_back(e.narrow(0, begin + 1, length - 1));
      for (int64_t token = 0; token < length; ++token) own.push_back(at + ahead + token + (token > 0 ? behind : 0));
      lengths.push_back(ahead + behind + length);
      at += lengths.back();
    }
  }
  return {at::cat(parts), RowLayout(lengths), token_numbers(own, e.device()), token_numbers(first, e.device())};
}

}  // namespace ta
