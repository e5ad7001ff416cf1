// Opens libtorch by absolute path and refuses another minor than the one the main addon was built on.
//
// This addon links nothing of libtorch, so it loads everywhere and can say what is wrong. The main addon has no
// RUNPATH: once libc10 and libtorch_cpu are mapped here, the dynamic linker satisfies its DT_NEEDED by name.
// The libraries are never closed: libtorch registers thread-local and exit handlers that must outlive every addon.

#include <napi.h>

#include <cstdint>
#include <string>

#ifdef _WIN32
#include <windows.h>
#else
#include <dlfcn.h>

#include <cstdlib>
#endif

namespace {

#ifdef _WIN32

std::wstring wide(const std::string& text) {
  const int size = MultiByteToWideChar(CP_UTF8, 0, text.c_str(), -1, nullptr, 0);
  std::wstring out(static_cast<size_t>(size), L'\0');
  MultiByteToWideChar(CP_UTF8, 0, text.c_str(), -1, out.data(), size);
  return out;
}

// The search flags make the folder of the library itself the place where its own dependencies are looked for.
void* open_library(const std::string& path) {
  return LoadLibraryExW(wide(path).c_str(), nullptr,
                        LOAD_LIBRARY_SEARCH_DLL_LOAD_DIR | LOAD_LIBRARY_SEARCH_DEFAULT_DIRS);
}
std::string last_error() {
  return "Windows error " + std::to_string(GetLastError());
}
void* find_symbol(void* library, const char* name) {
  return reinterpret_cast<void*>(GetProcAddress(static_cast<HMODULE>(library), name));
}

#else

void* open_library(const std::string& path) {
  return dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
}
std::string last_error() {
  const char* message = dlerror();
  return message ? message : "unknown error of the dynamic linker";
}
void* find_symbol(void* library, const char* name) {
  return dlsym(library, name);
}

#endif

// libgomp's threads spin for milliseconds at every barrier before they sleep. Where something else wants the cores too
// (a web server, a second training, a shared machine) a step then waits for threads that are not scheduled: measured
// 1,200 ms instead of 7 on two cores of which one was busy. It reads its settings once, when libtorch brings it in.
void calm_openmp() {
#ifndef _WIN32
  if (std::getenv("OMP_WAIT_POLICY") == nullptr) setenv("GOMP_SPINCOUNT", "10000", 0);
#endif
}

// oneDNN compiles a product for each number of tokens, half a megabyte of machine code, and keeps the last 1,024 in its
// own cache and as many in libtorch's: rows of all lengths took 110 MiB more after 32 steps, and 500 in the end. 32 are
// those of five such batches, more than a step and its evaluation take; one that is made anew costs 0.6 ms. Both read
// it once.
void bound_kernels() {
#ifndef _WIN32
  for (const char* name : {"ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"}) setenv(name, "32", 0);
#endif
}

[[noreturn]] void fail(Napi::Env env, const char* code, const std::string& message) {
  Napi::Error error = Napi::Error::New(env, message);
  error.Set("code", code);
  throw error;
}

std::string string_argument(const Napi::CallbackInfo& info, const char* operation) {
  if (info.Length() < 1 || !info[0].IsString()) {
    throw Napi::TypeError::New(info.Env(), std::string(operation) + ": expected the absolute path of a library");
  }
  return info[0].As<Napi::String>();
}

// open(path): maps one library and keeps it mapped.
Napi::Value open(const Napi::CallbackInfo& info) {
  const std::string path = string_argument(info, "open");
  calm_openmp();
  bound_kernels();
  if (!open_library(path)) fail(info.Env(), "ERR_LIBTORCH_LOAD", last_error());
  return info.Env().Undefined();
}

// openTorch(path of libtorch_cpu): maps it and gives its version "major.minor.patch"; throws on another minor.
Napi::Value open_torch(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const std::string path = string_argument(info, "openTorch");
  void* library = open_library(path);
  if (!library) fail(env, "ERR_LIBTORCH_LOAD", last_error());

  using AbiVersion = uint64_t (*)();
  auto abi_version = reinterpret_cast<AbiVersion>(find_symbol(library, "aoti_torch_abi_version"));
  if (!abi_version) fail(env, "ERR_LIBTORCH_VERSION", path + " has no aoti_torch_abi_version: too old to be used");
  const uint64_t packed = abi_version();
  const int major = static_cast<int>(packed >> 56 & 0xff);
  const int minor = static_cast<int>(packed >> 48 & 0xff);
  const int patch = static_cast<int>(packed >> 40 & 0xff);
  const std::string version = std::to_string(major) + "." + std::to_string(minor) + "." + std::to_string(patch);
  if (major != TA_LIBTORCH_MAJOR || minor != TA_LIBTORCH_MINOR) {
    fail(env, "ERR_LIBTORCH_VERSION",
         path + " is libtorch " + version + ", but this binary was built on " + std::to_string(TA_LIBTORCH_MAJOR) +
             "." + std::to_string(TA_LIBTORCH_MINOR));
  }
  return Napi::String::New(env, version);
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  exports.Set("open", Napi::Function::New(env, open, "open"));
  exports.Set("openTorch", Napi::Function::New(env, open_torch, "openTorch"));
  exports.Set("builtFor", std::to_string(TA_LIBTORCH_MAJOR) + "." + std::to_string(TA_LIBTORCH_MINOR));
  return exports;
}

}  // namespace

NODE_API_MODULE(torch_adapters_loader, init)
