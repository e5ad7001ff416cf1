#include "core/inference/generate.h"

#include <ATen/ops/empty.h>
#include <c10/core/GradMode.h>

#include <algorithm>

#include "core/adapters/prefix_layer.h"
#include "core/error.h"
#include "core/inference/sample.h"
#include "core/nn/key_value_cache.h"
#include "core/nn/linear.h"

namespace ta {

namespace {

// The rows that still run: their place among the prompts, and what each passes through.
struct Running {
  std::vector<int64_t> row;
  std::vector<std::shared_ptr<const Composition>> setup;

  std::vector<RowSegment> segments() const {
    std::vector<RowSegment> result;
    for (int64_t i = 0; i < static_cast<int64_t>(setup.size()); ++i) {
      if (!result.empty() && result.back().setup == setup[i]) {
        result.back().last = i + 1;
      } else {
        result.push_back({i, i + 1, setup[i]});
      }
    }
    return result;
  }

  void keep(const std::vector<int64_t>& rows) {
    Running next;
    for (int64_t i : rows) next.row.push_back(row[i]), next.setup.push_back(setup[i]);
    *this = std::move(next);
  }
};

Running all_rows(const std::vector<RowSegment>& segments, int64_t rows) {
  Running running;
  for (int64_t i = 0; i < rows; ++i) running.row.push_back(i);
  running.setup.resize(rows);
  for (const auto& segment : segments)
    for (int64_t i = segment.first; i < segment.last; ++i) running.setup[i] = segment.setup;
  return running;
}

// What learned prompts and prefixes add to a row.
struct Added {
  int64_t cached = 0;     // tokens that the cache holds besides
  int64_t positions = 0;  // by which the row's own are later
};

Added added_to(Model& backbone, const PassPrefixes& prefixes, const Composition* setup) {
  const int64_t words = backbone.prompt_place().length(setup, true);
  return {words + backbone.prompt_place().length(setup, false), words + prefixes.shift(setup)};
}

// Of one row, unlike those of neighbouring rows and seeds (SplitMix64: Steele, Lea and Flood 2014).
uint64_t seed_of(uint64_t seed, uint64_t row) {
  const auto mixed = [](uint64_t value) {
    value += 0x9E3779B97F4A7C15;
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9;
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB;
    return value ^ (value >> 31);
  };
  return mixed(mixed(seed) + row);
}

void check_room(const ModelConfig& config, const BatchInput& prompts, const std::vector<Added>& added, int64_t fresh) {
  for (size_t row = 0; row < prompts.row_lengths.size(); ++row) {
    // The last new token is not read any more.
    const int64_t needed = prompts.row_lengths[row] + added[row].positions + fresh - 1;
    if (needed <= config.max_position_embeddings) continue;
    fail(ErrorCode::out_of_range, "generate", "a row would be longer than the model has positions",
         {.expected = text("tokens and new ones of at most ", config.max_position_embeddings + 1),
          .got = text("a row of ", prompts.row_lengths[row] + added[row].positions, " and ", fresh, " new ones"),
          .hint = "Ask for fewer new tokens, or shorten the prompt"});
  }
}

}  // namespace

std::vector<std::vector<int32_t>> generate(AdapterModel& model, BatchInput prompts,
                                           const std::vector<RowSegment>& segments, const std::string& head,
                                           const GenerateOptions& options) {
  c10::NoGradGuard guard;
  auto& backbone = model.backbone();
  const auto& config = backbone.config();
  if (!backbone.is_causal()) {
    fail(ErrorCode::unsupported, "generate", "this model does not write",
         {.expected = "a causal language model, such as gpt2", .got = "a model of type " + config.model_type});
  }
  if (!head.empty() && !model.head(head).predicts_words()) {
    fail(ErrorCode::invalid_argument, "generate", "the head '" + head + "' does not predict words",
         {.expected = "a causal_lm head, or none", .got = model.head(head).type()});
  }
  const auto rows = static_cast<int64_t>(prompts.row_lengths.size());
  auto running = all_rows(segments, rows);
  const PassPrefixes prefixes(backbone.prefix_place(), segments);
  std::vector<Added> added;
  int64_t longest = 0;
  for (int64_t row = 0; row < rows; ++row) {
    added.push_back(added_to(backbone, prefixes, running.setup[row].get()));
    longest = std::max(longest, prompts.row_lengths[row] + added[row].cached);
  }
  check_room(config, prompts, added, options.max_new_tokens);
  const auto& words = backbone.word_embeddings()->weight;
  KeyValueCache cache(config.num_hidden_layers, rows, longest + options.max_new_tokens, config.hidden_size,
                      at::TensorOptions(at::kFloat).device(words.device()));
  std::vector<std::vector<int32_t>> result(rows);
  std::vector<Random> random;
  for (int64_t i = 0; options.sample && i < rows; ++i)
    random.emplace_back(seed_of(options.seed, options.row_numbers.empty() ? i : options.row_numbers[i]));
  auto uniform = at::empty({1}, at::TensorOptions(at::kDouble));

  auto input = std::move(prompts);
  for (int64_t step = 0; step < options.max_new_tokens && !running.row.empty(); ++step) {
    if (options.stopped && options.stopped()) fail(ErrorCode::aborted, "generate", "stopped between two tokens");
    if (step == 0) input.positions.reset();
    backbone.prepare(input);
    const auto batch = PackedBatch::pack(input, model.device());
    const auto now = running.segments();
    PassMemo memo;
    const ForwardContext context{&batch.layout, &now, nullptr, &memo, &prefixes};
    const auto single = RowLayout::single(batch.layout.rows());
    const auto hidden = model.output_place().forward(backbone.decode(batch, context, cache), context.with(single));
    const auto inner = context.with(single);
    auto logits = (head.empty() ? linear(backbone.invertible_place().inverse(hidden, inner), words, at::Tensor())
                                : model.head(head).forward(hidden, inner))
                      .to(at::kCPU, at::kFloat)
                      .contiguous();

    BatchInput next;
    next.positions.emplace();
    std::vector<int32_t> written;
    std::vector<int64_t> going;
    for (int64_t i = 0; i < logits.size(0); ++i) {
      const auto* values = logits.const_data_ptr<float>() + i * logits.size(1);
      const int64_t row = running.row[i];
      const int32_t token = options.sample ? draw(candidates(values, logits.size(1), options),
                                                  random[row].uniform_(uniform, 0, 1).item<double>())
                                           : likeliest(values, logits.size(1));
      result[row].push_back(token);
      written.push_back(token);
      if (std::find(options.end_tokens.begin(), options.end_tokens.end(), token) != options.end_tokens.end()) continue;
      going.push_back(i);
      next.ids.push_back(token);
      next.row_lengths.push_back(1);
      next.positions->push_back(static_cast<int32_t>(cache.length(i) - added[row].cached + added[row].positions));
    }
    if (options.written) options.written({running.row.begin(), running.row.end()}, std::move(written));
    if (static_cast<int64_t>(going.size()) < cache.rows()) {
      if (!going.empty()) cache.keep(going);
      running.keep(going);
    }
    input = std::move(next);
  }
  return result;
}

}  // namespace ta
