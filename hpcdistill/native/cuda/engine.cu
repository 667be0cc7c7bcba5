// Kernels of the backend `cuda`. Compiled at run time behind the constants of one architecture, image shape and type:
// Real, PairNet, VarianceNet, kMargin, kStoreShared, and of block_forward and of all others: the warps of a block
// (kForwardWarps, kWarps), the images it has in shared memory (kForwardImages, kImages); the blocks of a multiprocessor
// (kForwardBlocks; hpcdistill/kernels/cuda_plan.py, cuda_layout.py).
//
// A block works on one pair of images at a time. What it holds: the planes that enter each level (`store`), in shared
// memory if they fit, else in global `scratch`; in shared memory, too, the second image with its norms, or both, if
// those fit. The first one is the same for many pairs, and stays in the cache.
//
// Sweeps read rows that are not there, and do not use them: before and after all images, wherever they are, kMargin
// elements may be read.
#include "levels.cuh"

namespace hpcdistill {

constexpr int kImageSize = PairNet::channels * PairNet::pixels;
constexpr int kGradientSize = kImageSize + PairNet::norms;
constexpr int kStoreSize =
    PairNet::store_size > VarianceNet::store_size ? PairNet::store_size : VarianceNet::store_size;

// Shared memory of a block of some warps, in the order it is laid out.
struct Block {
  Covariance<Real>* partial;
  Real* store;
  Real *pixels2, *norms2, *pixels1, *norms1;  // copies, as many as there are

  __device__ __forceinline__ Block(Real* shared, Real* scratch, int warps) {
    partial = reinterpret_cast<Covariance<Real>*>(shared);
    shared += 2 * warps;
    store = kStoreShared ? shared : scratch + size_t(blockIdx.x) * kStoreSize;
    if (kStoreShared) shared += kStoreSize;
    pixels2 = shared + kMargin, norms2 = pixels2 + kImageSize;
    pixels1 = norms2 + PairNet::norms, norms1 = pixels1 + kImageSize;
  }
};

__device__ __forceinline__ void copy(Real* out, const Real* in, int count) {
  for (int k = int(threadIdx.x); k < count; k += int(blockDim.x)) out[k] = in[k];
}

// The pair of images i and j, `n_shared` of them in shared memory.
template <int n_shared>
__device__ __forceinline__ Pair<Real> load_pair(const Block& block, const Real* pixels1, const Real* norms1, int i,
                                                bool new_first, const Real* pixels2, const Real* norms2, int j) {
  Pair<Real> pair{};
  pixels1 += size_t(i) * kImageSize, norms1 += size_t(i) * PairNet::norms;
  pixels2 += size_t(j) * kImageSize, norms2 += size_t(j) * PairNet::norms;
  if constexpr (n_shared > 0) {
    __syncthreads();
    if (n_shared > 1 && new_first) {
      copy(block.pixels1, pixels1, kImageSize);
      copy(block.norms1, norms1, PairNet::norms);
    }
    copy(block.pixels2, pixels2, kImageSize);
    copy(block.norms2, norms2, PairNet::norms);
    __syncthreads();
  }
  pair.pixels1 = n_shared > 1 ? block.pixels1 : pixels1;
  pair.norms1 = n_shared > 1 ? block.norms1 : norms1;
  pair.pixels2 = n_shared > 0 ? block.pixels2 : pixels2;
  pair.norms2 = n_shared > 0 ? block.norms2 : const_cast<Real*>(norms2);
  pair.store = block.store;
  return pair;
}

// Both images of the pair are image i, in global memory.
__device__ __forceinline__ Pair<Real> load_image(const Block& block, const Real* pixels, Real* norms, int i) {
  Pair<Real> pair{};
  pair.pixels1 = pair.pixels2 = pixels + size_t(i) * kImageSize;
  pair.norms1 = pair.norms2 = norms + size_t(i) * PairNet::norms;
  pair.store = block.store;
  return pair;
}

// sum[k] of the gradients of all warps, which lie one behind the other.
__device__ __forceinline__ Real over_warps(const Real* gradients, int k) {
  Real sum = gradients[k];
  for (int warp = 1; warp < kWarps; ++warp) sum += gradients[size_t(warp) * kGradientSize + k];
  return sum;
}

__device__ __forceinline__ void clear_gradients(Real* gradients) {
  for (int k = int(threadIdx.x); k < kWarps * kGradientSize; k += kWarps * 32) gradients[k] = Real(0);
  __syncthreads();
}

template <class Net, int L>
__device__ __forceinline__ void norms_adjoint_from(Levels<Net, Real>& levels, Real* gradients, Real* norm_gradient) {
  levels.template shifted_adjoint<L>();
  for (int k = int(threadIdx.x); k < PairNet::norms; k += kWarps * 32) {
    norm_gradient[k] += over_warps(gradients, kImageSize + k);
    for (int warp = 0; warp < kWarps; ++warp) gradients[size_t(warp) * kGradientSize + kImageSize + k] = Real(0);
  }
  __syncthreads();
  levels.template diagonal_adjoint<L>();
  if constexpr (L > 0) norms_adjoint_from<Net, L - 1>(levels, gradients, norm_gradient);
}

}  // namespace hpcdistill

