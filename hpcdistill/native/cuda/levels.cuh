// A block of warps evaluates one pair of images at a time, level by level. Tasks of one phase add to elements of the
// pooled planes that no other task of the phase touches; so sums need no atomic operations and have a fixed order.
#pragma once

#include "sweep.cuh"

namespace hpcdistill {

// Where the tasks are: `lanes[32 · task + lane]`, in the order of levels and phases.
struct Tasks {
  const Lane* lanes;
  const int* phases;
};

// Past the nearest cache, which is for the first image: the tasks of a pair are several times its size.
__device__ __forceinline__ Lane load(const Lane* from) {
  Lane lane;
  static_assert(sizeof(Lane) == 3 * sizeof(int4), "a lane is read in three pieces");
#pragma unroll
  for (int k = 0; k < 3; ++k) reinterpret_cast<int4*>(&lane)[k] = __ldcg(reinterpret_cast<const int4*>(from) + k);
  return lane;
}

template <class Net, class T>
class Levels {
 public:
  // `partial`: a number of each warp, in shared memory.
  __device__ __forceinline__ Levels(const Tasks& tasks, const Pair<T>& pair, Covariance<T>* partial)
      : tasks_(tasks), pair_(pair), partial_(partial) {}

  // The kernel of the pair, in thread 0. Collective over the block; `store` is ready to be read or written after.
  __device__ __forceinline__ T forward() {
    clear_store();
    return forward_from<0>();
  }

  // Adds to each warp's gradient. Follows `forward` of the same pair.
  __device__ __forceinline__ void adjoint() { adjoint_from<Net::n_levels - 1>(); }

  // Norms of an image, which both of the pair are.
  __device__ __forceinline__ void norms() {
    clear_store();
    norms_from<0>();
  }

  // Level L back, but for offset 0; then offset 0. Between them the warps' gradients have to be added up.
  template <int L>
  __device__ __forceinline__ void shifted_adjoint() {
    run_phases<L, Mode::adjoint>(1, Net::levels[L].n_phases);
    __syncthreads();
  }
  template <int L>
  __device__ __forceinline__ void diagonal_adjoint() {
    run_phases<L, Mode::diagonal_adjoint>(0, 1);
    __syncthreads();
  }

 private:
  // The tasks of phases `first` to `end` − 1 at once, dealt out to the warps in turn.
  template <int L, Mode M>
  __device__ __forceinline__ Covariance<T> run_phases(int first, int end) {
    const int* starts = tasks_.phases + Net::levels[L].first_phase;
    Covariance<T> total{};
    for (int task = starts[first] + int(threadIdx.x / 32); task < starts[end]; task += int(blockDim.x / 32)) {
      const Lane lane = load(tasks_.lanes + 32 * task + int(threadIdx.x % 32));
      const Covariance<T> out = Sweep<Net, T, L, M>(lane, pair_).run();
      total.s += out.s;
      total.t += out.t;
      // What one lane of a warp has written to memory, another may use only after the warp has met: here the warp's
      // gradient, to whose pixels the next task's lanes add.
      if constexpr (M == Mode::adjoint) __syncwarp();
    }
    return total;
  }

  __device__ __forceinline__ void clear_store() {
    for (int k = int(threadIdx.x); k < Net::store_size; k += int(blockDim.x)) pair_.store[k] = T(0);
    __syncthreads();
  }

  // Phases from `first` on, one after the other: no two of them add to the pooled planes at a time.
  template <int L>
  __device__ __forceinline__ void add_phases(Covariance<T>& total, int first) {
    constexpr Level level = Net::levels[L];
    for (int phase = first; phase < level.n_phases; ++phase) {
      const Covariance<T> out = run_phases<L, Mode::forward>(phase, phase + 1);
      total.s += out.s;
      total.t += out.t;
      __syncthreads();
    }
  }

  template <int L>
  __device__ __forceinline__ T forward_from() {
    constexpr Level level = Net::levels[L];
    Covariance<T> total{};
    add_phases<L>(total, 0);
    if constexpr (level.emit == Emit::sum) add_up<L>(total);
    if constexpr (L + 1 < Net::n_levels)
      return forward_from<L + 1>();
    else
      return Net::tangent ? total.t : total.s;
  }

  // Sum over the block into the one element of the next level.
  template <int L>
  __device__ __forceinline__ void add_up(Covariance<T> total) {
    constexpr Level next = Net::levels[L + 1];
    for (int step = 16; step > 0; step /= 2) {
      total.s += __shfl_down_sync(kAllLanes, total.s, step);
      total.t += __shfl_down_sync(kAllLanes, total.t, step);
    }
    if (threadIdx.x % 32 == 0) partial_[threadIdx.x / 32] = total;
    __syncthreads();
    if (threadIdx.x == 0) {
      for (int warp = 1; warp < int(blockDim.x / 32); ++warp) {
        total.s += partial_[warp].s;
        total.t += partial_[warp].t;
      }
      pair_.store[next.s_store] = total.s;
      if constexpr (next.tangent_in) pair_.store[next.t_store] = total.t;
    }
    __syncthreads();
  }

  // All phases at once: what is handed back has no other task's place.
  template <int L>
  __device__ __forceinline__ void adjoint_from() {
    run_phases<L, Mode::adjoint>(0, Net::levels[L].n_phases);
    __syncthreads();
    if constexpr (L > 0) adjoint_from<L - 1>();
  }

  template <int L>
  __device__ __forceinline__ void norms_from() {
    constexpr Level level = Net::levels[L];
    Covariance<T> total = run_phases<L, Mode::diagonal>(0, 1);
    __syncthreads();
    add_phases<L>(total, 1);
    if constexpr (level.emit == Emit::sum) add_up<L>(total);
    if constexpr (L + 1 < Net::n_levels) norms_from<L + 1>();
  }

  const Tasks& tasks_;
  const Pair<T>& pair_;
  Covariance<T>* partial_;
};

}  // namespace hpcdistill
