#include "core/surgery/peft_files.h"

#include <algorithm>
#include <unordered_set>

#include "core/error.h"
#include "core/surgery/strict_assign.h"

namespace ta {

namespace {

constexpr const char* kRoot = "base_model.model.";

// The names of one adapter's parameters in PEFT's files.
class PeftNames {
 public:
  PeftNames(const std::string& operation, const std::string& name, const std::string& prefix, bool bare,
            const std::vector<NamedParameter>& state)
      : operation_(operation), inside_(".loras." + name + "."), shared_(".shared_parameters." + name + ".") {
    prefix_ = bare ? prefix : "";
    for (const auto& named : state) known_.insert(named.name);
  }

  std::string of(const std::string& ours) const {
    if (const auto at = ours.find(shared_); at != ours.npos)
      return ours.ends_with("lora_A") ? "base_model.vera_A" : "base_model.vera_B";
    const auto at = ours.find(inside_);
    if (at == ours.npos) refuse(ours);
    const auto path = ours.substr(0, at), part = ours.substr(at + inside_.size());
    return kRoot + (prefix_.empty() ? path : strip_base_prefix(path, prefix_)) + "." + spelled(ours, path, part);
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
         {.expected = "LoRA, DoRA, IA³ or VeRA at the Linears of the layers, without a gate",
          .hint = "Save the folder for the adapters library"});
  }

  const std::string& operation_;
  std::string inside_, shared_, prefix_;
  std::unordered_set<std::string> known_;
};

// Whether PEFT wrapped a class with a head, whose names begin with the prefix.
bool is_bare(const StateDict& file, const std::string& prefix) {
  return std::none_of(file.begin(), file.end(),
                      [&](const auto& entry) { return entry.first.starts_with(kRoot + prefix + "."); });
}

bool of_head(const std::string& key, const std::vector<std::string>& modules) {
  return std::any_of(modules.begin(), modules.end(),
                     [&](const std::string& module) { return key.starts_with(kRoot + module + "."); });
}

}  // namespace

void load_peft_adapter(AdapterModel& model, const std::string& name, const std::string& file,
                       const std::vector<std::string>& head_modules) {
  model.adapter_index(name);
  const auto wanted = model.adapter_state(name);
  const auto operation = "load the PEFT adapter of " + file;
  const auto tensors = read_weights(file);
  const auto& prefix = model.backbone().prefix();
  const PeftNames names(operation, name, prefix, is_bare(tensors, prefix), wanted);
  FromFile found;
  std::unordered_set<std::string> taken;
  for (const auto& named : wanted) {
    const auto key = names.of(named.name);
    found.expected.emplace(named.name, key);
    found.spelling.emplace(named.name, key);
    const auto* tensor = tensors.find(key);
    if (tensor == nullptr) continue;
    taken.insert(key);
    // A column is a vector in PEFT.
    const bool column = key.ends_with("lora_magnitude_vector") && tensor->dim() == 1;
    found.tensors.add(named.name, column ? tensor->unsqueeze(1) : *tensor);
  }
  for (const auto& [key, tensor] : tensors)
    if (!taken.count(key) && !of_head(key, head_modules)) found.tensors.add(key, tensor);
  assign_strictly(operation, wanted, found);
}

void save_peft_adapter(AdapterModel& model, const std::string& name, const std::string& file, WeightsFormat format,
                       const HeadLayers& head) {
  const auto operation = "save the PEFT adapter '" + name + "'";
  model.adapter_index(name);
  const auto state = model.adapter_state(name);
  const PeftNames names(operation, name, model.backbone().prefix(), head.empty(), state);
  const auto copied = [](const NamedParameter& named) { return named.parameter.value->detach().to(at::kCPU); };
  StateDict tensors;
  for (const auto& named : state) {
    const auto key = names.of(named.name);
    tensors.add(key, key.ends_with("lora_magnitude_vector") ? copied(named).squeeze(1) : copied(named));
  }
  if (head.empty()) return write_weights(file, tensors, format);
  for (const auto& named : model.head_state(name)) {
    for (const auto& [module, index] : head) {
      const auto layer = text("heads.", name, ".", index, ".");
      if (named.name.starts_with(layer))
        tensors.add(kRoot + module + "." + named.name.substr(layer.size()), copied(named));
    }
  }
  write_weights(file, tensors, format);
}

}  // namespace ta
