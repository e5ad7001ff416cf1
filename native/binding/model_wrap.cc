#include "binding/model_wrap.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include "core/error.h"
#include "core/models/base_weights.h"
#include "core/models/initialise.h"
#include "core/models/registry.h"
#include "core/nn/allocation_meter.h"
#include "core/state/weights_file.h"
#include "core/surgery/state_io.h"
#include "core/training/evaluate.h"
#include "core/training/gradients.h"

namespace ta::binding {

namespace {

constexpr napi_type_tag kModelTag = {0x7d3fbb0c9a1e4f52, 0x9c64e1a7035b88d1};

struct Loaded {
  LoadReport report;
};
Napi::Value to_js(Napi::Env env, const Loaded& loaded) {
  auto names = [&](const std::vector<std::string>& list) {
    auto array = Napi::Array::New(env, list.size());
    for (uint32_t i = 0; i < list.size(); ++i) array.Set(i, list[i]);
    return array;
  };
  auto object = Napi::Object::New(env);
  object.Set("missing", names(loaded.report.missing));
  object.Set("unexpected", names(loaded.report.unexpected));
  object.Set("unplaced", names(loaded.report.unplaced));
  object.Set("hasPrefix", loaded.report.has_prefix);
  return object;
}

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

StateDict to_state_dict(const Napi::Value& value) {
  auto env = value.Env();
  auto entries =
      env.Global().Get("Array").As<Napi::Object>().Get("from").As<Napi::Function>().Call({value}).As<Napi::Array>();
  StateDict result;
  for (uint32_t i = 0; i < entries.Length(); ++i) {
    auto entry = entries.Get(i).As<Napi::Array>();
    auto tensor = entry.Get(1u).As<Napi::Object>();
    auto data = to_floats(tensor.Get("data"));
    auto shape = to_shape(tensor.Get("shape"));
    const auto name = entry.Get(0u).As<Napi::String>().Utf8Value();
    if (c10::multiply_integers(shape) != static_cast<int64_t>(data.size())) {
      fail(ErrorCode::invalid_argument, "loadStateDict", name + ": data and shape do not fit",
           {.expected = text(c10::multiply_integers(shape), " values"), .got = text(data.size())});
    }
    result.add(name, at::from_blob(data.data(), shape, at::kFloat).clone());
  }
  return result;
}

}  // namespace

std::pair<PackedBatch, ForwardRequest> ModelState::prepare(BatchInput input, const PassOptions& options) {
  model.backbone().prepare(input);
  auto batch = PackedBatch::pack(input, model.device());
  auto request = to_request(options, model, batch.layout.rows());
  if (options.frozen_states && frozen_states) frozen_states->fill(batch, request);
  return {std::move(batch), std::move(request)};
}

Napi::Function ModelWrap::define(Napi::Env env) {
  using W = ModelWrap;
  return DefineClass(env, "NativeModel",
                     {InstanceMethod<&W::load_weights>("loadWeights"),
                      InstanceMethod<&W::init_weights>("initWeights"),
                      InstanceMethod<&W::add_adapter>("addAdapter"),
                      InstanceMethod<&W::delete_adapter>("deleteAdapter"),
                      InstanceMethod<&W::eject_prefix_tuning>("ejectPrefixTuning"),
                      InstanceMethod<&W::merge_adapter>("mergeAdapter"),
                      InstanceMethod<&W::average_adapters>("averageAdapters"),
                      InstanceMethod<&W::average_heads>("averageHeads"),
                      InstanceMethod<&W::reset_adapter>("resetAdapter"),
                      InstanceMethod<&W::share_parameters>("shareParameters"),
                      InstanceMethod<&W::unshare_parameters>("unshareParameters"),
                      InstanceMethod<&W::add_fusion>("addFusion"),
                      InstanceMethod<&W::delete_fusion>("deleteFusion"),
                      InstanceMethod<&W::fusion_temperature>("fusionTemperature"),
                      InstanceMethod<&W::set_fusion_temperature>("setFusionTemperature"),
                      InstanceMethod<&W::save_fusion>("saveFusion"),
                      InstanceMethod<&W::load_fusion>("loadFusion"),
                      InstanceMethod<&W::add_head>("addHead"),
                      InstanceMethod<&W::delete_head>("deleteHead"),
                      InstanceMethod<&W::set_trainable>("setTrainable"),
                      InstanceMethod<&W::named_parameters>("namedParameters"),
                      InstanceMethod<&W::replace_modules>("replaceModules"),
                      InstanceMethod<&W::undo_replacement>("undoReplacement"),
                      InstanceMethod<&W::save_inserted>("saveInserted"),
                      InstanceMethod<&W::load_inserted>("loadInserted"),
                      InstanceMethod<&W::named_modules>("namedModules"),
                      InstanceMethod<&W::parameter>("parameter"),
                      InstanceMethod<&W::set_parameters>("setParameters"),
                      InstanceMethod<&W::forward>("forward"),
                      InstanceMethod<&W::forward_each>("forwardEach"),
                      InstanceMethod<&W::measure_each>("measureEach"),
                      InstanceMethod<&W::generate>("generate"),
                      InstanceMethod<&W::stop_generating>("stopGenerating"),
                      InstanceMethod<&W::gradients>("gradients"),
                      InstanceMethod<&W::open_frozen_states>("openFrozenStates"),
                      InstanceMethod<&W::close_frozen_states>("closeFrozenStates"),
                      InstanceMethod<&W::save_adapter>("saveAdapter"),
                      InstanceMethod<&W::save_head>("saveHead"),
                      InstanceMethod<&W::load_adapter>("loadAdapter"),
                      InstanceMethod<&W::save_peft_adapter>("savePeftAdapter"),
                      InstanceMethod<&W::load_peft_adapter>("loadPeftAdapter"),
                      InstanceMethod<&W::load_head>("loadHead"),
                      InstanceMethod<&W::save_base>("saveBase"),
                      InstanceMethod<&W::shared_names>("sharedNames"),
                      InstanceMethod<&W::save_state>("saveState"),
                      InstanceMethod<&W::load_state>("loadState"),
                      InstanceMethod<&W::save_whole>("saveWhole"),
                      InstanceMethod<&W::dispose>("dispose")});
}

Napi::Value create_model(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    auto env = info.Env();
    auto config = to_model_config(info[0].As<Napi::Object>());
    const auto trunk = text_of(info, 2) == "bfloat16" ? at::kBFloat16 : at::kFloat;
    auto state = std::make_shared<ModelState>(make_model(config), at::Device(text_of(info, 1)), trunk);
    return Engine::model_class(env).New({Napi::External<std::shared_ptr<ModelState>>::New(env, &state)});
  });
}

