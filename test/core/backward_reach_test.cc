// Where only adapters learn, nothing is recorded for the backward pass below the lowest of them: states that enter its
// layer need no gradient, and the graph of the loss is that of a model without the layers below.
#include <torch/csrc/autograd/function.h>

#include <set>

#include "check.h"
#include "core/models/registry.h"
#include "core/training/forward.h"
#include "tiny.h"

namespace {

using namespace ta;
using namespace tiny_models;

std::unique_ptr<AdapterModel> frozen_model(const std::string& family, int64_t layers, const AdapterConfig& adapter) {
  auto config = tiny(0);
  config.model_type = family;
  config.num_hidden_layers = layers;
  config.max_position_embeddings = 16;
  if (family == "gpt2" || family == "distilbert") config.type_vocab_size = 0;
  std::shared_ptr<Model> backbone = make_model(config);
  Random random(1);
  initialise_missing(*backbone, backbone->prefix(), 0.3, random, at::kCPU);
  auto model = std::make_unique<AdapterModel>(backbone, at::kCPU);
  model->add_adapter("a", {adapter}, 2);
  HeadConfig head;
  head.num_labels = 3;
  model->add_head("a", head, 3);
  train(*model, Way::adapter);
  return model;
}

// A bottleneck in the layers from `first` on.
AdapterConfig bottlenecks(int64_t layers, int64_t first) {
  BottleneckConfig form;
  form.mh_adapter = true;
  form.bottleneck_sizes.assign(layers, 4);
  std::fill_n(form.bottleneck_sizes.begin(), first, 0);
  return {form};
}

AdapterConfig loras(int64_t first) {
  LoraConfig form;
  for (int64_t layer = 0; layer < first; ++layer) form.leave_out.push_back(layer);
  return {form};
}

ForwardResult learn(AdapterModel& model, bool hidden_states) {
  auto batches = batch_for(model, HeadType::classification);
  batches[0].request.hidden_states = hidden_states;
  Random random(1);
  return forward(model, batches[0].batch, batches[0].request, &random);
}

// The operations that a backward pass from here goes through.
std::size_t recorded(const at::Tensor& loss) {
  std::set<const torch::autograd::Node*> seen;
  std::vector<const torch::autograd::Node*> open{loss.grad_fn().get()};
  while (!open.empty()) {
    const auto* node = open.back();
    open.pop_back();
    if (node == nullptr || !seen.insert(node).second) continue;
    for (const auto& edge : node->next_edges()) open.push_back(edge.function.get());
  }
  return seen.size();
}

}  // namespace

TEST(states_below_the_lowest_adapter_need_no_gradient) {
  for (const auto* family : {"bert", "roberta", "distilbert", "gpt2"}) {
    for (int64_t first = 0; first < 4; ++first) {
      for (const auto& adapter : {bottlenecks(4, first), loras(first)}) {
        const auto model = frozen_model(family, 4, adapter);
        const auto states = learn(*model, true).encoded.hidden_states;
        CHECK_EQ(states.size(), std::size_t{5});
        // In front of the first layer, and behind each: layer `first` is the lowest that an adapter stands in.
        for (int64_t i = 0; i < static_cast<int64_t>(states.size()); ++i)
          CHECK_EQ(states[i].requires_grad(), i > first);
      }
    }
  }
}

TEST(the_graph_of_the_loss_ends_at_the_lowest_adapter) {
  for (const auto* family : {"bert", "roberta", "distilbert", "gpt2"}) {
    // Layers without adapters on top are gone through; those below are not.
    const auto nodes = [&](int64_t layers, const AdapterConfig& adapter) {
      return recorded(learn(*frozen_model(family, layers, adapter), false).loss);
    };
    const auto last = nodes(2, bottlenecks(2, 1));
    CHECK_EQ(nodes(6, bottlenecks(6, 5)), last);
    CHECK(nodes(6, bottlenecks(6, 4)) > last);
    CHECK_EQ(nodes(6, loras(5)), nodes(2, loras(1)));
  }
}
