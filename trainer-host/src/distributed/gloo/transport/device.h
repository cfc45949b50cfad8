// What ProcessGroupGloo.hpp uses of gloo's own headers, which PyTorch's packages leave out: names alone.
#pragma once

namespace gloo {
namespace transport {

class Device;

class UnboundBuffer {
 public:
  virtual ~UnboundBuffer();
};

}  // namespace transport
}  // namespace gloo
