// The model handle's passes: forward, several at once, what they take of memory, and gradients.

#include <ATen/ops/empty.h>

#include "binding/model_wrap.h"
#include "core/nn/allocation_meter.h"
#include "core/training/evaluate.h"
#include "core/training/gradients.h"

namespace ta::binding {

namespace {

struct Outputs {
  std::optional<HostTensor> logits, last_hidden_state;
  std::vector<HostTensor> hidden_states, head_logits;
  struct FusionAttention {
    std::string fusion;
    int64_t layer;
    bool after_attention;
    HostTensor scores;
  };
  std::vector<FusionAttention> fusion_attentions;
  std::vector<std::optional<double>> head_losses;
  std::optional<double> loss;
};

Napi::Value to_js(Napi::Env env, const Outputs& outputs) {
  auto object = Napi::Object::New(env);
  if (outputs.logits) object.Set("logits", to_js(env, *outputs.logits));
  if (outputs.loss) object.Set("loss", *outputs.loss);
  if (outputs.last_hidden_state) object.Set("lastHiddenState", to_js(env, *outputs.last_hidden_state));
  auto list = [&](const char* name, const std::vector<HostTensor>& tensors) {
    if (tensors.empty()) return;
    auto array = Napi::Array::New(env, tensors.size());
    for (uint32_t i = 0; i < tensors.size(); ++i) array.Set(i, to_js(env, tensors[i]));
    object.Set(name, array);
  };
  list("hiddenStates", outputs.hidden_states);
  list("headLogits", outputs.head_logits);
  auto attentions = Napi::Array::New(env, outputs.fusion_attentions.size());
  for (uint32_t i = 0; i < outputs.fusion_attentions.size(); ++i) {
    const auto& [fusion, layer, after_attention, scores] = outputs.fusion_attentions[i];
    auto one = Napi::Object::New(env);
    one.Set("fusion", fusion);
    one.Set("layer", static_cast<double>(layer));
    one.Set("location", after_attention ? "mhAdapter" : "outputAdapter");
    one.Set("scores", to_js(env, scores));
    attentions.Set(i, one);
  }
  if (attentions.Length() > 0) object.Set("fusionAttentions", attentions);
  if (outputs.head_losses.empty()) return object;
  auto losses = Napi::Array::New(env, outputs.head_losses.size());
  for (uint32_t i = 0; i < outputs.head_losses.size(); ++i)
    if (outputs.head_losses[i]) losses.Set(i, *outputs.head_losses[i]);
  object.Set("headLosses", losses);
  return object;
}

// The scores of each fusion by its name and place.
std::vector<Outputs::FusionAttention> attentions_of(ModelState& state, const FusionScores::All& all) {
  std::vector<Outputs::FusionAttention> result;
  if (all.empty()) return result;
  for (const auto& [layer, location, place] : state.model.backbone().places()) {
    const auto* site = dynamic_cast<const AdapterSite*>(place);
    if (site == nullptr) continue;
    for (const auto& child : site->fusions()->children()) {
      const auto found = all.find(static_cast<const Fusion*>(child.module.get()));
      if (found == all.end()) continue;
      result.push_back({child.name, layer, location == Location::attention, to_host(found->second)});
    }
  }
  return result;
}

using Pass = std::pair<BatchInput, PassOptions>;

Pass to_pass(const Napi::Value& batch, const Napi::Value& options) {
  return {to_batch(batch.As<Napi::Object>()), to_pass_options(options.As<Napi::Object>())};
}

std::vector<Pass> to_passes(const Napi::Value& batch_list, const Napi::Value& pass_list) {
  const auto batches = batch_list.As<Napi::Array>(), options = pass_list.As<Napi::Array>();
  if (batches.Length() != options.Length()) wrong_type("options", "as many as there are batches");
  std::vector<Pass> passes;
  for (uint32_t i = 0; i < batches.Length(); ++i) passes.push_back(to_pass(batches.Get(i), options.Get(i)));
  return passes;
}

ForwardResult run_pass(ModelState& state, const Pass& pass) {
  auto [batch, request] = state.prepare(pass.first, pass.second);
  return evaluate(state.model, batch, request);
}

bool wants_states(const PassOptions& options) {
  return options.last_hidden_state || (options.head.empty() && options.heads.empty());
}

// Off the device.
Outputs outputs_of(ModelState& state, const ForwardResult& result, const PassOptions& options) {
  Outputs outputs;
  if (result.logits.defined()) outputs.logits = to_host(result.logits);
  if (result.loss.defined()) outputs.loss = result.loss.item<double>();
  for (const auto& logits : result.head_logits)
    outputs.head_logits.push_back(to_host(logits.defined() ? logits : at::empty({0})));
  for (const auto& loss : result.head_losses)
    outputs.head_losses.push_back(loss.defined() ? std::optional(loss.item<double>()) : std::nullopt);
  outputs.fusion_attentions = attentions_of(state, result.fusion_scores);
  if (wants_states(options)) outputs.last_hidden_state = to_host(result.encoded.last);
  for (const auto& hidden : result.encoded.hidden_states) outputs.hidden_states.push_back(to_host(hidden));
  return outputs;
}

// What passes gave, all at once: until then it is where it was computed.
std::vector<Outputs> run_each(ModelState& state, const std::vector<Pass>& passes, const Engine& engine) {
  std::vector<ForwardResult> results;
  for (const auto& pass : passes) {
    if (engine.stopping()) fail(ErrorCode::aborted, "forward", "the environment ends");
    auto& result = results.emplace_back(run_pass(state, pass));
    if (!wants_states(pass.second)) result.encoded.last = result.encoded.row_states = at::Tensor();
  }
  std::vector<Outputs> all;
  for (size_t i = 0; i < passes.size(); ++i) {
    all.push_back(outputs_of(state, results[i], passes[i].second));
    results[i] = {};
  }
  return all;
}

Napi::Value to_js(Napi::Env env, const std::vector<Outputs>& all) {
  auto array = Napi::Array::New(env, all.size());
  for (uint32_t i = 0; i < all.size(); ++i) array.Set(i, to_js(env, all[i]));
  return array;
}

struct PassMemory {
  Peak peak;
};

Napi::Value to_js(Napi::Env env, const PassMemory& memory) {
  auto object = Napi::Object::New(env);
  object.Set("activations", static_cast<double>(memory.peak.tensors));
  object.Set("process", static_cast<double>(memory.peak.process));
  return object;
}

struct Gradients {
  double loss;
  std::vector<std::pair<std::string, HostTensor>> values;
};

Napi::Value to_js(Napi::Env env, const Gradients& gradients) {
  auto map = env.Global().Get("Map").As<Napi::Function>().New({});
  auto set = map.Get("set").As<Napi::Function>();
  for (const auto& [name, value] : gradients.values) {
    set.Call(map, {Napi::String::New(env, name), to_js(env, value)});
  }
  auto object = Napi::Object::New(env);
  object.Set("loss", gradients.loss);
  object.Set("gradients", map);
  return object;
}

/// What trains in one pass, and again behind it.
struct PassTrains {
  Trainable meanwhile, afterwards;
};

std::optional<PassTrains> to_pass_trains(const Napi::Value& value) {
  if (!value.IsObject()) return std::nullopt;
  const auto object = value.As<Napi::Object>();
  return PassTrains{to_trainable(object.Get("meanwhile").As<Napi::Object>()),
                    to_trainable(object.Get("afterwards").As<Napi::Object>())};
}

Gradients gradients_of(ModelState& s, const BatchInput& batch, const PassOptions& options) {
  auto [packed, request] = s.prepare(batch, options);
  ta::Gradients gradients(s.model);
  gradients.zero();
  Gradients result{gradients.add(packed, request, nullptr, 1).total, {}};
  for (auto* flat : s.model.trainable())
    for (size_t i = 0; i < flat->parameters().size(); ++i) {
      if (flat->frozen().contains(flat->parameters()[i].name)) continue;
      result.values.emplace_back(flat->parameters()[i].name, to_host(flat->grad(i).clone()));
    }
  return result;
}

}  // namespace

Napi::Value ModelWrap::forward(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    return async(info, [pass = to_pass(info[0], info[1])](ModelState& s) {
      return outputs_of(s, run_pass(s, pass), pass.second);
    });
  });
}

