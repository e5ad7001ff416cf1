#pragma once
// Compositions of bottleneck adapters at a site. h is the sub-layer's output, r its residual input; F maps h to the
// value o that stands before the model's last LayerNorm, and y = LN(o + r), or o where the last adapter that ran has
// original_ln_after off.
//
//   none       F(h) = h
//   adapter    bottleneck.h
//   stack      F(h) = Fn(… F1(h)); a child that does not stand here is passed by
//   average    F(h) = Σ wi Fi(h); where the children do not agree on original_ln_after, each is finished by itself
//   split      each child on its part of every row's tokens, whose lengths must add up to the sizes
//   fuse       AdapterFusion over the children's up-projections (fuse.h)
// Every child starts from h and does all that it would do alone (the LayerNorm of original_ln_before too).

#include <optional>

#include "core/adapters/site.h"

namespace ta {

struct SiteInput {
  const AdapterSite& site;
  at::Tensor r;
  LayerNorm* norm;                ///< null: the model has none here
  const ForwardContext& context;  ///< of the whole batch: the rows are told beside it
  int64_t first_token = 0;        ///< of those given, in the batch
  at::Tensor tokens = {};         ///< where they do not follow one another: the number of each, counted from there
  at::Tensor read = {};           ///< what parallel adapters read; undefined: r

  /// What meets h at an adapter.
  const at::Tensor& residual_of(const Bottleneck& adapter) const {
    return read.defined() && adapter.config().is_parallel ? read : r;
  }
};

/// The value before the last LayerNorm, and whether that still comes.
struct Partial {
  at::Tensor o;
  bool norm_after = true;
};

/// Nothing where none of the setup stands here.  Throws ERR_OUT_OF_RANGE where a split does not fit a row.
std::optional<Partial> run_composition(const SiteInput& site, const Composition& setup, const at::Tensor& h,
                                       const RowLayout& rows);

/// y [tokens, hidden].
at::Tensor compose(const SiteInput& site, const Composition& setup, const at::Tensor& h, const RowLayout& rows);

}  // namespace ta
