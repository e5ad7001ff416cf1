#include "core/surgery/peft_files.h"

#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "core/adapters/prefix.h"
#include "core/error.h"
#include "core/models/network.h"
#include "core/state/key_names.h"
#include "core/surgery/state_tensors.h"
#include "core/surgery/strict_assign.h"

namespace ta {

namespace {

constexpr const char* kRoot = "base_model.model.";
// PEFT wraps a model for prefixes and prompts without one more module between.
constexpr const char* kPromptRoot = "base_model.";
constexpr const char* kPrompt = "prompt_embeddings";

bool learns_prompt(const std::vector<NamedParameter>& state) {
  return std::any_of(state.begin(), state.end(), [](const NamedParameter& named) {
    return named.name.ends_with(".control_trans") || named.name.ends_with(".prompt_embedding.weight");
  });
}

// The names of one adapter's parameters in PEFT's files.
class PeftNames {
 public:
  PeftNames(const std::string& operation, const std::string& name, const Model& backbone, bool bare,
            const std::vector<NamedParameter>& state)
      : operation_(operation),
        prefix_(file_prefix(backbone)),
        ours_alone_(as_network(backbone) == nullptr ? "" : backbone.prefix()),
        bare_(bare),
        inside_(".loras." + name + "."),
        shared_(".shared_parameters." + name + "."),
        prefix_tuning_(".prefix_tunings." + name + "."),
        prompt_tuning_(".prompt_tunings." + name + ".") {
    for (const auto& named : state) known_.insert(named.name);
  }

  std::string of(const std::string& ours) const {
    // A network without a prefix has what its layers share at its root.
    if (("." + ours).find(shared_) != ours.npos)
      return ours.ends_with("lora_A") ? "base_model.vera_A" : "base_model.vera_B";
    const bool flat = ours.find(prefix_tuning_) != ours.npos && ours.ends_with(".control_trans");
    if (flat || ours.find(prompt_tuning_) != ours.npos) return kPrompt;
    const auto at = ours.find(inside_);
    if (at == ours.npos) refuse(ours);
    const auto path = ours.substr(0, at), part = ours.substr(at + inside_.size());
    return below(path) + "." + spelled(ours, path, part);
  }

  // A module's.
  std::string below(const std::string& path) const {
    const auto own = strip_base_prefix(path, ours_alone_);
    return kRoot + (bare_ ? strip_base_prefix(own, prefix_) : add_base_prefix(own, prefix_));
  }

 private:
  std::string spelled(const std::string& ours, const std::string& path, const std::string& part) const {
    const auto has = [&](const char* other) { return known_.count(path + inside_ + other) > 0; };
    if (part == "lora_A") return has("lora_B") ? "lora_A.weight" : "ia3_l";
    if (part == "lora_B") return has("lora_A") ? "lora_B.weight" : "ia3_l";
    if (part == "m.weight") return "lora_magnitude_vector";
    if (part == "vera_D") return "vera_lambda_d";
    if (part == "vera_B") return "vera_lambda_b";
    refuse(ours);
  }

  [[noreturn]] void refuse(const std::string& ours) const {
    fail(ErrorCode::unsupported, operation_, "PEFT has nothing like " + ours,
         {.expected = "LoRA, DoRA, IA³ or VeRA at the Linears of the layers, a flat prefix or a prompt, without a gate",
          .hint = "Save the folder for the adapters library"});
  }

