#include "core/models/vit_embeddings.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/upsample_bicubic2d.h>

#include "core/error.h"
#include "core/nn/gradient.h"
#include "core/nn/named_dropout.h"
#include "core/nn/random.h"

namespace ta {

PatchProjection::PatchProjection(const ImageShape& image, int64_t hidden) {
  parameter({.name = "weight",
             .shape = {hidden, image.channels, image.patch_height, image.patch_width},
             .init = Init::normal,
             .decay = true},
            weight_);
  parameter({.name = "bias", .shape = {hidden}, .init = Init::zeros}, bias_);
}

at::Tensor PatchProjection::forward(const at::Tensor& pixels, const ImageShape& i) const {
  auto patches = pixels.narrow(2, 0, i.rows() * i.patch_height)
                     .narrow(3, 0, i.columns() * i.patch_width)
                     .unflatten(3, {i.columns(), i.patch_width})
                     .unflatten(2, {i.rows(), i.patch_height})
                     .permute({0, 2, 4, 1, 3, 5})
                     .reshape({pixels.size(0), i.patches(), i.patch_values()});
  return at::linear(patches, tracked(weight_).flatten(1), tracked(bias_));
}

VitEmbeddings::VitEmbeddings(const ModelConfig& config) : dropout_(config.hidden_dropout_prob) {
  const int64_t d = config.hidden_size;
  if (!config.image) {
    fail(ErrorCode::invalid_argument, "create model", "a model of images needs their shape",
         {.expected = "image_size, patch_size and num_channels"});
  }
  image_ = *config.image;
  parameter({.name = "cls_token", .shape = {1, 1, d}, .init = Init::normal, .decay = true}, class_token_);
  parameter({.name = "position_embeddings",
             .shape = {1, config.image->patches() + 1, d},
             .init = Init::normal,
             .decay = true},
            positions_);
  projection_ = std::make_shared<PatchProjection>(*config.image, d);
  auto patches = std::make_shared<Container>("ViTPatchEmbeddings");
  patches->add("projection", projection_);
  child("patch_embeddings", patches);
  child("dropout", named_dropout());
}

// [1, patches + 1, hidden] of images of this size.
at::Tensor VitEmbeddings::positions(const ImageShape& image) const {
  auto own = tracked(positions_);
  if (image.rows() == image_.rows() && image.columns() == image_.columns()) return own;
  auto plane = own.narrow(1, 1, image_.patches()).unflatten(1, {image_.rows(), image_.columns()}).permute({0, 3, 1, 2});
  auto other = at::upsample_bicubic2d(plane, {image.rows(), image.columns()}, /*align_corners=*/false);
  return at::cat({own.narrow(1, 0, 1), other.permute({0, 2, 3, 1}).flatten(1, 2)}, 1);
}

at::Tensor VitEmbeddings::forward(const at::Tensor& pixels, const ForwardContext& context) const {
  auto image = image_;
  image.height = pixels.size(2), image.width = pixels.size(3);
  auto patches = projection_->forward(pixels, image);
  auto first = tracked(class_token_).expand({pixels.size(0), 1, patches.size(2)});
  auto e = at::cat({first, patches}, 1) + positions(image);
  return dropout(e.flatten(0, 1), dropout_, context.random);
}

}  // namespace ta
