#pragma once
// AdapterHub's configurations (adapters.BnConfig, adapters.LoRAConfig), the fields that the core needs. Sizes come
// ready for each layer.

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace ta {

enum class AdapterInit { bert, mam_adapter, houlsby, zeros };
enum class Scaling { fixed, learned, channel };
/// Which value the adapter's own residual is: the sub-layer's output, the adapter's input, or the sum before the
/// LayerNorm.
enum class ResidualBeforeLn { yes, no, post_add };

/// Where the n matrices W of a PHM layer start: normal values with `init_range`, or Glorot's.
enum class PhmWeightInit { glorot_uniform, glorot_normal, normal };

/// BnConfig's fields of PHM layers (Compacter); adapters/phm.h has the formula.
struct PhmConfig {
  int64_t dim = 4;
  bool factorized_weights = true;
  bool shared_weights = false;  ///< one W for all layers
  bool shared_rule = true;      ///< one C for all layers
  bool factorized_rule = false;
  bool uniform_rule = false;  ///< phm_c_init
  double init_range = 1e-4;
  bool learn_rule = true;
  PhmWeightInit w_init = PhmWeightInit::glorot_uniform;
  int64_t rank = 1;
  bool bias = true;
};

/// An invertible adapter behind the embeddings: NICE, or GLOW.
struct InvertibleConfig {
  bool glow = false;
  int64_t first_inner = 0;   ///< inner width of the network that reads the first half of an embedding
  int64_t second_inner = 0;  ///< of the one that reads the second
};

struct BottleneckConfig {
  bool mh_adapter = false;                ///< after attention
  bool output_adapter = true;             ///< after feed-forward
  std::vector<int64_t> bottleneck_sizes;  ///< [layers]; 0: no adapter in that layer
  std::string non_linearity = "relu";
  bool original_ln_before = false;
  bool original_ln_after = true;
  bool ln_before = false;
  bool ln_after = false;
  AdapterInit init_weights = AdapterInit::bert;
  std::optional<uint64_t> init_weights_seed;
  bool is_parallel = false;
  Scaling scaling = Scaling::fixed;
  double scaling_value = 1.0;  ///< Scaling::fixed
  bool use_gating = false;
  ResidualBeforeLn residual_before_ln = ResidualBeforeLn::yes;
  bool adapter_residual_before_ln = false;
  double dropout = 0.0;
  double stochastic_depth = 0.0;
  std::optional<InvertibleConfig> invertible;
  std::optional<PhmConfig> phm;  ///< PHM layers instead of linear ones
};

/// An AdapterLayer on the last hidden state, as the adapters of a multi-task model are.
struct OutputAdapterConfig {
  int64_t size = 64;
  std::string activation = "relu";
  std::optional<uint64_t> init_weights_seed;
};

/// Where the factors start: A as nn.Linear and B = 0, both N(0, 0.02), ones, or both Kaiming's uniform values.
enum class LoraInit { lora, bert, ia3, vera };

/// MTL-LoRA: B is a weighted mean of several, and a matrix of the task stands between A and B.
struct MtlLoraConfig {
  int64_t up_projections = 1;
  bool linear = false;  ///< the task's matrix is a whole one, not a diagonal
  double weights_sharpness = 0.05;
};

/// IA³: a vector multiplies what the Linear gives, or what it reads.
enum class Scales { none, output, input };

/// DoRA as the peer computes it or as PEFT does; lora.h has both formulas.
enum class Dora { none, adapters, peft };

/// AdapterHub's LoRAConfig and MTLLoRAConfig, and what PEFT has beside them.
struct LoraConfig {
  bool query = true, key = false, value = true;  ///< of self-attention
  bool merged = false;                           ///< the whole of the product that makes all three, as one matrix
  bool attention_output = false;                 ///< behind the heads
  bool intermediate = false;                     ///< the first layer of feed-forward
  bool output = false;                           ///< the second one
  /// Instead of the places above: paths, below the model, of Linears that an exported network has.
  std::vector<std::string> linears;
  int64_t rank = 8;
  std::vector<int64_t> leave_out;  ///< layers, from 0, that have none at the places above
  double alpha = 8;
  double dropout = 0;
  Scales scales = Scales::none;
  LoraInit init_weights = LoraInit::lora;
  std::optional<uint64_t> init_weights_seed;
  bool use_gating = false;
  Dora dora = Dora::none;
  std::optional<double> vera_d, vera_b;  ///< VeRA: what its two vectors start with
  std::optional<MtlLoraConfig> mtl;
};

/// AdapterHub's PrefixTuningConfig.
struct PrefixConfig {
  std::vector<int64_t> lengths;  ///< [layers]; 0: none in that layer, all others alike
  bool flat = false;
  int64_t bottleneck_size = 512;
  std::string non_linearity = "tanh";
  double dropout = 0;
  bool use_gating = false;
  bool shared_gating = true;      ///< one gate for keys and values
  bool shifts_positions = false;  ///< a row's positions begin behind the prefix, as PEFT has it
  std::optional<uint64_t> init_weights_seed;
};

/// AdapterHub's ReftConfig.
struct ReftConfig {
  std::vector<int64_t> ranks;  ///< [layers]; 0: none after that layer
  int64_t prefix_positions = 3;
  int64_t suffix_positions = 0;
  bool orthogonality = true;
  bool tied_weights = false;
  bool subtract_projection = true;
  double dropout = 0.05;
  std::optional<std::string> non_linearity;
  std::optional<uint64_t> init_weights_seed;
};

/// AdapterHub's PromptTuningConfig.
struct PromptConfig {
  int64_t length = 10;
  bool after_first = false;  ///< behind each row's first token, not in front of it
  bool as_words = false;     ///< in front, and like words, with positions of their own
  double random_uniform_scale = 0.5;
  std::vector<int64_t> start_ids;  ///< of words that the prompt starts with; empty: random numbers
  std::optional<uint64_t> init_weights_seed;
};

/// One of the methods; an adapter has one, or several at different places (a union).
using AdapterConfig =
    std::variant<BottleneckConfig, LoraConfig, PrefixConfig, PromptConfig, ReftConfig, OutputAdapterConfig>;

}  // namespace ta