ModelWrap::ModelWrap(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  if (info.Length() != 1 || !info[0].IsExternal()) {
    throw Napi::TypeError::New(info.Env(), "NativeModel: made by createModel alone");
  }
  state_ = *info[0].As<Napi::External<std::shared_ptr<ModelState>>>().Data();
  engine_ = &Engine::of(info.Env());
  entry_ = engine_->track(*this);
  info.This().As<Napi::Object>().TypeTag(&kModelTag);
}

// Collected without dispose(): tensors are plain memory by now, and no job holds them.
void ModelWrap::Finalize(Napi::BasicEnv) {
  state_.reset();
}

std::shared_ptr<ModelState> ModelWrap::state_of(const Napi::Value& value) {
  if (!value.IsObject() || !value.As<Napi::Object>().CheckTypeTag(&kModelTag)) {
    throw Napi::TypeError::New(value.Env(), "expected a model of this library");
  }
  return Unwrap(value.As<Napi::Object>())->state();
}

std::shared_ptr<ModelState> ModelWrap::state() const {
  if (!state_) fail(ErrorCode::disposed, "model", "it was disposed of", {.hint = "Load it again to go on"});
  return state_;
}

Napi::Value ModelWrap::load_weights(const Napi::CallbackInfo& info) {
  return async(info, [folder = text_of(info, 0)](ModelState& s) {
    const auto inserted = [&](const Parameter& parameter) {
      return s.model.part_of({"", parameter}) == Part::inserted;
    };
    return Loaded{
        load_base_weights(s.model.backbone(), read_weights_at(folder), s.model.device(), inserted, s.model.trunk())};
  });
}

Napi::Value ModelWrap::init_weights(const Napi::CallbackInfo& info) {
  return async(info, [seed = info[0].As<Napi::Number>().Int64Value()](ModelState& s) {
    auto& backbone = s.model.backbone();
    Random random(static_cast<uint64_t>(seed));
    initialise_missing(backbone, backbone.prefix(), backbone.config().initializer_range, random, s.model.device(),
                       s.model.trunk());
    return Done{};
  });
}

Napi::Value ModelWrap::parameter(const Napi::CallbackInfo& info) {
  return sync(info, [name = text_of(info, 0)](ModelState& s) {
    for (const auto& named : s.model.named_parameters())
      if (named.name == name && named.parameter.value->defined()) return to_host(*named.parameter.value);
    fail(ErrorCode::invalid_argument, "parameter", "no parameter '" + name + "' with values",
         {.hint = "namedParameters() lists them"});
  });
}

Napi::Value ModelWrap::set_parameters(const Napi::CallbackInfo& info) {
  auto values = guarded(info.Env(), [&] { return to_state_dict(info[0]); });
  return sync(info, [values](ModelState& s) { return ta::set_parameters(s.model, values), Done{}; });
}

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

namespace {

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

Napi::Value ModelWrap::dispose(const Napi::CallbackInfo& info) {
  if (state_) engine_->release_later(std::exchange(state_, nullptr));
  return info.Env().Undefined();
}

}  // namespace ta::binding
