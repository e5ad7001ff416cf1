#include "core/models/vit.h"

#include <ATen/ops/isfinite.h>

#include <tuple>

#include "core/error.h"
#include "core/nn/named_dropout.h"

namespace ta {

VitSelfOutput::VitSelfOutput(const ModelConfig& config) : dropout(config.hidden_dropout_prob) {
  child("dense", dense, lora_ready_linear(config.hidden_size, config.hidden_size));
  child("dropout", named_dropout());
}

VitAttention::VitAttention(const ModelConfig& config) {
  child("attention", self, std::make_shared<SelfAttention>(config, "ViTSelfAttention", config.qkv_bias));
  child("output", output, std::make_shared<VitSelfOutput>(config));
}

at::Tensor VitAttention::forward(const at::Tensor& xq, const at::Tensor& x, const TokenView& view,
                                 const ForwardContext& context) {
  const auto* own = self.intact();
  const auto* out = output.intact();
  if (own == nullptr || out == nullptr) return output(attend(self, xq, x, view, context), context);
  const AttentionSlots slots{own->query, own->key, own->value, out->dense, *own->prefix};
  return dropout(self_attention(slots, xq, x, view, own->heads, own->dropout, context), out->dropout, context.random);
}

VitOutput::VitOutput(const ModelConfig& config) : dropout(config.hidden_dropout_prob) {
  child("dense", dense, lora_ready_linear(config.intermediate_size, config.hidden_size));
  child("dropout", named_dropout());
  child("output_adapters", bottleneck_layer(site));
}

VitLayer::VitLayer(const ModelConfig& config) : output_(std::make_shared<VitOutput>(config)) {
  auto norm = [&] { return std::make_shared<LayerNorm>(config.hidden_size, config.layer_norm_eps); };
  child("attention", attention_, std::make_shared<VitAttention>(config));
  child("intermediate", intermediate_, std::make_shared<Intermediate>(config, "ViTIntermediate"));
  child("output", output_);
  child("layernorm_before", norm_before_, norm());
  child("layernorm_after", norm_after_, norm());
  child("attention_adapters", bottleneck_layer(attention_site_));
  child("reft_layer", reft_layer(reft_));
}

at::Tensor VitLayer::forward(const at::Tensor& xq, const at::Tensor& x, const TokenView& view,
                             const ForwardContext& context) {
  return end(begin(xq, x, view, context), context);
}

bool VitLayer::begins_free(const ForwardContext& context) const {
  return !has_adapters(*attention_.layer, context) && !has_adapters(*attention_site_, context) &&
         !has_adapters(*intermediate_.layer, context) && !has_adapters(*output_->dense.layer, context);
}

LayerEnding VitLayer::begin(const at::Tensor& xq, const at::Tensor& x, const TokenView& view,
                            const ForwardContext& context) {
  auto n = norm_before_(x, context.with(view.keys));
  auto nq = xq.is_same(x) ? n : norm_before_(xq, context);
  auto a = attention_site_->forward(attend(attention_, nq, n, view, context), xq, nullptr, context);
  auto m = norm_after_(a, context);
  const auto* inner = intermediate_.intact();
  auto f = inner != nullptr ? feed_forward(inner->dense, inner->activation, output_->dense, m, context)
                            : output_->dense(intermediate_(m, context), context);
  return {std::move(f), std::move(a)};
}

at::Tensor VitLayer::end(const LayerEnding& ending, const ForwardContext& context) {
  return reft_->forward(output_->finish(ending.h, ending.r, context), context);
}

AdapterSite* VitLayer::site(Location location) const {
  return location == Location::attention ? attention_site_.get() : output_->site.get();
}

LoraPlace* VitLayer::lora(Location location) const {
  const auto& self = *attention_.own->self.own;
  return lora_place(
      {self.query, self.key, self.value, attention_.own->output.own->dense, intermediate_.own->dense, output_->dense},
      location);
}

VitModel::VitModel(const ModelConfig& config) : Encoder(config), embeddings_(std::make_shared<VitEmbeddings>(config)) {
  child("embeddings", embeddings_);
  auto list = std::make_shared<Container>("ModuleList");
  for (int64_t i = 0; i < config.num_hidden_layers; ++i) {
    add_layer(*list, std::make_shared<VitLayer>(config));
  }
  auto encoder = std::make_shared<Container>("ViTEncoder");
  encoder->add("layer", list);
  child("encoder", encoder);
  child("layernorm", norm_, std::make_shared<LayerNorm>(config.hidden_size, config.layer_norm_eps));
  child("pooler", pooler_, std::make_shared<Pooler>(config, "ViTPooler"));
}

at::Tensor VitModel::pool(const at::Tensor& first, const ForwardContext& context) {
  const auto rows = RowLayout::single(first.size(0));
  return pooler_(first, context.with(rows));
}

void VitModel::prepare(BatchInput& input) const {
  auto image = *config_.image;
  if (!input.pixels.defined()) {
    fail(ErrorCode::invalid_argument, "batch", "tokens were given to a model of images",
         {.expected = "pixel values", .got = "ids for a model of type " + config_.model_type});
  }
  if (input.image_size) std::tie(image.height, image.width) = *input.image_size;
  if (image.patches() == 0 || input.pixels.size(1) != image.values() || !input.value_lengths.empty()) {
    fail(ErrorCode::invalid_argument, "batch", "images do not fit the model",
         {.expected =
              text(image.values(), " values: ", image.channels, " channels of ", image.height, " × ", image.width),
          .got = input.value_lengths.empty() ? text(input.pixels.size(1)) : "images of several sizes"});
  }
  const auto finite = at::isfinite(input.pixels).all(1);
  if (const auto* row = finite.const_data_ptr<bool>(); !finite.all().item<bool>()) {
    while (*row) ++row;
    fail(ErrorCode::invalid_argument, "batch",
         text("image ", row - finite.const_data_ptr<bool>(), " has a value that is no finite number"),
         {.expected = "numbers, as an image processor gives them"});
  }
  const int64_t rows = input.pixels.size(0);
  input.pixels = input.pixels.view({rows, image.channels, image.height, image.width});
  input.row_lengths.assign(rows, static_cast<int32_t>(image.patches() + 1));
}

}  // namespace ta
