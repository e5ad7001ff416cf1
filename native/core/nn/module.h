#pragma once
// The module tree. Names are PyTorch's: a path joins children's names with dots, and the parameters in order of
// registration are the model's state dict. Why not torch::nn::Module: its header costs 13 s a file, its children are
// copies that surgery cannot replace behind a parent's back, and it cannot hold a parameter that has a shape but no
// memory yet, which is what a model waiting for memory-mapped weights is made of.

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace ta {

class Layer;
struct ForwardContext;

/// How a parameter starts when no file provides it (Hugging Face's rules; std is the model's initializer_range).
enum class Init { normal, zeros, ones, embedding, sinusoidal, constant };

/// A parameter as its module registered it. `value` points at the module's own tensor.
struct Parameter {
  std::string name;
  std::vector<int64_t> shape;
  Init init = Init::normal;
  bool decay = false;  ///< weight decay applies: to all but biases and LayerNorms, as transformers' Trainer has it
  /// Init::constant: the value; Init::embedding: the row kept at zero (-1: none); Init::normal: a factor of std (0: 1).
  double constant = 0.0;
  bool fixed = false;   ///< never trains, whatever it belongs to
  bool buffer = false;  ///< in files, but no parameter: PyTorch's register_buffer
  at::Tensor* value = nullptr;

  /// How it is kept where the matrices of a frozen trunk are of type `trunk`: weights of products and tables of
  /// embeddings are, and all else is float32: biases, LayerNorms, ViT's kernel and positions.
  at::ScalarType type_in(at::ScalarType trunk) const { return decay && shape.size() == 2 ? trunk : at::kFloat; }
};

/// A named child position that maps tokens to tokens and whose occupant surgery may replace.
struct Slot {
  std::shared_ptr<Layer> layer;
  at::Tensor operator()(const at::Tensor& x, const ForwardContext& context) const;
};

/// A slot that knows what it was made with, for blocks that reach into it while it stands there.
template <class L>
struct SlotOf : Slot {
  std::shared_ptr<L> own;
  /// Null once surgery has put something else here.
  L* intact() const { return layer.get() == own.get() ? own.get() : nullptr; }
};

class Module {
 public:
  struct Child {
    std::string name;
    std::shared_ptr<Module> module;
    Slot* slot = nullptr;  ///< set where surgery may replace the child
  };

  Module() = default;
  Module(const Module&) = delete;
  Module& operator=(const Module&) = delete;
  virtual ~Module() = default;

  /// PyTorch's class name.
  virtual const char* type() const = 0;

  const std::vector<Child>& children() const { return children_; }
  const std::vector<Parameter>& own_parameters() const { return parameters_; }

  /// Every parameter below, with its full name, in PyTorch's order; a tensor that stands in two places is visited
  /// twice.
  void visit_parameters(const std::string& prefix,
                        const std::function<void(const std::string& name, const Parameter&)>& visit) const;
  /// Every module below and this one (path = prefix), parents first.
  void visit_modules(const std::string& prefix,
                     const std::function<void(const std::string& path, const Module&)>& visit) const;

  /// Puts a layer into the slot of this name and gives the old one; null where there is no such slot.
  std::shared_ptr<Layer> occupy(const std::string& name, std::shared_ptr<Layer> layer);

 protected:
  void parameter(Parameter description, at::Tensor& value);
  void child(std::string name, std::shared_ptr<Module> module);
  void child(std::string name, Slot& slot, std::shared_ptr<Layer> layer);
  template <class L>
  void child(std::string name, SlotOf<L>& slot, std::shared_ptr<L> layer) {
    slot.own = layer;
    child(std::move(name), static_cast<Slot&>(slot), std::static_pointer_cast<Layer>(std::move(layer)));
  }
  void remove_child(const std::string& name);
  /// A parameter of this module is another tensor from now on: one that it shares.
  void repoint(const std::string& name, at::Tensor& value);

 private:
  std::vector<Parameter> parameters_;
  std::vector<Child> children_;
};

/// Features that a layer takes and gives; 0: not known, or any number, which it keeps.
struct LayerSize {
  int64_t in = 0;
  int64_t out = 0;
};

/// A module that maps tokens to tokens: [tokens, in] → [tokens, out]. `context.layout` lays out exactly the tokens
/// given; a layer that treats every token alike does not look at it.
class Layer : public Module {
 public:
  virtual at::Tensor forward(const at::Tensor& x, const ForwardContext& context) = 0;
  virtual LayerSize size() const { return {}; }
  /// Its value for a token depends on other tokens of the row.
  virtual bool reads_whole_rows() const { return false; }
};

/// A layer that treats every token alike.
class TokenLayer : public Layer {
 public:
  virtual at::Tensor forward(const at::Tensor& x) = 0;
  at::Tensor forward(const at::Tensor& x, const ForwardContext&) override { return forward(x); }
};

/// Nothing but a name for its children, as PyTorch's ModuleList, ModuleDict and Sequential are in a state dict.
class Container : public Module {
 public:
  explicit Container(const char* type) : type_(type) {}
  const char* type() const override { return type_; }
  void add(std::string name, std::shared_ptr<Module> module) { child(std::move(name), std::move(module)); }
  template <class L>
  void add(std::string name, SlotOf<L>& slot, std::shared_ptr<L> layer) {
    child(std::move(name), slot, std::move(layer));
  }
  void remove(const std::string& name) { remove_child(name); }

 private:
  const char* type_;
};

}  // namespace ta
