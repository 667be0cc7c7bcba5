// The worker of the instruction set that this is compiled for. Included by worker_<target>.cpp.
#pragma once

#include <new>

#include "pairs.hpp"
#include "worker.hpp"

namespace hpcdistill::HPCD_TARGET {

// lanes[k · lanes + i] = rows[i][k]; missing rows repeat the first.
template <class T>
void pack(const T* const* rows, int count, std::size_t length, Vec<T>* packed) {
  T* out = reinterpret_cast<T*>(packed);
  for (int lane = 0; lane < kLanes<T>; ++lane) {
    const T* row = rows[lane < count ? lane : 0];
    for (std::size_t k = 0; k < length; ++k) out[k * kLanes<T> + lane] = row[k];
  }
}

template <class T>
void invert(const T* norm, std::size_t length, T* inverse) {
  for (std::size_t k = 0; k < length; ++k) inverse[k] = norm[k] > 0 ? 1 / norm[k] : 0;
}

template <class T>
class TargetWorker final : public Worker<T> {
 public:
  static constexpr int lanes = kLanes<T>;

  TargetWorker(const Plans& plans, void* memory)
      : n_pixels_(std::size_t(plans.pair.height) * plans.pair.width * plans.pair.channels),
        n_norms_(plans.pair.norms),
        pairs_(plans.pair, memory),
        variances_(plans.variance, memory) {}

  void set_second(const T* const* pixels, const T* const* norms, int count) override {
    set_lanes(pairs_.second(), pixels, norms, count);
  }

  void set_first(const T* pixels, const T* norms) override {
    T* inverse = reinterpret_cast<T*>(pairs_.first().inverse);
    invert(norms, n_norms_, inverse);
    shared_ = {pixels, norms, inverse};
    is_shared_ = true;
  }

  void set_first(const T* const* pixels, const T* const* norms, int count) override {
    set_lanes(pairs_.first(), pixels, norms, count);
    is_shared_ = false;
  }

  void kernel(T* out, void* kept) override {
    pairs_.keep_in(kept);
    const LaneImages<T>& first = pairs_.first();
    const FirstImage<T, PerLane<T>> per_lane{first.pixels, first.norm, first.inverse};
    const Vec<T> value = is_shared_ ? pairs_.forward(shared_) : pairs_.forward(per_lane);
    for (int lane = 0; lane < lanes; ++lane) out[lane] = value[lane];
  }

  void gradient(const T* cotangent, void* kept, T* pixels, T* norms) override {
    Vec<T> lanes_cotangent{};
    for (int lane = 0; lane < lanes; ++lane) lanes_cotangent[lane] = cotangent[lane];
    clear(pairs_.pixel_gradient, n_pixels_);
    clear(pairs_.norm_gradient, n_norms_);
    pairs_.keep_in(kept);
    if (!kept) pairs_.forward(shared_);
    pairs_.adjoint(shared_, lanes_cotangent);
    sum_lanes(pairs_.pixel_gradient, n_pixels_, pixels);
    sum_lanes(pairs_.norm_gradient, n_norms_, norms);
  }

  void norms(const T* const* pixels, T* const* norms_out, int count) override {
    set_variances(pixels, count);
    for (int lane = 0; lane < count; ++lane)
      for (std::size_t k = 0; k < n_norms_; ++k) norms_out[lane][k] = variances_.second().norm[k][lane];
  }

  void add_norms_gradient(const T* const* pixels, const T* const* norms_gradient, T* const* pixels_out,
                          int count) override {
    set_variances(pixels, count);
    clear(variances_.pixel_gradient, n_pixels_);
    pack(norms_gradient, count, n_norms_, variances_.norm_gradient);
    for (std::size_t k = 0; k < n_norms_; ++k) variances_.norm_gradient[k] *= broadcast<T>(T(0.5));
    variances_.norms_adjoint();
    for (int lane = 0; lane < count; ++lane)
      for (std::size_t k = 0; k < n_pixels_; ++k) pixels_out[lane][k] += 2 * variances_.pixel_gradient[k][lane];
  }

 private:
  void set_lanes(LaneImages<T>& image, const T* const* pixels, const T* const* norms, int count) {
    pack(pixels, count, n_pixels_, image.pixels);
    pack(norms, count, n_norms_, image.norm);
    invert(reinterpret_cast<const T*>(image.norm), n_norms_ * lanes, reinterpret_cast<T*>(image.inverse));
  }

  void set_variances(const T* const* pixels, int count) {
    pack(pixels, count, n_pixels_, variances_.second().pixels);
    variances_.norms();
  }

  static void clear(Vec<T>* values, std::size_t n) { std::memset(static_cast<void*>(values), 0, n * sizeof(Vec<T>)); }

  static void sum_lanes(const Vec<T>* values, std::size_t n, T* out) {
    for (std::size_t k = 0; k < n; ++k) {
      T sum = 0;
      for (int lane = 0; lane < lanes; ++lane) sum += values[k][lane];
      out[k] = sum;
    }
  }

  std::size_t n_pixels_, n_norms_;
  Pairs<T> pairs_, variances_;  // in the same memory: one at a time
  FirstImage<T, Shared<T>> shared_{};
  bool is_shared_ = true;
};

template <class T>
WorkerKind<T> worker_kind() {
  return {kLanes<T>,
          [](const Plans& plans) {
            const std::size_t a = Pairs<T>(plans.pair, nullptr).bytes(), b = Pairs<T>(plans.variance, nullptr).bytes();
            return a > b ? a : b;
          },
          [](const Plans& plans) { return (Pairs<T>(plans.pair, nullptr).kept_bytes() + 63) / 64 * 64; },
          [](const Plans& plans, void* memory) -> Worker<T>* { return new TargetWorker<T>(plans, memory); }};
}

template WorkerKind<float> worker_kind<float>();
template WorkerKind<double> worker_kind<double>();

}  // namespace hpcdistill::HPCD_TARGET
