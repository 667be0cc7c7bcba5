#include "engine.hpp"

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <new>
#include <stdexcept>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "parallel.hpp"

namespace hpcdistill {
namespace {

constexpr std::size_t kHugePage = 2u << 20;
constexpr std::size_t kRowsPerTask = 8;          // first images per group of lanes in a task of a block
constexpr std::size_t kPartialBytes = 8u << 20;  // gradients of groups of lanes held at once
constexpr int kMaxLanes = 64;

std::size_t ceil_div(std::size_t a, std::size_t b) { return (a + b - 1) / b; }

template <class T>
WorkerKind<T> find_kind(const std::string& target) {
#if defined(__x86_64__)
  if (target == "avx512") return avx512::worker_kind<T>();
  if (target == "avx2") return avx2::worker_kind<T>();
#endif
  if (target == "baseline") return baseline::worker_kind<T>();
  throw std::invalid_argument("unknown instruction set " + target);
}

// A worker and its memory.
template <class T>
class OwnedWorker {
 public:
  OwnedWorker(const Plans& plans, const WorkerKind<T>& kind) : memory_(nullptr, &std::free) {
    const std::size_t bytes = ceil_div(kind.bytes(plans) + 1, kHugePage) * kHugePage;
    memory_.reset(std::aligned_alloc(kHugePage, bytes));
    if (!memory_) throw std::bad_alloc();
#if defined(__linux__)
    madvise(memory_.get(), bytes, MADV_HUGEPAGE);  // a tenth of the time is page walks otherwise
#endif
    worker_.reset(kind.make(plans, memory_.get()));
  }
  Worker<T>& operator*() const { return *worker_; }

 private:
  std::unique_ptr<void, decltype(&std::free)> memory_;
  std::unique_ptr<Worker<T>> worker_;
};

// Run task(worker, i) for i = 0 … n_tasks − 1, each thread with a worker of its own.
template <class T, class Task>
bool run_tasks(const Plans& plans, const WorkerKind<T>& kind, std::size_t n_tasks, int threads, const Task& task,
               const std::function<bool()>& poll) {
  const auto make_body = [&] {
    auto worker = std::make_shared<OwnedWorker<T>>(plans, kind);
    return [&task, worker](std::size_t i) { task(**worker, i); };
  };
  return parallel_for(n_tasks, threads, make_body, poll);
}

// Pointers to some rows of an array, as workers take them.
template <class T>
struct Rows {
  T* at[kMaxLanes];
  template <class Index>
  Rows(T* base, std::size_t length, int count, const Index& index) {
    for (int i = 0; i < count; ++i) at[i] = base + index(i) * length;
  }
};

}  // namespace

std::vector<std::string> supported_targets() {
  std::vector<std::string> targets;
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512bw"))
    targets.push_back("avx512");
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) targets.push_back("avx2");
#endif
  targets.push_back("baseline");
  return targets;
}

template <class T>
Engine<T>::Engine(const Plans& plans, const std::string& target) : plans_(plans), kind_(find_kind<T>(target)) {}

template <class T>
bool Engine<T>::norms(const T* pixels, std::size_t count, T* out, int threads,
                      const std::function<bool()>& poll) const {
  if (n_norms() == 0) return true;
  const std::size_t lanes = kind_.lanes;
  const auto group_task = [&](Worker<T>& worker, std::size_t group) {
    const std::size_t start = group * lanes;
    const int n = int(std::min(lanes, count - start));
    const auto index = [&](int i) { return start + i; };
    const Rows<const T> images(pixels, n_pixels(), n, index);
    const Rows<T> results(out, n_norms(), n, index);
    worker.norms(images.at, results.at, n);
  };
  return run_tasks(plans_, kind_, ceil_div(count, lanes), threads, group_task, poll);
}

// Have a worker meet the first n of a group of second images.
template <class T>
void Engine<T>::set_group(Worker<T>& worker, const Images<T>& second, std::size_t group, int n) const {
  const auto index = [&](int k) { return group * kind_.lanes + k; };
  const Rows<const T> pixels(second.pixels, n_pixels(), n, index), norms(second.norms, n_norms(), n, index);
  worker.set_second(pixels.at, norms.at, n);
}

