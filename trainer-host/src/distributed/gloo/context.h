// What ProcessGroupGloo.hpp uses of gloo's own header, which PyTorch's packages leave out.
#pragma once

#include <chrono>

#include <gloo/transport/device.h>

namespace gloo {

class Context {
 public:
  void setTimeout(std::chrono::milliseconds timeout);
};

}  // namespace gloo
