#include "core/training/forward.h"

#include <ATen/ops/nonzero.h>

#include "core/training/loss.h"

namespace ta {

void check_labels(AdapterModel& model, const PackedBatch& batch, const std::string& head_name) {
  if (head_name.empty() || !batch.labels) return;
  auto& head = model.head(head_name);
  const bool masked = head.config().type == HeadType::masked_lm;
  check_labels(head.config(), *batch.labels, head.reads_first_tokens() ? batch.layout.rows() : batch.layout.tokens(),
               masked ? model.backbone().config().vocab_size : head.config().num_labels);
}

ForwardResult forward(AdapterModel& model, const PackedBatch& batch, const ForwardRequest& request, Random* random) {
  check_labels(model, batch, request.head);
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
  } else if (!request.logits && labels) {
    auto labelled = at::nonzero(labels->ne(-100)).squeeze(1);
    x = x.index_select(0, labelled);
    labels = labels->index_select(0, labelled);
  }
  result.logits = head.forward(x, random);
  if (labels) result.loss = head_loss(head.config(), result.logits, *labels, request.label_smoothing);
  return result;
}

}  // namespace ta
