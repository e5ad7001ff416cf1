// Registry of the addon: names and functions, nothing else.
#include "binding/exported_wrap.h"
#include "binding/model_wrap.h"
#include "binding/tools.h"
#include "binding/trainer_wrap.h"

static Napi::Object init(Napi::Env env, Napi::Object exports) {
  using namespace ta::binding;
  Engine::define_classes(env, ModelWrap::define(env), TrainerWrap::define(env));
  auto add = [&](const char* name, Napi::Value (*function)(const Napi::CallbackInfo&)) {
    exports.Set(name, Napi::Function::New(env, function, name));
  };
  add("version", version);
  add("systemInfo", system_info);
  add("setNumThreads", set_num_threads);
  add("probeTrunk", probe_trunk);
  add("createModel", create_model);
  add("openExported", open_exported);
  add("createExported", create_exported);
  add("createTrainer", create_trainer);
  add("readWeights", read_weights);
  add("convertWeights", convert_weights);
  add("shutdown", shutdown_engine);
  return exports;
}

NODE_API_MODULE(torch_adapters, init)
