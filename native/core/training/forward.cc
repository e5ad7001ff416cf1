#include "core/training/forward.h"

#include <ATen/ops/nonzero.h>

#include "core/nn/threads.h"
#include "core/training/loss.h"

namespace ta {

ForwardResult forward(AdapterModel& model, const PackedBatch& batch, const ForwardRequest& request, Random* random) {
  const ThreadScope threads(batch.layout.tokens(), model.backbone().config().hidden_size);
  ForwardContext context{&batch.layout, request.segments, random};
  auto& backbone = model.backbone();
  ForwardResult result;
  if (request.head.empty()) {
    result.encoded = backbone.encode(batch, context, {false, request.hidden_states});
    return result;
  }

  auto& head = model.head(request.head);
  const bool first = head.reads_first_tokens();
  result.encoded = backbone.encode(batch, context, {first && !request.last_hidden_state, request.hidden_states});
  auto x = result.encoded.last;
  auto labels = batch.labels;
  if (first) {
    if (!result.encoded.first_only) x = x.index_select(0, batch.first_tokens);
    if (head.config().use_pooler) x = backbone.pool(x);
  } else if (!request.logits && labels && labels->scalar_type() == at::kLong && labels->numel() == x.size(0)) {
    auto labelled = at::nonzero(labels->ne(-100)).squeeze(1);
    x = x.index_select(0, labelled);
    labels = labels->index_select(0, labelled);
  }
  result.logits = head.forward(x, random);
  if (labels) result.loss = head_loss(head.config(), result.logits, *labels, request.label_smoothing);
  return result;
}

}  // namespace ta
