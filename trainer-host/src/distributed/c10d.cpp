// The part of PyTorch's c10d that the trainer uses, behind a C ABI; c10d.rs declares and documents the same functions.
//
// No exception leaves a function: each returns null, or the error's first line, which `grano_c10d_free` frees.
// Tensors are tch's, pointers to `at::Tensor`.

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroup.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#include <torch/csrc/distributed/c10d/reducer.hpp>
#ifdef USE_C10D_NCCL
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>
#endif

C10_DECLARE_int(caffe2_log_level);

using c10d::ProcessGroup;
using Store = c10::intrusive_ptr<c10d::Store>;
using Group = c10::intrusive_ptr<ProcessGroup>;

namespace {

char* copy(const char* text) {
  return strndup(text, strcspn(text, "\n"));
}

template <typename F>
char* guarded(F body) {
  try {
    body();
    return nullptr;
  } catch (const c10::Error& error) {
    return copy(error.what_without_backtrace());
  } catch (const std::exception& error) {
    return copy(error.what());
  } catch (...) {
    return copy("unknown C++ exception");
  }
}

}  // namespace

extern "C" {

void grano_c10d_free(void* memory) {
  free(memory);
}

void grano_c10d_quit(int code) {
  fflush(nullptr);
  _exit(code);
}

char* grano_c10d_store_open(const char* host, uint16_t port, bool serve, int64_t timeout_ms, const char* prefix,
                            Store** store) {
  return guarded([&] {
    // What goes wrong comes back as an error; c10d's own warnings would say it a second time.
    FLAGS_caffe2_log_level = std::max(FLAGS_caffe2_log_level, 3);
    c10d::TCPStoreOptions options;
    options.port = port;
    options.isServer = serve;
    options.waitWorkers = false;
    options.timeout = std::chrono::milliseconds(timeout_ms);
    auto tcp = c10::make_intrusive<c10d::TCPStore>(host, options);
    *store = new Store(c10::make_intrusive<c10d::PrefixStore>(prefix, std::move(tcp)));
  });
}

void grano_c10d_store_close(Store* store) {
  guarded([&] { delete store; });
}

char* grano_c10d_store_set(Store* store, const char* key, const uint8_t* value, size_t length) {
  return guarded([&] { (*store)->set(key, std::vector<uint8_t>(value, value + length)); });
}

char* grano_c10d_store_get(Store* store, const char* key, uint8_t** value, size_t* length) {
  return guarded([&] {
    auto found = (*store)->get(key);
    *value = static_cast<uint8_t*>(malloc(found.size() + 1));
    TORCH_CHECK(*value != nullptr, "out of memory");
    memcpy(*value, found.data(), found.size());
    *length = found.size();
  });
}

char* grano_c10d_store_has(Store* store, const char* key, bool* has) {
  return guarded([&] { *has = (*store)->check({key}); });
}

char* grano_c10d_store_add(Store* store, const char* key, int64_t amount, int64_t* sum) {
  return guarded([&] { *sum = (*store)->add(key, amount); });
}

bool grano_c10d_has_nccl() {
#ifdef USE_C10D_NCCL
  return true;
#else
  return false;
#endif
}

char* grano_c10d_group_open(Store* store, int rank, int ranks, bool cuda, const char* address, const char* interface,
                            int64_t timeout_ms, Group** group) {
  return guarded([&] {
    auto options = c10d::ProcessGroupGloo::Options::create(std::chrono::milliseconds(timeout_ms));
    if (interface[0] != '\0') {
      options->devices.push_back(c10d::ProcessGroupGloo::createDeviceForInterface(interface));
    } else if (address[0] != '\0') {
      options->devices.push_back(c10d::ProcessGroupGloo::createDeviceForHostname(address));
    } else {
      options->devices.push_back(c10d::ProcessGroupGloo::createDefaultDevice());
    }
    Group made = c10::make_intrusive<ProcessGroup>(*store, rank, ranks);
    Store own = c10::make_intrusive<c10d::PrefixStore>("gloo", *store);
    auto gloo = c10::make_intrusive<c10d::ProcessGroupGloo>(own, rank, ranks, options);
    made->setBackend(c10::DeviceType::CPU, ProcessGroup::GLOO, gloo);
    made->setDefaultBackend(ProcessGroup::GLOO);
    if (cuda) {
#ifdef USE_C10D_NCCL
      auto nccl_options = c10d::ProcessGroupNCCL::Options::create();
      nccl_options->timeout = std::chrono::milliseconds(timeout_ms);
      Store nccl_store = c10::make_intrusive<c10d::PrefixStore>("nccl", *store);
      auto nccl = c10::make_intrusive<c10d::ProcessGroupNCCL>(nccl_store, rank, ranks, nccl_options);
      made->setBackend(c10::DeviceType::CUDA, ProcessGroup::NCCL, nccl);
#else
      made->setBackend(c10::DeviceType::CUDA, ProcessGroup::GLOO, gloo);
#endif
    }
    made->setGroupName("grano");
    *group = new Group(std::move(made));
  });
}

void grano_c10d_group_close(Group* group) {
  guarded([&] { delete group; });
}

char* grano_c10d_sum(Group* group, at::Tensor* tensor) {
  return guarded([&] {
    std::vector<at::Tensor> tensors{*tensor};
    (*group)->allreduce(tensors)->wait();
  });
}

char* grano_c10d_broadcast(Group* group, at::Tensor* tensor, int root) {
  return guarded([&] {
    std::vector<at::Tensor> tensors{*tensor};
    c10d::BroadcastOptions options;
    options.rootRank = root;
    (*group)->broadcast(tensors, options)->wait();
  });
}

char* grano_c10d_gather(Group* group, at::Tensor* all, at::Tensor* own) {
  return guarded([&] { (*group)->_allgather_base(*all, *own)->wait(); });
}

char* grano_c10d_reducer_open(Group* group, at::Tensor** parameters, size_t count, size_t first_bytes,
                              size_t bucket_bytes, c10d::Reducer** reducer) {
  return guarded([&] {
    std::vector<at::Tensor> tensors;
    for (size_t i = 0; i < count; i++) tensors.push_back(*parameters[i]);
    std::vector<bool> sparse(count, false);
    auto buckets = std::get<0>(c10d::compute_bucket_assignment_by_size(tensors, {first_bytes, bucket_bytes}, sparse));
    // Gradients come in the order opposite to the forward pass's.
    std::vector<std::vector<size_t>> reversed(buckets.rbegin(), buckets.rend());
    *reducer = new c10d::Reducer(tensors, reversed, *group, sparse, static_cast<int64_t>(bucket_bytes),
                                 /*find_unused_parameters=*/false, /*gradient_as_bucket_view=*/true, {},
                                 static_cast<int64_t>(first_bytes), /*skip_all_reduce_unused_params=*/false,
                                 /*use_python_reducer=*/false, {});
  });
}

void grano_c10d_reducer_close(c10d::Reducer* reducer) {
  guarded([&] { delete reducer; });
}

char* grano_c10d_reducer_prepare(c10d::Reducer* reducer) {
  return guarded([&] {
    reducer->rebuild_buckets();
    reducer->prepare_for_backward({});
  });
}

}  // extern "C"