using namespace hpcdistill;

extern __shared__ double shared_memory[];

// norms (n, norms) of n images.
extern "C" __global__ void __launch_bounds__(kWarps * 32, 1)
    image_norms(const Lane* lanes, const int* phases, const Real* pixels, int n, Real* norms, Real* scratch) {
  if constexpr (VarianceNet::n_levels > 0) {
    const Block block(reinterpret_cast<Real*>(shared_memory), scratch, kWarps);
    const Tasks tasks{lanes, phases};
    for (int i = int(blockIdx.x); i < n; i += int(gridDim.x)) {
      const Pair<Real> pair = load_image(block, pixels, norms, i);
      Levels<VarianceNet, Real>(tasks, pair, block.partial).norms();
    }
  }
}

// Where the planes of pair (i, j) are kept between forward and adjoint: those of the first `n_kept` images i.
__device__ __forceinline__ Real* kept_planes(Real* kept, int i, int n_kept, int j, int n2) {
  return i < n_kept ? kept + (size_t(i) * n2 + j) * PairNet::store_size : nullptr;
}

// out (n1, n2); of the same images (`same`), those of the lower triangle are computed and mirrored.
extern "C" __global__ void __launch_bounds__(kForwardWarps * 32, kForwardBlocks)
    block_forward(const Lane* lanes, const int* phases, const Real* pixels1, const Real* norms1, int n1,
                  const Real* pixels2, const Real* norms2, int n2, int same, Real* out, Real* kept, int n_kept,
                  Real* scratch) {
  const Block block(reinterpret_cast<Real*>(shared_memory), scratch, kForwardWarps);
  const Tasks tasks{lanes, phases};
  int last = -1;
  for (long long k = blockIdx.x; k < (long long)(n1)*n2; k += gridDim.x) {
    const int i = int(k / n2), j = int(k % n2);
    if (same && j > i) continue;
    const Pair<Real> pair = load_pair<kForwardImages>(block, pixels1, norms1, i, i != last, pixels2, norms2, j);
    last = i;
    const Real value = Levels<PairNet, Real>(tasks, pair, block.partial).forward();
    if (threadIdx.x == 0) {
      out[size_t(i) * n2 + j] = value;
      if (same) out[size_t(j) * n2 + i] = value;
    }
    if (Real* planes = kept_planes(kept, i, n_kept, j, n2)) {
      copy(planes, block.store, PairNet::store_size);
      __syncthreads();
    }
  }
}

