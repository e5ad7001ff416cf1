#include "core/models/trunk_probe.h"

#include <ATen/Parallel.h>
#include <ATen/ops/full.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <mutex>
#include <string>
#include <tuple>

#include "core/nn/gemm.h"
#include "core/nn/node.h"

namespace ta {

namespace {

constexpr int64_t kTokens = 128;
constexpr int kRounds = 9;
constexpr double kEnough = 0.6;  // seconds of all rounds

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// One layer's kinds of product.
class Products {
 public:
  Products(int64_t hidden, int64_t intermediate, const at::TensorOptions& options, at::ScalarType type)
      : x_(at::full({kTokens, hidden}, 0.5, options)),
        square_(at::full({hidden, hidden}, 0.01, options).to(type)),
        wide_(at::full({intermediate, hidden}, 0.01, options).to(type)) {}

  double run() const {
    const auto start = Clock::now();
    const auto y = affine(x_, square_, {});
    const auto h = affine(y, wide_, {});
    times(times(h, wide_), square_).sum().item<float>();  // a device has finished once a number is here
    return seconds_since(start);
  }

 private:
  at::Tensor x_, square_, wide_;
};

TrunkTimes measure(int64_t hidden, int64_t intermediate, at::Device device) {
  const WithoutAutograd guard;
  const auto options = at::TensorOptions(at::kFloat).device(device);
  const Products plain(hidden, intermediate, options, at::kFloat), narrow(hidden, intermediate, options, at::kBFloat16);
  TrunkTimes times;
  const auto start = Clock::now();
  for (int round = 0; round < kRounds && (round < 2 || seconds_since(start) < kEnough); ++round) {
    const double first = plain.run(), second = narrow.run();
    // The first round also makes kernels and buffers.
    times.float32 = round < 2 ? first : std::min(times.float32, first);
    times.bfloat16 = round < 2 ? second : std::min(times.bfloat16, second);
  }
  return times;
}

}  // namespace

TrunkTimes probe_trunk(int64_t hidden, int64_t intermediate, at::Device device) {
  static std::mutex mutex;
  static std::map<std::tuple<int64_t, int64_t, std::string, int>, TrunkTimes> known;
  const std::lock_guard lock(mutex);
  const auto key = std::tuple(hidden, intermediate, device.str(), at::get_num_threads());
  const auto found = known.find(key);
  return found != known.end() ? found->second : known[key] = measure(hidden, intermediate, device);
}

}  // namespace ta
