// What one thread does with one plan, whatever the instruction set. Implemented once per set (worker_impl.hpp).
#pragma once

#include <cstddef>

#include "plan.hpp"

namespace hpcdistill {

template <class T>
class Worker {
 public:
  virtual ~Worker() = default;

  // Images are given as pointers to their pixels (y, x, channel) and to their norms at every ReLU. Fewer than `lanes`
  // are allowed: what the other lanes then hold is not to be used.
  virtual void set_second(const T* const* pixels, const T* const* norms, int count) = 0;
  virtual void set_first(const T* pixels, const T* norms) = 0;                           // one for all lanes
  virtual void set_first(const T* const* pixels, const T* const* norms, int count) = 0;  // one per lane

  // out[lane] = K(first, second), for the kind of first image that was set last. What `gradient` needs of it is left in
  // `kept` (WorkerKind::kept_bytes), where that is not null.
  virtual void kernel(T* out, void* kept) = 0;

  // Gradient of Σ cotangent[lane] K(first, second[lane]) with respect to a first image that all lanes share, and n ∂/∂n
  // at its norms. `kept`: from `kernel` of these images, used up here; null: computed anew.
  virtual void gradient(const T* cotangent, void* kept, T* pixels, T* norms) = 0;

  // Norms of up to `lanes` images; and pixels_out += what n ∂/∂n at them, given in `norms_gradient`, amounts to.
  virtual void norms(const T* const* pixels, T* const* norms_out, int count) = 0;
  virtual void add_norms_gradient(const T* const* pixels, const T* const* norms_gradient, T* const* pixels_out,
                                  int count) = 0;
};

// A way to make workers: one per instruction set and type.
template <class T>
struct WorkerKind {
  int lanes;
  std::size_t (*bytes)(const Plans&);
  std::size_t (*kept_bytes)(const Plans&);         // a multiple of 64
  Worker<T>* (*make)(const Plans&, void* memory);  // memory: `bytes`, aligned to 64; plans outlive the worker
};

namespace baseline {
template <class T>
WorkerKind<T> worker_kind();
}
#if defined(__x86_64__)
namespace avx2 {
template <class T>
WorkerKind<T> worker_kind();
}
namespace avx512 {
template <class T>
WorkerKind<T> worker_kind();
}
#endif

}  // namespace hpcdistill
