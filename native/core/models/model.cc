#include "core/models/model.h"

namespace ta {

AdapterPlace& Model::shared_place() {
  // Made after the family's own children, so that it stands last, as in the peer.
  if (!shared_) child("shared_parameters", shared_ = std::make_shared<AdapterPlace>());
  return *shared_;
}

}  // namespace ta
