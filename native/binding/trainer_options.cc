#include "binding/trainer_options.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <optional>

#include "binding/fields.h"

namespace ta::binding {

namespace {

std::optional<double> optional_number(const Napi::Object& object, const char* name) {
  if (!present(object.Get(name))) return std::nullopt;
  return number(object, name);
}

OptimizerOptions to_optimizer(const Napi::Object& object) {
  const auto name = string(object, "name");
  if (name == "adamw") return AdamWOptions{number(object, "beta1"), number(object, "beta2"), number(object, "epsilon")};
  if (name == "sgd")
    return SgdOptions{number(object, "momentum"), number(object, "dampening"), boolean(object, "nesterov")};
  if (name == "lion") return LionOptions{number(object, "beta1"), number(object, "beta2")};
  if (name == "adafactor") {
    return AdafactorOptions{number(object, "epsilon"), number(object, "clipThreshold"), number(object, "decayRate"),
                            optional_number(object, "beta1")};
  }
  wrong_type("optimizer", ("a known name, got '" + name + "'").c_str());
}

ScheduleShape to_shape(const std::string& name) {
  return choose<ScheduleShape>(
      name,
      {{"linear", ScheduleShape::linear}, {"cosine", ScheduleShape::cosine}, {"1-sqrt", ScheduleShape::one_minus_sqrt}},
      "schedule's shape");
}

Schedule to_schedule(const Napi::Object& object) {
  Schedule s;
  s.kind = choose<ScheduleKind>(string(object, "kind"),
                                {{"linear", ScheduleKind::linear},
                                 {"cosine", ScheduleKind::cosine},
                                 {"cosine_with_restarts", ScheduleKind::cosine_with_restarts},
                                 {"polynomial", ScheduleKind::polynomial},
                                 {"constant", ScheduleKind::constant},
                                 {"constant_with_warmup", ScheduleKind::constant_with_warmup},
                                 {"inverse_sqrt", ScheduleKind::inverse_sqrt},
                                 {"cosine_with_min_lr", ScheduleKind::cosine_with_min_lr},
                                 {"cosine_warmup_with_min_lr", ScheduleKind::cosine_warmup_with_min_lr},
                                 {"warmup_stable_decay", ScheduleKind::warmup_stable_decay}},
                                "schedule");
  s.warmup_steps = integer(object, "warmupSteps");
  s.total_steps = integer(object, "totalSteps");
  s.cycles = number(object, "cycles");
  s.power = number(object, "power");
  s.minimum = number(object, "minimum");
  s.warmup_start = optional_number(object, "warmupStart");
  s.timescale = number(object, "timescale");
  s.stable_steps = integer(object, "stableSteps");
  s.decay_steps = integer(object, "decaySteps");
  s.warmup_shape = to_shape(string(object, "warmupShape"));
  s.decay_shape = to_shape(string(object, "decayShape"));
  return s;
}

ParameterGroup to_group(const Napi::Object& object) {
  ParameterGroup group{.learning_rate = number(object, "learningRate"),
                       .weight_decay = number(object, "weightDecay"),
                       .decays_all = boolean(object, "decaysAll")};
  for (auto& name : to_strings(object.Get("names"))) group.names.insert(std::move(name));
  return group;
}

MemberOptions to_member(const Napi::Object& object) {
  MemberOptions o;
  o.name = string(object, "name");
  for (auto& name : to_strings(object.Get("names"))) o.names.insert(std::move(name));
  o.learning_rate = number(object, "learningRate");
  o.weight_decay = number(object, "weightDecay");
  const auto groups = object.Get("groups").As<Napi::Array>();
  for (uint32_t i = 0; i < groups.Length(); ++i) o.groups.push_back(to_group(groups.Get(i).As<Napi::Object>()));
  o.optimizer = to_optimizer(object.Get("optimizer").As<Napi::Object>());
  o.schedule = to_schedule(object.Get("schedule").As<Napi::Object>());
  o.max_grad_norm = number(object, "maxGradNorm");
  o.label_smoothing = number(object, "labelSmoothing");
  return o;
}

at::Tensor to_weights(const Napi::Float32Array& values) {
  auto weights = at::empty({static_cast<int64_t>(values.ElementLength())}, at::kFloat);
  std::copy_n(values.Data(), values.ElementLength(), weights.mutable_data_ptr<float>());
  return weights;
}

}  // namespace

TrainerOptions to_trainer_options(const Napi::Object& object) {
  TrainerOptions o;
  o.members.clear();
  const auto members = object.Get("members").As<Napi::Array>();
  for (uint32_t i = 0; i < members.Length(); ++i) o.members.push_back(to_member(members.Get(i).As<Napi::Object>()));
  const auto weights = object.Get("classWeights").As<Napi::Array>();
  for (uint32_t i = 0; i < weights.Length(); ++i) {
    const auto own = weights.Get(i).As<Napi::Object>();
    o.class_weights[string(own, "head")] = to_weights(own.Get("weights").As<Napi::Float32Array>());
  }
  o.seed = static_cast<uint64_t>(integer(object, "seed"));
  return o;
}

}  // namespace ta::binding
