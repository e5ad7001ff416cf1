#include "binding/model_wrap.h"

#include <ATen/ops/from_blob.h>

#include "core/error.h"
#include "core/models/base_weights.h"
#include "core/models/initialise.h"
#include "core/models/registry.h"
#include "core/state/weights_file.h"
#include "core/surgery/state_io.h"

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
    at::Tensor found;
    s.model.root().visit_parameters("", [&](const std::string& own, const Parameter& parameter) {
      if (own == name) found = *parameter.value;
    });
    if (found.defined()) return to_host(found);
    fail(ErrorCode::invalid_argument, "parameter", "no parameter '" + name + "' with values",
         {.hint = "namedParameters() lists them"});
  });
}

Napi::Value ModelWrap::set_parameters(const Napi::CallbackInfo& info) {
  auto values = guarded(info.Env(), [&] { return to_state_dict(info[0]); });
  return sync(info, [values](ModelState& s) { return ta::set_parameters(s.model, values), Done{}; });
}

Napi::Value ModelWrap::dispose(const Napi::CallbackInfo& info) {
  if (state_) engine_->release_later(std::exchange(state_, nullptr));
  return info.Env().Undefined();
}

}  // namespace ta::binding
