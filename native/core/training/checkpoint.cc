#include <c10/core/GradMode.h>

#include <charconv>
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

void Trainer::save(const std::string& file, const std::string& user) {
  StateDict tensors;
  for (size_t i = 0; i < optimizer_->parameters().size(); ++i) {
    const auto* flat = optimizer_->parameters()[i];
    for (const auto& named : flat->parameters()) {
      tensors.add(named.name, named.parameter.value->detach().to(at::kCPU).contiguous());
    }
    for (const auto& [name, tensor] : optimizer_->state(i)) tensors.add(state_name(name, i), tensor.to(at::kCPU));
  }
  tensors.add("random_state", random_.state());
  SafetensorsMetadata metadata = {{"format", kFormat},
                                  {"optimizer", optimizer_->name()},
                                  {"steps", std::to_string(optimizer_->steps())},
                                  {"checksum", checksum(tensors)},
                                  {"user", user}};
  if (auto frozen = frozen_names(optimizer_->parameters()); !frozen.empty()) metadata.emplace_back("frozen", frozen);
  if (auto numbers = temperatures(model_); !numbers.empty()) metadata.emplace_back("temperatures", numbers);
  write_safetensors(file, tensors, metadata);
}

std::string Trainer::load(const std::string& file) {
  SafetensorsMetadata metadata;
  const auto tensors = read_safetensors(file, &metadata);
  if (value_of(metadata, "format", file) != kFormat) {
    fail(ErrorCode::file_format, "load checkpoint", file + " is of another format",
         {.expected = kFormat, .got = value_of(metadata, "format", file)});
  }
  // Checkpoints from before there was a choice do not say.
  if (const auto other = find_value(metadata, "optimizer").value_or("adamw"); other != optimizer_->name()) {
    fail(ErrorCode::state_dict, "load checkpoint", file + " was written with another optimizer",
         {.expected = optimizer_->name(), .got = other, .hint = "Resume with the optimizer that the run began with"});
  }
  std::vector<std::pair<at::Tensor, at::Tensor>> copies;
  std::vector<std::string> wrong;
  size_t wanted = 1;
  auto want = [&](const std::string& name, at::Tensor target) {
    ++wanted;
    const auto* found = tensors.find(name);
    if (found == nullptr) {
      wrong.push_back(name + ": missing");
    } else if (found->sizes() != target.sizes() || found->scalar_type() != target.scalar_type()) {
      wrong.push_back(text(name, ": expected ", target.sizes(), ", got ", found->sizes()));
    } else {
      copies.emplace_back(std::move(target), *found);
    }
  };
  for (size_t i = 0; i < optimizer_->parameters().size(); ++i) {
    for (const auto& named : optimizer_->parameters()[i]->parameters()) want(named.name, *named.parameter.value);
    for (const auto& [name, tensor] : optimizer_->state(i)) want(state_name(name, i), tensor);
  }
  if (find_value(metadata, "frozen").value_or("") != frozen_names(optimizer_->parameters())) {
    wrong.push_back("other parameters were frozen");
  }
  if (!wrong.empty() || wanted != tensors.size()) {
    fail(ErrorCode::state_dict, "load checkpoint",
         text(file, " was written by another training: ", wrong.empty() ? "it holds other tensors" : name_list(wrong)),
         {.hint = "Resume with the same model, adapter, head and trainable parameters"});
  }
  // A mapped tensor's order in memory is the writer's; the sum runs over names in the order they were added.
  StateDict ordered;
  for (size_t i = 0; i < optimizer_->parameters().size(); ++i) {
    for (const auto& named : optimizer_->parameters()[i]->parameters()) ordered.add(named.name, tensors.at(named.name));
    for (const auto& state : optimizer_->state(i)) {
      const auto name = state_name(state.name, i);
      ordered.add(name, tensors.at(name));
    }
  }
  ordered.add("random_state", tensors.at("random_state"));
  if (checksum(ordered) != value_of(metadata, "checksum", file)) {
    fail(ErrorCode::file_format, "load checkpoint", file + " is damaged: its checksum does not match",
         {.hint = "Resume from an earlier checkpoint"});
  }
  int64_t steps = 0;
  const auto steps_text = value_of(metadata, "steps", file);
  const auto parsed = std::from_chars(steps_text.data(), steps_text.data() + steps_text.size(), steps);
  if (parsed.ec != std::errc() || steps < 0) {
    fail(ErrorCode::file_format, "load checkpoint", file + ": 'steps' is no number", {.got = "'" + steps_text + "'"});
  }
  auto user = value_of(metadata, "user", file);
  const auto fusions = model_.training_fusions();
  const auto degrees = fusions.empty()
                           ? std::vector<double>()
                           : read_temperatures(fusions.size(), value_of(metadata, "temperatures", file), file);
  c10::NoGradGuard guard;
  for (auto& [target, source] : copies) target.copy_(source);
  for (size_t i = 0; i < fusions.size(); ++i) fusions[i]->temperature = degrees[i];
  random_.set_state(tensors.at("random_state").clone());
  optimizer_->set_steps(steps);
  return user;
}

}  // namespace ta
