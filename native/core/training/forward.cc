#include "core/training/forward.h"

#include "core/adapters/prefix_layer.h"
#include "core/training/answers.h"
#include "core/training/grouped_rows.h"

namespace ta {

namespace {

// The backbone, and the adapters on its last hidden state.
Encoded encode(AdapterModel& model, const PackedBatch& batch, const ForwardContext& context,
               const EncodeRequest& request) {
  auto encoded = model.backbone().encode(batch, context, request);
  if (encoded.rows_only) {
    const auto rows = RowLayout::single(batch.layout.rows());
    encoded.last = model.output_place().forward(encoded.last, context.with(rows));
  } else {
    encoded.last = model.output_place().forward(encoded.last, context);
  }
  if (encoded.row_states.defined()) {
    const auto rows = RowLayout::single(batch.layout.rows());
    encoded.row_states = model.output_place().forward(encoded.row_states, context.with(rows));
  }
  return encoded;
}

}  // namespace

ForwardResult forward(AdapterModel& model, const PackedBatch& once, const ForwardRequest& request, Random* random) {
  check_labels(model, once, request);
  const auto batch = request.copies > 1 ? once.repeated(request.copies) : once;
  auto& backbone = model.backbone();
  const PassPrefixes prefixes(backbone.prefix_place(), request.segments);
  PassMemo memo;
  FusionScores scores;
  const ForwardContext context{&batch.layout, &request.segments, random,
                               &memo,         &prefixes,         request.fusion_scores ? &scores : nullptr};
  const bool states_alone = request.head.empty() && request.heads.empty();
  const bool all_tokens = states_alone || request.last_hidden_state || request.fusion_scores;
  const bool first = !all_tokens && reads_rows(model, request);
  const EncodeRequest encoding{first, request.hidden_states, request.copies};
  ForwardResult result;
  // What copies have in common is computed for their rows in the batch's order.
  const auto grouped = request.copies > 1 ? std::nullopt : GroupedRows::of(batch, request.segments);
  if (grouped) {
    auto own = context.with(grouped->batch.layout);
    own.segments = &grouped->segments;
    result.encoded = encode(model, grouped->batch, own, encoding);
    grouped->restore(result.encoded);
  } else {
    result.encoded = encode(model, batch, context, encoding);
  }
  result.fusion_scores = scores.all();
  if (grouped) grouped->restore(result.fusion_scores);
  if (!states_alone) answer(model, batch, request, context, result);
  return result;
}

}  // namespace ta
