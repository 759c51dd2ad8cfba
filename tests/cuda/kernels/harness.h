// Cases that tests/cuda/*.py run by name: words in, words out. The same sources make a program for the
// emulation and, with nvcc, one for a device.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "cuda/device.h"

using Words = std::vector<uint32_t>;
using Case = Words (*)(const Words& input, const std::vector<int>& parameters);

std::map<std::string, Case>& cases();

struct Register {
    Register(const char* name, Case run) { cases()[name] = run; }
};

// Words that kernels reach.
class Buffer {
  public:
    Buffer(const std::string& name, const Words& words, bool writable = true)
        : host_(words)
#ifndef __CUDACC__
          ,
          registered_(host_.data(), host_.size() * 4, name, writable)
#endif
    {
#ifdef __CUDACC__
        (void)name, (void)writable;
        fastconv::cuda::check(cudaMalloc(&device_, host_.size() * 4 + 16), "cudaMalloc");
        fastconv::cuda::check(cudaMemcpy(device_, host_.data(), host_.size() * 4, cudaMemcpyDefault),
                              "cudaMemcpy");
#endif
    }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;

#ifdef __CUDACC__
    ~Buffer() { cudaFree(device_); }
    template <class T>
    T* as() {
        return static_cast<T*>(device_);
    }
    Words words() {
        fastconv::cuda::check(cudaMemcpy(host_.data(), device_, host_.size() * 4, cudaMemcpyDefault),
                              "cudaMemcpy");
        return host_;
    }
#else
    template <class T>
    T* as() {
        return reinterpret_cast<T*>(host_.data());
    }
    Words words() { return host_; }
#endif

  private:
    Words host_;
#ifdef __CUDACC__
    void* device_ = nullptr;
#else
    fastconv::cuda::emulation::GlobalBuffer registered_;
#endif
};
