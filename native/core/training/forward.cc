#include "core/training/forward.h"

#include "core/adapters/prefix_layer.h"
#include "core/training/answers.h"

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

ForwardResult forward(AdapterModel& model, const PackedBatch& batch, const ForwardRequest& request, Random* random) {
  check_labels(model, batch, request);
  auto& backbone = model.backbone();
  const PassPrefixes prefixes(backbone.prefix_place(), request.segments);
  PassMemo memo;
  const ForwardContext context{&batch.layout, &request.segments, random, &memo, &prefixes};
  const bool states_alone = request.head.empty() && request.heads.empty();
  const bool first = !states_alone && reads_rows(model, request) && !request.last_hidden_state;
  ForwardResult result;
  result.encoded = encode(model, batch, context, {first, request.hidden_states});
  if (!states_alone) answer(model, batch, request, context, result);
  return result;
}

}  // namespace ta