  const std::string& operation_;
  std::string prefix_;
  std::string ours_alone_;  // in front of a network's names, which it has not in Python
  bool bare_;
  std::string inside_, shared_, prefix_tuning_, prompt_tuning_;
  std::unordered_set<std::string> known_;
};

// PEFT's one adapter at an nn.MultiheadAttention stands at the weight of its in_proj under the attention's own name,
// and at its out_proj inside of the module that it wraps.
std::string in_multihead(std::string key) {
  if (const auto at = key.find(".in_proj.lora_"); at != key.npos)
    return key.erase(at, std::string_view(".in_proj").size());
  if (const auto at = key.find(".out_proj.lora_"); at != key.npos) return key.insert(at, ".base_layer");
  return key;
}

// The attention at one of whose Linears a key has LoRA.
Multihead::const_iterator attention_of(const std::string& key, const Multihead& attentions) {
  return std::find_if(attentions.begin(), attentions.end(), [&](const auto& one) {
    return key.starts_with(one.first + ".in_proj.lora_") || key.starts_with(one.first + ".out_proj.lora_");
  });
}

// The half that is missing, as an adapter that has learned nothing.
void complete_multihead(StateDict& tensors, const std::string& attention) {
  const auto in = attention + ".lora_", out = attention + ".base_layer.out_proj.lora_";
  const bool has_in = tensors.find(in + "A.weight") != nullptr, has_out = tensors.find(out + "A.weight") != nullptr;
  if (has_in == has_out) return;
  const auto a = tensors.at((has_in ? in : out) + "A.weight");
  tensors.add((has_in ? out : in) + "A.weight", a.clone());
  tensors.add((has_in ? out : in) + "B.weight", at::zeros({(has_in ? 1 : 3) * a.size(1), a.size(0)}, a.options()));
}

// The ranks of LoRA at these, of which each has one in PEFT: the greater one.
std::map<std::string, int64_t> ranks_of(const std::vector<NamedParameter>& state, const PeftNames& names,
                                        const Multihead& attentions) {
  std::map<std::string, int64_t> ranks;
  for (const auto& named : state) {
    const auto key = names.of(named.name);
    const auto attention = attention_of(key, attentions);
    if (attention == attentions.end() || !key.ends_with(".lora_A.weight")) continue;
    auto& rank = ranks[attention->first];
    rank = std::max(rank, named.parameter.shape[0]);
  }
  return ranks;
}

// A factor [r, in] or [out, r] with zeros up to that rank.
at::Tensor of_rank(const at::Tensor& factor, bool is_first, int64_t rank) {
  const int64_t more = rank - factor.size(is_first ? 0 : 1);
  if (more == 0) return factor;
  return at::constant_pad_nd(factor, is_first ? std::vector<int64_t>{0, 0, 0, more} : std::vector<int64_t>{0, more});
}

// Whether PEFT wrapped a class with a head, whose names begin with the prefix.
bool is_bare(const StateDict& file, const std::string& prefix) {
  return std::none_of(file.begin(), file.end(),
                      [&](const auto& entry) { return entry.first.starts_with(kRoot + prefix + "."); });
}

bool of_head(const std::string& key, const std::string& root, const std::vector<std::string>& modules) {
  return std::any_of(modules.begin(), modules.end(),
                     [&](const std::string& module) { return key.starts_with(root + module + "."); });
}

// The network's own parameters, by their names below it.
StateDict own_weights(const Model& backbone) {
  StateDict weights;
  backbone.visit_parameters("", [&](const std::string& name, const Parameter& parameter) {
    if (!key_owner(named(backbone, name), own_containers(backbone))) weights.add(name, *parameter.value);
  });
  return weights;
}

// A tensor of the file must be the network's own, once more.
void check_own(const std::string& operation, const std::string& path, const at::Tensor& theirs, const StateDict& own) {
  static const std::string kBase = ".base_layer.";
  const auto at = path.find(kBase);
  const auto* ours = own.find(at == path.npos ? path : path.substr(0, at) + "." + path.substr(at + kBase.size()));
  const bool fits = ours != nullptr && ours->sizes() == theirs.sizes();
  if (fits && at::equal(ours->cpu(), theirs.to(ours->scalar_type()))) return;
  const auto what = ours == nullptr ? "'" + path + "', which the network has not"
                                    : "another '" + path + "' than the network has of its own";
  fail(
      ErrorCode::unsupported, operation, "the file holds " + what,
      {.expected = "nothing that learned but the adapter: a head of the exported class is part of the network",
       .hint =
           "Export the base model without its head (--class AutoModel), which takes the heads of most classes, or load "
           "the adapter alone (withHead: false)"});
}

// [p, 2 · layers · features], in PEFT's order of keys and values, as the other library has it.
at::Tensor turned_prefix(AdapterModel& model, const at::Tensor& prefix, bool back) {
  auto* network = dynamic_cast<NamedNetwork*>(&model.backbone());
  if (network == nullptr) return prefix;
  const auto parts = prefix.view({prefix.size(0), -1, 2, network->key_features()});
  const auto keys = network->turned_keys(parts.select(2, 0), back);
  return at::stack({keys, parts.select(2, 1)}, 2).reshape(prefix.sizes());
}

// A column is a vector in PEFT, and a flat prefix has a row for each token.
at::Tensor in_our_shape(AdapterModel& model, const std::string& key, const at::Tensor& theirs, const Parameter& ours) {
  if (key.ends_with("lora_magnitude_vector") && theirs.dim() == 1) return theirs.unsqueeze(1);
  const bool flat = key == kPrompt && ours.shape.size() == 1 && theirs.numel() == ours.shape[0];
  return flat ? turned_prefix(model, theirs.to(at::kFloat), true).reshape({-1}) : theirs;
}

int64_t prefix_length(AdapterModel& model, int64_t adapter) {
  const auto group = std::static_pointer_cast<PrefixGroup>(model.backbone().prefix_place().module(adapter));
  const auto& lengths = group->config().lengths;
  return *std::max_element(lengths.begin(), lengths.end());
}

// The modules of a Linear that holds several matrices, by the tensors that are theirs.
std::unordered_map<const at::Tensor*, const LoraModule*> merged_modules(AdapterModel& model, int64_t adapter) {
  std::unordered_map<const at::Tensor*, const LoraModule*> result;
  for (const auto& at : model.backbone().places()) {
    if (at.location != Location::query_key_value) continue;
    const auto* module = static_cast<LoraPlace*>(at.place)->at(adapter);
    if (module == nullptr || module->parts().whole()) continue;
    for (const auto& parameter : module->own_parameters()) result.emplace(parameter.value, module);
  }
  return result;
}

// The layers of a head, named by `from`, under the class's modules. A module around another one of the same layer is an
// output layer's, whose bias it has once more: `lm_head.bias` is `lm_head.decoder.bias`.
void add_head(StateDict& tensors, const StateDict& ours, const std::string& from, const std::string& root,
              const HeadLayers& head) {
  const auto is_around = [&](const std::string& module, int64_t index) {
    return std::any_of(head.begin(), head.end(), [&](const auto& other) {
      return other.second == index && other.first.starts_with(module + ".");
    });
  };
  for (const auto& [name, tensor] : ours) {
    for (const auto& [module, index] : head) {
      const auto layer = text(from, index, ".");
      if (!name.starts_with(layer)) continue;
      const auto part = name.substr(layer.size());
      if (part == "bias" || !is_around(module, index)) tensors.add(root + module + "." + part, tensor);
    }
  }
}

// Factors of parts as those of the whole: A as it is, for all parts side by side, B with zeros, IA³'s vector with ones.
at::Tensor of_whole(const std::string& operation, const NamedParameter& named, const LoraModule& module,
                    const at::Tensor& value) {
  const auto* low_rank = dynamic_cast<const LowRankModule*>(&module);
  const std::string type = low_rank != nullptr && low_rank->is_dora() ? "DoRA" : module.type();
  if (type == "IA3") return module.parts().put(value, 0, 1);
  if (type == "LoRA" && named.name.ends_with(".lora_A")) return value;
  if (type == "LoRA" && named.name.ends_with(".lora_B")) return module.parts().spread(value);
  fail(ErrorCode::unsupported, operation, "PEFT knows no part of a merged product, as " + named.name + " is",
       {.expected = "LoRA or IA³ there, or attnMatrices ['qkv']", .hint = "Save the folder for the adapters library"});
}

}  // namespace

void load_peft_adapter(AdapterModel& model, const std::string& name, const std::string& file,
                       const std::vector<std::string>& head_modules, const std::vector<std::string>& own_modules) {
  model.adapter_index(name);
  const auto wanted = model.adapter_state(name);
  const auto operation = "load the PEFT adapter of " + file;
  const auto tensors = read_weights(file);
  const auto& backbone = model.backbone();
  const PeftNames names(operation, name, backbone, is_bare(tensors, file_prefix(backbone)), wanted);
  FromFile found;
  std::unordered_set<std::string> taken;
  for (const auto& named : wanted) {
    auto key = names.of(named.name);
    if (auto other = in_multihead(key); tensors.find(key) == nullptr && tensors.find(other) != nullptr)
      key = std::move(other);
    found.expected.emplace(named.name, key);
    found.spelling.emplace(named.name, key);
    const auto* tensor = tensors.find(key);
    if (tensor == nullptr) continue;
    taken.insert(key);
    found.tensors.add(named.name, in_our_shape(model, key, *tensor, named.parameter));
  }
  const std::string root = learns_prompt(wanted) ? kPromptRoot : kRoot;
  const auto own = own_modules.empty() ? StateDict() : own_weights(backbone);
  for (const auto& [key, tensor] : tensors) {
    if (taken.count(key) || of_head(key, root, head_modules)) continue;
    if (of_head(key, root, own_modules)) {
      check_own(operation, key.substr(root.size()), tensor, own);
    } else {
      found.tensors.add(key, tensor);
    }
  }
  assign_strictly(operation, wanted, found);
}

void save_peft_adapter(AdapterModel& model, const std::string& name, const std::string& file, WeightsFormat format,
                       const HeadLayers& head, bool bare, const std::vector<std::string>& own_modules,
                       const Multihead& multihead) {
  const auto operation = "save the PEFT adapter '" + name + "'";
  const int64_t index = model.adapter_index(name);
  const auto merged = merged_modules(model, index);
  const auto state = model.adapter_state(name);
  const PeftNames names(operation, name, model.backbone(), bare, state);
  const auto copied = [](const NamedParameter& named) { return named.parameter.value->detach().to(at::kCPU); };
  Multihead attentions;
  for (const auto& [path, factors] : multihead) attentions[names.below(path)] = factors;
  const auto ranks = ranks_of(state, names, attentions);
  StateDict tensors;
  for (const auto& named : state) {
    auto key = names.of(named.name);
    auto value = copied(named);
    if (const auto attention = attention_of(key, attentions); attention != attentions.end()) {
      const bool of_input = key.starts_with(attention->first + ".in_proj."), is_first = key.ends_with(".lora_A.weight");
      key = in_multihead(key);
      if (!is_first) value = value.mul(of_input ? attention->second.of_input : attention->second.of_output);
      value = of_rank(value, is_first, ranks.at(attention->first));
    }
    if (const auto part = merged.find(named.parameter.value); part != merged.end())
      value = of_whole(operation, named, *part->second, value);
    if (key.ends_with("lora_magnitude_vector")) value = value.squeeze(1);
    const bool flat = key == kPrompt && value.dim() == 1;
    tensors.add(key, flat ? turned_prefix(model, value.reshape({prefix_length(model, index), -1}), false) : value);
  }
  for (const auto& [attention, factors] : attentions) complete_multihead(tensors, attention);
  const std::string root = learns_prompt(state) ? kPromptRoot : kRoot;
  if (!own_modules.empty())
    for (const auto& [path, value] : own_weights(model.backbone()))
      if (of_head(root + path, root, own_modules)) tensors.add(root + path, value.detach().to(at::kCPU));
  if (!head.empty()) add_head(tensors, head_tensors(model, name), "heads." + name + ".", root, head);
  write_weights(file, tensors, format);
}

}  // namespace ta
