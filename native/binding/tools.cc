#include "binding/tools.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <torch/headeronly/version.h>

#include "binding/convert.h"
#include "binding/engine.h"
#include "core/models/trunk_probe.h"
#include "core/state/weights_file.h"
#include "core/surgery/state_io.h"

namespace ta::binding {

Napi::Value version(const Napi::CallbackInfo& info) {
  return Napi::String::New(info.Env(), TORCH_VERSION);
}

Napi::Value system_info(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    auto env = info.Env();
    struct Seen {
      int threads;
      std::string capability;
      int64_t cuda;
    };
    auto seen = Engine::of(env).run([] {
      const bool cuda = at::globalContext().hasCUDA();
      return Seen{at::get_num_threads(), at::get_cpu_capability(), cuda ? at::detail::getCUDAHooks().deviceCount() : 0};
    });
    auto object = Napi::Object::New(env);
    object.Set("torchVersion", TORCH_VERSION);
    object.Set("threads", seen.threads);
    object.Set("cpuCapability", seen.capability);
    auto devices = Napi::Array::New(env);
    devices.Set(0u, "cpu");
    for (int64_t i = 0; i < seen.cuda; ++i) devices.Set(static_cast<uint32_t>(i + 1), "cuda:" + std::to_string(i));
    object.Set("devices", devices);
    return object;
  });
}

Napi::Value set_num_threads(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    Engine::of(info.Env()).run([count = info[0].As<Napi::Number>().Int32Value()] {
      at::set_num_threads(count);
      return true;
    });
    return info.Env().Undefined();
  });
}

Napi::Value probe_trunk(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    auto size = [&](size_t i) { return info[i].As<Napi::Number>().Int64Value(); };
    return Engine::of(info.Env())
        .submit(
            info.Env(),
            [hidden = size(0), intermediate = size(1), device = info[2].As<Napi::String>().Utf8Value()] {
              return ta::probe_trunk(hidden, intermediate, at::Device(device));
            },
            [](Napi::Env env, TrunkTimes& times) -> Napi::Value {
              auto object = Napi::Object::New(env);
              object.Set("float32", times.float32 * 1000);
              object.Set("bfloat16", times.bfloat16 * 1000);
              return object;
            });
  });
}

Napi::Value read_weights(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    return Engine::of(info.Env())
        .submit(
            info.Env(), [file = info[0].As<Napi::String>().Utf8Value()] { return ta::read_weights(file); },
            [](Napi::Env env, StateDict& tensors) -> Napi::Value {
              auto array = Napi::Array::New(env, tensors.size());
              uint32_t i = 0;
              for (const auto& [name, tensor] : tensors) {
                auto object = Napi::Object::New(env);
                object.Set("name", name);
                object.Set("shape", shape_to_js(env, tensor.sizes()));
                object.Set("dtype", dtype_name(tensor.scalar_type()));
                array.Set(i++, object);
              }
              return array;
            });
  });
}

Napi::Value convert_weights(const Napi::CallbackInfo& info) {
  auto text_of = [&](size_t i) { return info[i].As<Napi::String>().Utf8Value(); };
  return guarded(info.Env(), [&]() -> Napi::Value {
    return Engine::of(info.Env())
        .submit(
            info.Env(),
            [source = text_of(0), target = text_of(1), format = text_of(2), dialect = text_of(3),
             name = info[4].IsString() ? text_of(4) : "", from = info[5].IsString() ? text_of(5) : ""] {
              rewrite_weights(source, target, parse_weights_format(format), parse_key_dialect(dialect), from, name);
              return true;
            },
            [](Napi::Env env, bool&) { return env.Undefined(); });
  });
}

Napi::Value shutdown_engine(const Napi::CallbackInfo& info) {
  Engine::end(info.Env());
  return info.Env().Undefined();
}

}  // namespace ta::binding
