#pragma once
// The fields of a Hugging Face config.json that change an encoder's numbers; lib/config/model-config.ts reads and
// checks them.

#include <cstdint>
#include <optional>
#include <string>

namespace ta {

/// What an image is, and the patches that it is cut into. What is left over at the right and below is not read.
struct ImageShape {
  int64_t channels, height, width, patch_height, patch_width;

  int64_t values() const { return channels * height * width; }
  int64_t patch_values() const { return channels * patch_height * patch_width; }
  int64_t rows() const { return height / patch_height; }
  int64_t columns() const { return width / patch_width; }
  int64_t patches() const { return rows() * columns(); }
};

struct ModelConfig {
  std::string model_type = "bert";  ///< as in config.json; models/registry.cc knows them
  int64_t vocab_size = 30522;
  int64_t embedding_size = 768;  ///< of the embeddings; the hidden size in all families but ELECTRA
  int64_t hidden_size = 768;
  int64_t num_hidden_layers = 12;
  int64_t num_attention_heads = 12;
  int64_t intermediate_size = 3072;
  std::string hidden_act = "gelu";
  double embedding_dropout_prob = 0.1;
  double hidden_dropout_prob = 0.1;
  double attention_probs_dropout_prob = 0.1;
  int64_t max_position_embeddings = 512;
  bool sinusoidal_pos_embds = false;  ///< positions start as sines and cosines
  int64_t type_vocab_size = 2;        ///< 0: no token types
  double initializer_range = 0.02;
  double layer_norm_eps = 1e-12;
  int64_t pad_token_id = 0;         ///< -1: none
  bool qkv_bias = true;             ///< of query, key and value; always there in all families but ViT
  std::optional<ImageShape> image;  ///< absent: a model of tokens
};

}  // namespace ta