// partial[(i − first) · slices + s]: gradient of image i's pixels and norms, Σ_j cotangent[i, j] ∂K[i, j], over the
// s-th `slice` images j; `kept` is from block_forward. `gradients`: room for one gradient of every warp of every block.
extern "C" __global__ void __launch_bounds__(kWarps * 32, 1)
    block_adjoint(const Lane* lanes, const int* phases, const Real* pixels1, const Real* norms1, int first, int count,
                  const Real* pixels2, const Real* norms2, int n2, int slice, const Real* cotangent, Real* kept,
                  int n_kept, Real* partial, Real* gradients, Real* scratch) {
  const Block block(reinterpret_cast<Real*>(shared_memory), scratch, kWarps);
  const Tasks tasks{lanes, phases};
  const int slices = (n2 + slice - 1) / slice;
  gradients += size_t(blockIdx.x) * kWarps * kGradientSize;
  for (int task = int(blockIdx.x); task < count * slices; task += int(gridDim.x)) {
    const int i = first + task / slices, start = task % slices * slice, stop = min(n2, start + slice);
    clear_gradients(gradients);
    for (int j = start; j < stop; ++j) {
      Pair<Real> pair = load_pair<kImages>(block, pixels1, norms1, i, j == start, pixels2, norms2, j);
      pair.gradient = gradients + size_t(threadIdx.x / 32) * kGradientSize;
      pair.cotangent = cotangent[size_t(i) * n2 + j];
      Levels<PairNet, Real> levels(tasks, pair, block.partial);
      if (const Real* planes = kept_planes(kept, i, n_kept, j, n2)) {
        copy(block.store, planes, PairNet::store_size);
        __syncthreads();
      } else {
        levels.forward();
      }
      levels.adjoint();
    }
    for (int k = int(threadIdx.x); k < kGradientSize; k += kWarps * 32)
      partial[size_t(task) * kGradientSize + k] = over_warps(gradients, k);
    __syncthreads();
  }
}

// Adds the slices to sums (count, image and norms).
extern "C" __global__ void add_slices(const Real* partial, int count, int slices, double* sums) {
  const long long size = (long long)(count)*kGradientSize;
  for (long long at = blockIdx.x * (long long)(blockDim.x) + threadIdx.x; at < size;
       at += (long long)(gridDim.x) * blockDim.x) {
    const long long i = at / kGradientSize;
    const int k = int(at % kGradientSize);
    double sum = sums[at];
    for (int s = 0; s < slices; ++s) sum += double(partial[(i * slices + s) * kGradientSize + k]);
    sums[at] = sum;
  }
}

// Add to pixel_gradient (n, image) what norm_gradient (n, norms), of n ∂/∂n, stands for; the latter is overwritten.
// Halves, because an image meets itself twice and planes d and −d mirror each other.
extern "C" __global__ void __launch_bounds__(kWarps * 32, 1)
    norms_adjoint(const Lane* lanes, const int* phases, const Real* pixels, Real* norms, int n, Real* norm_gradient,
                  Real* pixel_gradient, Real* gradients, Real* scratch) {
  if constexpr (VarianceNet::n_levels > 0) {
    const Block block(reinterpret_cast<Real*>(shared_memory), scratch, kWarps);
    const Tasks tasks{lanes, phases};
    gradients += size_t(blockIdx.x) * kWarps * kGradientSize;
    for (int i = int(blockIdx.x); i < n; i += int(gridDim.x)) {
      Real* own = norm_gradient + size_t(i) * PairNet::norms;
      for (int k = int(threadIdx.x); k < PairNet::norms; k += kWarps * 32) own[k] *= Real(0.5);
      clear_gradients(gradients);
      Pair<Real> pair = load_image(block, pixels, norms, i);
      pair.gradient = gradients + size_t(threadIdx.x / 32) * kGradientSize;
      pair.own_norm_gradient = own;
      Levels<VarianceNet, Real> levels(tasks, pair, block.partial);
      levels.norms();
      norms_adjoint_from<VarianceNet, VarianceNet::n_levels - 1>(levels, gradients, own);
      for (int k = int(threadIdx.x); k < kImageSize; k += kWarps * 32)
        pixel_gradient[size_t(i) * kImageSize + k] += 2 * over_warps(gradients, k);
      __syncthreads();
    }
  }
}
