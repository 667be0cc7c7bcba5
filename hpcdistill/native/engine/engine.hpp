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
  std::size_t lanes() const { return std::size_t(kind_.lanes); }
  std::size_t kept_bytes() const { return kind_.kept_bytes(plans_); }     // of one first image and `lanes` others
  std::size_t gradient_length() const { return n_pixels() + n_norms(); }  // numbers per first image

  // All return false where `poll` ended them early. Results do not depend on the number of threads.

  // Norms of `count` images at every ReLU, (count, n_norms).
  bool norms(const T* pixels, std::size_t count, T* out, int threads, const std::function<bool()>& poll) const;

  // out[i, j] = K(first_i, second_j); `same`: both are the same images, one triangle is computed.
  bool block(const Images<T>& first, const Images<T>& second, bool same, T* out, int threads,
             const std::function<bool()>& poll) const;

  // The same, where what `add_gradient` needs of the first `n_kept` rows is left in `kept`: for each row and group of
  // `lanes` second images, the last of which may be incomplete, `kept_bytes`.
  bool block_kept(const Images<T>& first, const Images<T>& second, T* out, void* kept, std::size_t n_kept, int threads,
                  const std::function<bool()>& poll) const;

  // sums[i] += gradient of Σ_j cotangent[i, j] K(first_i, second_j) with respect to the pixels and norms of first_i,
  // (count, gradient_length); `kept` as `block_kept` of these images has left it, which is used up.
  bool add_gradient(const Images<T>& first, const Images<T>& second, const T* cotangent, void* kept, std::size_t n_kept,
                    double* sums, int threads, const std::function<bool()>& poll) const;

  // out[i] = d/dfirst_i of what `sums` stands for.
  bool finish_gradient(const Images<T>& first, const double* sums, T* out, int threads,
                       const std::function<bool()>& poll) const;

 private:
  void set_group(Worker<T>& worker, const Images<T>& second, std::size_t group, int n) const;
  static void* kept_at(void* kept, std::size_t bytes, std::size_t row, std::size_t n_kept, std::size_t groups,
                       std::size_t group) {
    return row < n_kept ? static_cast<char*>(kept) + (row * groups + group) * bytes : nullptr;
  }
  std::size_t n_pixels() const { return std::size_t(plans_.pair.height) * plans_.pair.width * plans_.pair.channels; }

  Plans plans_;
  WorkerKind<T> kind_;
};

}  // namespace hpcdistill
