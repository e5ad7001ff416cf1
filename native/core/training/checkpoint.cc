#include <ATen/ops/empty_like.h>
#include <c10/core/GradMode.h>

#include <charconv>
#include <map>
#include <optional>
#include <sstream>

#include "core/error.h"
#include "core/state/checksum.h"
#include "core/state/safetensors.h"
#include "core/training/trainer.h"

namespace ta {

namespace {

constexpr const char* kFormat = "torch-adapters checkpoint 1";

std::string checksum(const StateDict& tensors) {
  uint32_t sum = 0;
  for (const auto& [name, tensor] : tensors) {
    sum = crc32(name.data(), name.size(), sum);
    sum = crc32(tensor.const_data_ptr(), tensor.nbytes(), sum);
  }
  return std::to_string(sum);
}

std::optional<std::string> find_value(const SafetensorsMetadata& metadata, const std::string& key) {
  for (const auto& [name, value] : metadata)
    if (name == key) return value;
  return std::nullopt;
}

// The frozen parts of the buffers: their values and moments are in the file, and must not begin to move.
std::string frozen_names(const std::vector<FlatParameters*>& parameters) {
  std::string names;
  for (const auto* flat : parameters)
    for (const auto& name : flat->frozen()) names += (names.empty() ? "" : "\n") + name;
  return names;
}

std::string value_of(const SafetensorsMetadata& metadata, const std::string& key, const std::string& file) {
  if (auto found = find_value(metadata, key)) return *found;
  fail(ErrorCode::file_format, "load checkpoint", file + " has no '" + key + "'",
       {.expected = kFormat, .hint = "Resume from a folder that the trainer wrote"});
}

std::string state_name(const std::string& name, size_t buffer) {
  return text("optimizer.", name, ".", buffer);
}

std::string kept_name(size_t buffer) {
  return text("kept.", buffer);
}

template <class Field>
std::string joined(const std::vector<std::unique_ptr<Member>>& members, const Field& field) {
  std::string result;
  for (const auto& member : members) result += (result.empty() ? "" : " ") + field(*member);
  return result;
}

std::string optimizer_names(const std::vector<std::unique_ptr<Member>>& members) {
  return joined(members, [](const Member& member) -> std::string { return member.optimizer().name(); });
}

std::vector<int64_t> read_steps(size_t count, const std::string& text, const std::string& file) {
  std::vector<int64_t> steps;
  const char* at = text.data();
  const char* const end = at + text.size();
  while (at < end) {
    auto& number = steps.emplace_back();
    const auto parsed = std::from_chars(at, end, number);
    if (parsed.ec != std::errc() || number < 0) break;
    at = parsed.ptr == end ? end : parsed.ptr + 1;
  }
  if (at == end && steps.size() == count) return steps;
  fail(ErrorCode::file_format, "load checkpoint", file + ": 'steps' are no numbers", {.got = "'" + text + "'"});
}

// One number for each layer's part of each fusion that trains.
std::string temperatures(AdapterModel& model) {
  std::ostringstream numbers;
  numbers.precision(17);
  for (const auto& fusion : model.training_fusions()) numbers << fusion->temperature << ' ';
  return numbers.str();
}

std::vector<double> read_temperatures(size_t count, const std::string& text, const std::string& file) {
  std::istringstream numbers(text);
  std::vector<double> result(count);
  for (auto& temperature : result) {
    if (numbers >> temperature && temperature >= 1) continue;
    fail(ErrorCode::file_format, "load checkpoint", file + ": 'temperatures' are no numbers",
         {.got = "'" + text + "'"});
  }
  return result;
}

}  // namespace

// What a checkpoint holds of the parameters and their optimizers, by name; buffers count through all members.
std::vector<std::pair<std::string, at::Tensor>> Trainer::tensors() {
  std::vector<std::pair<std::string, at::Tensor>> result;
  size_t buffer = 0;
  for (const auto& member : members_) {
    for (size_t i = 0; i < member->parameters().size(); ++i, ++buffer) {
      for (const auto& named : member->parameters()[i]->parameters())
        result.emplace_back(named.name, named.parameter.value->detach());
      for (const auto& [name, tensor] : member->optimizer().state(i))
        result.emplace_back(state_name(name, buffer), tensor);
    }
  }
  return result;
}

void Trainer::save(const std::string& file, const std::string& user) {
  StateDict all;
  for (const auto& [name, tensor] : tensors()) all.add(name, tensor.to(at::kCPU).contiguous());
  all.add("random_state", random_.state());
  size_t buffer = 0;
  for (const auto& member : members_) {
    for (size_t i = 0; i < member->kept().size(); ++i) all.add(kept_name(buffer + i), member->kept()[i].to(at::kCPU));
    buffer += member->parameters().size();
  }
  const auto steps = joined(members_, [](const Member& member) { return std::to_string(member.steps()); });
  SafetensorsMetadata metadata = {{"format", kFormat},
                                  {"optimizer", optimizer_names(members_)},
                                  {"steps", steps},
                                  {"checksum", checksum(all)},
                                  {"user", user}};
  if (auto frozen = frozen_names(gradients_.parameters()); !frozen.empty()) metadata.emplace_back("frozen", frozen);
  if (auto numbers = temperatures(model_); !numbers.empty()) metadata.emplace_back("temperatures", numbers);
  write_safetensors(file, all, metadata);
}

std::string Trainer::load(const std::string& file) {
  SafetensorsMetadata metadata;
  const auto found = read_safetensors(file, &metadata);
  if (value_of(metadata, "format", file) != kFormat) {
    fail(ErrorCode::file_format, "load checkpoint", file + " is of another format",
         {.expected = kFormat, .got = value_of(metadata, "format", file)});
  }
  // Checkpoints from before there was a choice do not say.
  const auto own = optimizer_names(members_);
  if (const auto other = find_value(metadata, "optimizer").value_or("adamw"); other != own) {
    fail(ErrorCode::state_dict, "load checkpoint", file + " was written with another optimizer",
         {.expected = own, .got = other, .hint = "Resume with the optimizer that the run began with"});
  }
  // A mapped tensor's order in memory is the writer's; the sum runs over names in the order they were added.
  StateDict ordered;
  std::vector<std::pair<at::Tensor, at::Tensor>> copies;
  std::vector<std::string> wrong;
  const auto want = [&](const std::string& name, const at::Tensor& target) {
    const auto* tensor = found.find(name);
    if (tensor == nullptr) {
      wrong.push_back(name + ": missing");
    } else if (tensor->sizes() != target.sizes() || tensor->scalar_type() != target.scalar_type()) {
      wrong.push_back(text(name, ": expected ", target.sizes(), ", got ", tensor->sizes()));
    } else {
      copies.emplace_back(target, *tensor);
      ordered.add(name, *tensor);
    }
  };
  for (const auto& [name, target] : tensors()) want(name, target);
  if (const auto* state = found.find("random_state")) ordered.add("random_state", *state);
  std::map<Member*, std::vector<at::Tensor>> kept;
  size_t buffer = 0;
  for (const auto& member : members_) {
    const size_t count = member->parameters().size();
    for (size_t i = 0; i < count && found.contains(kept_name(buffer)); ++i) {
      auto& tensor = kept[member.get()].emplace_back(at::empty_like(member->parameters()[i]->values()));
      want(kept_name(buffer + i), tensor);
    }
    buffer += count;
  }
  if (find_value(metadata, "frozen").value_or("") != frozen_names(gradients_.parameters())) {
    wrong.push_back("other parameters were frozen");
  }
  if (!wrong.empty() || ordered.size() != found.size() || !ordered.contains("random_state")) {
    fail(ErrorCode::state_dict, "load checkpoint",
         text(file, " was written by another training: ", wrong.empty() ? "it holds other tensors" : name_list(wrong)),
         {.hint = "Resume with the same model, adapter, head and trainable parameters"});
  }
  if (checksum(ordered) != value_of(metadata, "checksum", file)) {
    fail(ErrorCode::file_format, "load checkpoint", file + " is damaged: its checksum does not match",
         {.hint = "Resume from an earlier checkpoint"});
  }
  const auto steps = read_steps(members_.size(), value_of(metadata, "steps", file), file);
  auto user = value_of(metadata, "user", file);
  const auto fusions = model_.training_fusions();
  const auto degrees = fusions.empty()
                           ? std::vector<double>()
                           : read_temperatures(fusions.size(), value_of(metadata, "temperatures", file), file);
  c10::NoGradGuard guard;
  for (auto& [target, source] : copies) target.copy_(source);
  for (size_t i = 0; i < fusions.size(); ++i) fusions[i]->temperature = degrees[i];
  random_.set_state(found.at("random_state").clone());
  for (size_t i = 0; i < members_.size(); ++i) {
    members_[i]->optimizer().set_steps(steps[i]);
    members_[i]->kept() = std::move(kept[members_[i].get()]);
    for (auto* flat : members_[i]->parameters()) flat->changed();
  }
  return user;
}

}  // namespace ta
