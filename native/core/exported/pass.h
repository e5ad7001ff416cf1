#pragma once
// What the hooks of a run are told about its rows.

#include <array>
#include <map>
#include <utility>
#include <vector>

#include "core/exported/attention_mask.h"
#include "core/exported/execution.h"
#include "core/exported/padded_rows.h"
#include "core/nn/forward_context.h"
#include "core/nn/module.h"

namespace ta::exported {

struct SlotPlace;

struct Pass {
  const ForwardContext& context;  ///< its layout is that of what pack() gives
  const PaddedRows& rows;
  /// Nothing in this pass asks where rows end: padding passes through adapters like tokens do, as in PyTorch, and no
  /// value is moved.
  bool rectangle = false;
  /// Where the stream is kept: in front of the first layer, and behind each; null: nobody asks.
  std::vector<at::Tensor>* hidden = nullptr;
  /// Of a network with an encoder and a decoder: what hooks at the encoder's values are told; null: there is none.
  const Pass* encoder = nullptr;

  /// `source`: whether a value is one of the encoder's.
  const Pass& side(bool source) const { return source && encoder != nullptr ? *encoder : *this; }
  /// Whether a value is [rows, columns, n] and [tokens, n] at once: padding is none, or passes through like tokens.
  bool folds() const { return rectangle || rows.even(); }
  /// Whether a value has one entry for each token of the rectangle.
  bool fits(const at::Tensor& x) const;
  bool fits(const Execution& execution, int32_t slot) const;
  /// Whether it is the rectangle, or what it is a view of.
  bool is_rectangle(const Execution& execution, int32_t slot) const;
  /// [rows, columns, n], [rows · columns, n] → [tokens, n].
  at::Tensor pack(const at::Tensor& x) const;
  /// [tokens, m] → the form of `like`, with m in the place of n.
  at::Tensor unpack(const at::Tensor& y, const at::Tensor& like) const;
  /// The same of slots, where hooks hand on what they made without a view of it.
  at::Tensor packed(Execution& execution, int32_t slot) const;
  void give(Execution& execution, int32_t slot, const at::Tensor& y, int32_t like) const;
  /// What the mask in a slot says; looked at once a pass.
  MaskForm form_of(int32_t slot, const at::Tensor& mask) const;

  // A pass belongs to one thread. What was unpacked last is packed next: {unpacked, packed}.
  mutable std::array<std::pair<at::Tensor, at::Tensor>, 2> last{};
  mutable std::size_t oldest = 0;
  mutable std::vector<std::pair<int32_t, MaskForm>> masks{};
  /// What a hook leaves for one behind it, under the node of either.
  mutable std::map<int32_t, std::vector<at::Tensor>> left{};
};

/// The run that is going on on this thread, for a module of the graph that a layer of the library calls.
class Running {
 public:
  Running(Execution& execution, const Pass& pass);
  ~Running();
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;

  /// Runs `layer` in the place of a module of the graph, which it may call.
  static void replace(const SlotPlace& place, Layer& layer, const ForwardContext& context);
  /// The module's own nodes with another input, packed. Throws ERR_UNSUPPORTED outside of its place, or when called
  /// twice.
  static at::Tensor run(const SlotPlace& place, const at::Tensor& x);

 private:
  Execution& execution_;
  const Pass& pass_;
  Running* before_;
  const SlotPlace* at_ = nullptr;
  bool has_run_ = false;
};

}  // namespace ta::exported