template <class T>
bool Engine<T>::block(const Images<T>& first, const Images<T>& second, bool same, T* out, int threads,
                      const std::function<bool()>& poll) const {
  const std::size_t lanes = kind_.lanes, n1 = first.count, n2 = second.count, groups = n2 / lanes;
  // Whole groups of second images meet one first image at a time; what is left is put together pair by pair. Of the
  // same images a group meets only those up to its own first, and its own among each other are such a rest.
  struct Tile {
    std::size_t group, top, bottom;
  };
  std::vector<Tile> tiles;
  std::vector<std::pair<std::size_t, std::size_t>> pairs;
  for (std::size_t group = 0; group < groups; ++group) {
    const std::size_t rows = same ? group * lanes + 1 : n1, end = (group + 1) * lanes;
    for (std::size_t top = 0; top < rows; top += kRowsPerTask)
      tiles.push_back({group, top, std::min(rows, top + kRowsPerTask)});
    for (std::size_t i = rows; same && i < end; ++i)
      for (std::size_t j = i; j < end; ++j) pairs.emplace_back(i, j);
  }
  for (std::size_t j = groups * lanes; j < n2; ++j)
    for (std::size_t i = 0; i < (same ? j + 1 : n1); ++i) pairs.emplace_back(i, j);

  const auto tile_task = [&](Worker<T>& worker, const Tile& tile) {
    set_group(worker, second, tile.group, int(lanes));
    for (std::size_t i = tile.top; i < tile.bottom; ++i) {
      worker.set_first(first.pixels + i * n_pixels(), first.norms + i * n_norms());
      T* row = out + i * n2 + tile.group * lanes;
      worker.kernel(row, nullptr);
      for (std::size_t k = 0; same && k < lanes; ++k) out[(tile.group * lanes + k) * n2 + i] = row[k];
    }
  };
  const auto pair_task = [&](Worker<T>& worker, std::size_t start) {
    const int n = int(std::min(lanes, pairs.size() - start));
    const auto index1 = [&](int i) { return pairs[start + i].first; };
    const auto index2 = [&](int i) { return pairs[start + i].second; };
    const Rows<const T> pixels1(first.pixels, n_pixels(), n, index1), norms1(first.norms, n_norms(), n, index1);
    const Rows<const T> pixels2(second.pixels, n_pixels(), n, index2), norms2(second.norms, n_norms(), n, index2);
    worker.set_first(pixels1.at, norms1.at, n);
    worker.set_second(pixels2.at, norms2.at, n);
    T values[kMaxLanes];
    worker.kernel(values, nullptr);
    for (int k = 0; k < n; ++k) {
      const auto [i, j] = pairs[start + k];
      out[i * n2 + j] = values[k];
      if (same) out[j * n2 + i] = values[k];
    }
  };
  const auto task = [&](Worker<T>& worker, std::size_t i) {
    i < tiles.size() ? tile_task(worker, tiles[i]) : pair_task(worker, (i - tiles.size()) * lanes);
  };
  return run_tasks(plans_, kind_, tiles.size() + ceil_div(pairs.size(), lanes), threads, task, poll);
}

template <class T>
bool Engine<T>::block_kept(const Images<T>& first, const Images<T>& second, T* out, void* kept, std::size_t n_kept,
                           int threads, const std::function<bool()>& poll) const {
  const std::size_t lanes = kind_.lanes, n1 = first.count, n2 = second.count, bytes = kept_bytes();
  const std::size_t groups = ceil_div(n2, lanes), tops = ceil_div(n1, kRowsPerTask);
  const auto tile_task = [&](Worker<T>& worker, std::size_t task) {
    const std::size_t group = task / tops, top = task % tops * kRowsPerTask;
    const int n = int(std::min(lanes, n2 - group * lanes));
    set_group(worker, second, group, n);
    for (std::size_t i = top; i < std::min(n1, top + kRowsPerTask); ++i) {
      worker.set_first(first.pixels + i * n_pixels(), first.norms + i * n_norms());
      T values[kMaxLanes];
      worker.kernel(values, kept_at(kept, bytes, i, n_kept, groups, group));
      std::copy_n(values, n, out + i * n2 + group * lanes);
    }
  };
  return run_tasks(plans_, kind_, groups * tops, threads, tile_task, poll);
}