// forwardEach(batches, passes)
Napi::Value ModelWrap::forward_each(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    return async(info, [passes = to_passes(info[0], info[1]), engine = engine_](ModelState& s) {
      return run_each(s, passes, *engine);
    });
  });
}

// measureEach(groups), each with its batches and passes
Napi::Value ModelWrap::measure_each(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const auto list = info[0].As<Napi::Array>();
    std::vector<std::vector<Pass>> groups;
    for (uint32_t i = 0; i < list.Length(); ++i) {
      const auto group = list.Get(i).As<Napi::Object>();
      groups.push_back(to_passes(group.Get("batches"), group.Get("passes")));
    }
    return async(info, [groups = std::move(groups), engine = engine_](ModelState& s) {
      return PassMemory{peak_bytes(groups.size(), [&](size_t i) { run_each(s, groups[i], *engine); })};
    });
  });
}

Napi::Value ModelWrap::gradients(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    return async(info,
                 [batch = to_batch(info[0].As<Napi::Object>()), options = to_pass_options(info[1].As<Napi::Object>()),
                  trains = to_pass_trains(info[2])](ModelState& s) {
                   if (!trains) return gradients_of(s, batch, options);
                   s.model.set_trainable(trains->meanwhile);
                   try {
                     auto result = gradients_of(s, batch, options);
                     s.model.set_trainable(trains->afterwards);
                     return result;
                   } catch (...) {
                     s.model.set_trainable(trains->afterwards);
                     throw;
                   }
                 });
  });
}

}  // namespace ta::binding
