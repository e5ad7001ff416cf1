#pragma once
// A graph made ready to run: for every node its operator's handle, a template of its arguments, and what is released
// behind it. Weights are not part of it: it reads them, at the start of each run, where whoever owns them said that
// they lie. So training, merging and other checkpoints change nothing here, and one program serves many threads.
//
// Hooks stand in front of ranges of nodes: adapters are put in with them, without a change to the graph.

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/exported/graph.h"
#include "core/state/state_dict.h"

namespace ta::exported {

class Archive;
class Execution;
class FormValues;
struct Plan;

/// Called when a run arrives at its range. True: it has set what others read of the range (Execution::set), and the run
/// goes on behind it. False: the nodes run as they are. It may run the range itself (Execution::run_nodes), which asks
/// the hooks nested in it, not this one; what it wants to read afterwards it must take before, since values are
/// released behind their last use.
using Hook = std::function<bool(Execution& execution, const void* pass)>;

class Program {
 public:
  /// Constants and buffers outside the state dict belong to the program; parameters and persistent buffers must be
  /// bound. Fails with ERR_UNSUPPORTED where the graph writes to a weight.
  Program(Graph graph, const Archive& archive, at::Device device = at::kCPU);
  ~Program();
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  const Graph& graph() const { return graph_; }
  at::Device device() const { return device_; }

  /// A parameter or buffer is read from here from now on. `tensor` must outlive the program or the next bind. Also for
  /// buffers outside the state dict, which the program has values of itself. ERR_INVALID_ARGUMENT: no such name.
  void bind(const std::string& name, const at::Tensor* tensor);
  /// The program keeps the weights itself from now on: by name, `prefix` before each, strictly: ERR_STATE_DICT on a
  /// name that is missing or unknown, on another shape or element type. One graph, many checkpoints.
  void load(const StateDict& weights, const std::string& prefix = "");

  /// Never while a run goes on. Ranges are disjoint or nested; of two hooks with one range the later is the outer.
  /// ERR_INVALID_ARGUMENT on ranges that cross.
  void hook(Range range, Hook hook);
  /// A hook for the same values, sooner: it answers for whatever stands inside its range, and may cross other ranges,
  /// which it answers for, too, where it says true.
  void shortcut(Range range, Hook hook);
  void clear_hooks();
  std::size_t hook_count() const;

  /// The user inputs' values, checked against the graph: dtype, sizes, symbols' ranges, and that sizes of one symbol
  /// agree. ERR_INVALID_ARGUMENT, ERR_OUT_OF_RANGE.
  void check_inputs(const std::vector<at::Tensor>& inputs) const;

 private:
  friend class Execution;
  struct Bound {
    int32_t slot;
    const at::Tensor* tensor;  ///< null: nobody said where it is
    int32_t tied_to;           ///< the first in bound_ that is the same weight
    bool is_parameter;
    bool persistent;
  };
  int32_t weight_index(const std::string& name) const;
  std::shared_ptr<const FormValues> form_values() const;
  void keep_form(std::shared_ptr<const FormValues> values) const;

  Graph graph_;
  at::Device device_;
  std::unique_ptr<Plan> plan_;
  std::vector<Bound> bound_;                        ///< one for each input that is none of the user's
  std::vector<at::Tensor> own_;                     ///< for those that the program keeps
  std::unordered_map<std::string, int32_t> index_;  ///< name → bound_
  std::vector<int32_t> user_inputs_;
  mutable std::mutex form_lock_;
  mutable std::shared_ptr<const FormValues> form_;  ///< of the last run that computed them; null: none yet
};

}  // namespace ta::exported