template <class T>
bool Engine<T>::add_gradient(const Images<T>& first, const Images<T>& second, const T* cotangent, void* kept,
                             std::size_t n_kept, double* sums, int threads, const std::function<bool()>& poll) const {
  const std::size_t lanes = kind_.lanes, n1 = first.count, n2 = second.count, bytes = kept_bytes();
  const std::size_t groups = ceil_div(n2, lanes), length = gradient_length();
  if (n1 == 0 || n2 == 0) return true;

  // A task takes one first image with one group of second ones. The groups are then added in order, so that the sum
  // does not depend on who computed what; as many first images at a time as there is memory for.
  const std::size_t rows_at_once = std::clamp<std::size_t>(kPartialBytes / (groups * length * sizeof(T)), 1, n1);
  std::vector<T> partial(rows_at_once * groups * length);
  for (std::size_t top = 0; top < n1; top += rows_at_once) {
    const std::size_t n_rows = std::min(rows_at_once, n1 - top);
    const auto group_task = [&](Worker<T>& worker, std::size_t task) {
      const std::size_t group = task % groups, i = top + task / groups;
      const int n = int(std::min(lanes, n2 - group * lanes));
      worker.set_first(first.pixels + i * n_pixels(), first.norms + i * n_norms());
      set_group(worker, second, group, n);
      T weights[kMaxLanes] = {};
      std::copy_n(cotangent + i * n2 + group * lanes, n, weights);
      T* result = partial.data() + task * length;
      worker.gradient(weights, kept_at(kept, bytes, i, n_kept, groups, group), result, result + n_pixels());
    };
    if (!run_tasks(plans_, kind_, n_rows * groups, threads, group_task, poll)) return false;
    for (std::size_t row = 0; row < n_rows; ++row)
      for (std::size_t group = 0; group < groups; ++group) {
        const T* part = partial.data() + (row * groups + group) * length;
        double* sum = sums + (top + row) * length;
        for (std::size_t k = 0; k < length; ++k) sum[k] += double(part[k]);
      }
  }
  return true;
}

template <class T>
bool Engine<T>::finish_gradient(const Images<T>& first, const double* sums, T* out, int threads,
                                const std::function<bool()>& poll) const {
  const std::size_t lanes = kind_.lanes, n1 = first.count;
  std::vector<T> norms_gradient(n1 * n_norms());
  for (std::size_t i = 0; i < n1; ++i) {
    const double* sum = sums + i * gradient_length();
    for (std::size_t k = 0; k < n_pixels(); ++k) out[i * n_pixels() + k] = T(sum[k]);
    for (std::size_t k = 0; k < n_norms(); ++k) norms_gradient[i * n_norms() + k] = T(sum[n_pixels() + k]);
  }
  if (n_norms() == 0) return true;
  const auto group_task = [&](Worker<T>& worker, std::size_t group) {
    const std::size_t start = group * lanes;
    const int n = int(std::min(lanes, n1 - start));
    const auto index = [&](int i) { return start + i; };
    const Rows<const T> pixels(first.pixels, n_pixels(), n, index);
    const Rows<const T> gradients(norms_gradient.data(), n_norms(), n, index);
    const Rows<T> results(out, n_pixels(), n, index);
    worker.add_norms_gradient(pixels.at, gradients.at, results.at, n);
  };
  return run_tasks(plans_, kind_, ceil_div(n1, lanes), threads, group_task, poll);
}

template class Engine<float>;
template class Engine<double>;

}  // namespace hpcdistill
