#pragma once
// Adapters in the files of Hugging Face's PEFT, `adapter_model.safetensors`: LoRA, DoRA, IA³ and VeRA, prefixes and
// prompts, and the head that PEFT keeps beside them (`modules_to_save`). Its keys, with ours below <path>.loras.<name>:
//
//   base_model.model.<path>.lora_A.weight, .lora_B.weight    lora_A, lora_B
//   base_model.model.<path>.lora_magnitude_vector [out]      m.weight [out, 1]
//   base_model.model.<path>.ia3_l [out, 1]                   lora_B, without lora_A
//   base_model.model.<path>.ia3_l [1, in]                    lora_A, without lora_B: it scales the input
//   base_model.model.<path>.vera_lambda_d, .vera_lambda_b    vera_D, vera_B
//   base_model.vera_A, base_model.vera_B                     shared_parameters.<name>.lora_A, .lora_B
//   base_model.model.<module of the head>.*                  heads.<name>.<layer>.*
//   prompt_embeddings [p, 2·layers·hidden]                   prefix_tunings.<name>.<location>.control_trans, flat
//   prompt_embeddings [p, size]                              prompt_tunings.<name>.prompt_embedding.weight
//   base_model.<module of the head>.*                        heads.<name>.<layer>.*, beside a prefix or a prompt
// At an nn.MultiheadAttention PEFT has one LoRA, which is one at in_proj, under the attention's own path, and one at
// out_proj, under `<path>.base_layer.out_proj`, which it adds twice.
// <path> begins with the base model's prefix (`bert.`) where PEFT wrapped a class with a head, and has none where it
// wrapped the bare model. PEFT leaves the adapter's name out. At GPT-2's c_attn it has one LoRA or IA³ for query, key
// and value; factors for some of them are written as such a one, of as many times the rank.

#include <map>

#include "core/surgery/adapter_model.h"
#include "core/surgery/state_io.h"

namespace ta {

/// `head_modules`: modules of a head that the file holds, too, such as `classifier`: they are passed by. `own_modules`:
/// modules of the network itself, whose weights the file holds as well (a Linear's as `<path>.base_layer`).
/// Throws ERR_STATE_DICT: missing, unexpected and mis-shaped keys; ERR_UNSUPPORTED: other weights than the network's.
void load_peft_adapter(AdapterModel& model, const std::string& name, const std::string& file,
                       const std::vector<std::string>& head_modules, const std::vector<std::string>& own_modules);

/// What lora_B of an attention's in_proj and of its out_proj are multiplied with, by the attention's path.
struct MultiheadFactors {
  double of_input = 1, of_output = 1;
};
using Multihead = std::map<std::string, MultiheadFactors>;

/// `head`: where its class keeps the head of the adapter's name; empty: the class has none that is stored. `bare`: no
/// class, with the names of the bare model. `own_modules`: of the network itself, written as they are. `multihead`:
/// where PEFT's one LoRA stands at an nn.MultiheadAttention: the half that we do not have changes nothing, and one of
/// less rank gets zeros. Throws ERR_UNSUPPORTED for what PEFT has no name for.
void save_peft_adapter(AdapterModel& model, const std::string& name, const std::string& file, WeightsFormat format,
                       const HeadLayers& head, bool bare, const std::vector<std::string>& own_modules,
                       const Multihead& multihead);

}  // namespace ta
