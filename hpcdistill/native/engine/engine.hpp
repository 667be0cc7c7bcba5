// Blocks of the kernel matrix, cut into tasks for the threads of one process.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "plan.hpp"
#include "worker.hpp"

namespace hpcdistill {

// Instruction sets of this build that this CPU can run, the widest first.
std::vector<std::string> supported_targets();

// n images: pixels (n, y, x, channel) and norms (n, Plan::norms), both contiguous.
template <class T>
struct Images {
  const T *pixels, *norms;
  std::size_t count;
};

template <class T>
class Engine {
 public:
  Engine(const Plans& plans, const std::string& target);

  std::size_t n_norms() const { return plans_.pair.norms; }
  std::size_t bytes_per_thread() const { return kind_.bytes(plans_); }

  // All return false where `poll` ended them early. Results do not depend on the number of threads.

  // Norms of `count` images at every ReLU, (count, n_norms).
  bool norms(const T* pixels, std::size_t count, T* out, int threads, const std::function<bool()>& poll) const;

  // out[i, j] = K(first_i, second_j); `same`: both are the same images, one triangle is computed.
  bool block(const Images<T>& first, const Images<T>& second, bool same, T* out, int threads,
             const std::function<bool()>& poll) const;

  // out[i] = d/dfirst_i Σ_j cotangent[i, j] K(first_i, second_j).
  bool block_vjp(const Images<T>& first, const Images<T>& second, const T* cotangent, T* out, int threads,
                 const std::function<bool()>& poll) const;

 private:
  std::size_t n_pixels() const { return std::size_t(plans_.pair.height) * plans_.pair.width * plans_.pair.channels; }

  Plans plans_;
  WorkerKind<T> kind_;
};

}  // namespace hpcdistill
