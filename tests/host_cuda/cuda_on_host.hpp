// Stands in for the CUDA built-ins that the kernel engine uses, so that its source runs on a CPU: blocks one after the
// other, every thread of a block a fiber that gives way where threads meet.
//
// Lanes meet at shuffles, all 32 of a warp; threads at __syncthreads. A round in which no fiber gets on is an error:
// some threads wait for others that do not come. Warps, and lanes between two meetings, take turns in an order that
// `seed` decides, and shared memory starts as NaN, so that what depends on either shows.
#pragma once

#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <numeric>
#include <random>
#include <tuple>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __forceinline__ inline
#define __shared__
#define __launch_bounds__(...)

namespace cuda_on_host {

constexpr std::size_t kStack = 64 * 1024, kSharedDoubles = 32 * 1024;

struct Index {
  unsigned x = 0;
};
inline Index block_index, block_size, grid_size;

// Where threads meet: how many have come, and how often all have.
struct Meeting {
  int expected = 0, arrived = 0;
  long round = 0;
};

struct Warp {
  Meeting meeting;
  unsigned long long value[2][32];  // of each lane, in turns: a lane may be a shuffle ahead of another
};

struct Fiber {
  Index thread;
  bool started = false, done = false;
  ucontext_t context;
  jmp_buf state;
  std::unique_ptr<char[]> stack{new char[kStack]};
};

struct Block {
  std::vector<Fiber> fibers;
  std::vector<Warp> warps;
  Meeting all;
  std::size_t current = 0;
  bool progress = false;
  jmp_buf scheduler;
  void (*body)(void*) = nullptr;
  void* argument = nullptr;
};
inline Block* block = nullptr;

inline Fiber& self() { return block->fibers[block->current]; }
inline Warp& own_warp() { return block->warps[block->current / 32]; }

inline void give_way() {
  if (_setjmp(self().state) == 0) _longjmp(block->scheduler, 1);
}

inline void meet(Meeting& meeting) {
  const long round = meeting.round;
  block->progress = true;
  if (++meeting.arrived == meeting.expected) {
    meeting.arrived = 0;
    ++meeting.round;
    return;
  }
  while (meeting.round == round) give_way();
}

template <class T>
T shuffle(T value, unsigned from) {
  static_assert(sizeof(T) <= sizeof(unsigned long long));
  Warp& warp = own_warp();
  unsigned long long* values = warp.value[warp.meeting.round & 1];
  std::memcpy(&values[block->current % 32], &value, sizeof value);
  meet(warp.meeting);
  T result;
  std::memcpy(&result, &values[from], sizeof result);
  return result;
}

inline void run_fiber() {
  block->body(block->argument);
  self().done = true;
  block->progress = true;
  _longjmp(block->scheduler, 1);
}

inline void resume(std::size_t index) {
  block->current = index;
  Fiber& fiber = block->fibers[index];
  if (_setjmp(block->scheduler) != 0) return;
  if (fiber.started) _longjmp(fiber.state, 1);
  fiber.started = true;
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = fiber.stack.get();
  fiber.context.uc_stack.ss_size = kStack;
  fiber.context.uc_link = nullptr;
  makecontext(&fiber.context, run_fiber, 0);
  setcontext(&fiber.context);
}

// Run a block to its end. Returns whether all threads got there.
inline bool run_block(unsigned threads, std::mt19937& random) {
  Block one;
  one.fibers = std::vector<Fiber>(threads);
  one.warps = std::vector<Warp>((threads + 31) / 32);
  one.all.expected = int(threads);
  for (unsigned i = 0; i < threads; ++i) {
    one.fibers[i].thread.x = i;
    ++one.warps[i / 32].meeting.expected;
  }
  one.body = block->body, one.argument = block->argument;
  Block* outer = block;
  block = &one;
  std::vector<std::size_t> order(one.warps.size());
  std::iota(order.begin(), order.end(), std::size_t(0));
  bool left = true, stuck = false;
  while (left && !stuck) {
    one.progress = left = false;
    std::shuffle(order.begin(), order.end(), random);
    const std::size_t first_lane = random() % 32;
    for (std::size_t warp : order)
      for (std::size_t k = 0; k < 32; ++k) {
        const std::size_t i = 32 * warp + (first_lane + k) % 32;
        if (i < threads && !one.fibers[i].done) {
          left = true;
          resume(i);
        }
      }
    stuck = left && !one.progress;
  }
  block = outer;
  return !stuck;
}

}  // namespace cuda_on_host

#define threadIdx (cuda_on_host::self().thread)
#define blockIdx cuda_on_host::block_index
#define blockDim cuda_on_host::block_size
#define gridDim cuda_on_host::grid_size

inline double shared_memory[cuda_on_host::kSharedDoubles];

inline void __syncthreads() { cuda_on_host::meet(cuda_on_host::block->all); }
inline void __syncwarp() { cuda_on_host::meet(cuda_on_host::own_warp().meeting); }
template <class T>
T __shfl_sync(unsigned, T value, int from) {
  return cuda_on_host::shuffle(value, unsigned(from) % 32);
}
template <class T>
T __shfl_up_sync(unsigned, T value, int delta) {
  const int lane = int(threadIdx.x % 32);
  return cuda_on_host::shuffle(value, unsigned(lane < delta ? lane : lane - delta));
}
template <class T>
T __shfl_down_sync(unsigned, T value, int delta) {
  const int lane = int(threadIdx.x % 32);
  return cuda_on_host::shuffle(value, unsigned(lane + delta > 31 ? lane : lane + delta));
}
struct alignas(16) int4 {
  int x, y, z, w;
};
template <class T>
T __ldcg(const T* from) {
  return *from;
}
inline float __fdividef(float a, float b) { return a / b; }
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline int min(int a, int b) { return a < b ? a : b; }
inline int max(int a, int b) { return a > b ? a : b; }

namespace cuda_on_host {

template <class... A>
struct Call {
  void (*kernel)(A...);
  std::tuple<A...> arguments;
};

template <class... A, std::size_t... I>
std::tuple<A...> unpack(void** arguments, std::index_sequence<I...>) {
  return {*static_cast<A*>(arguments[I])...};
}

// Returns 0, or 1 if threads of a block wait for each other.
template <class... A>
int launch(void (*kernel)(A...), unsigned grid, unsigned threads, unsigned seed, void** arguments) {
  Call<A...> call{kernel, unpack<A...>(arguments, std::index_sequence_for<A...>())};
  Block frame;
  frame.argument = &call;
  frame.body = [](void* argument) {
    auto& one = *static_cast<Call<A...>*>(argument);
    std::apply(one.kernel, one.arguments);
  };
  block = &frame;
  block_size.x = threads, grid_size.x = grid;
  std::mt19937 random(seed);
  bool ended = true;
  for (block_index.x = 0; ended && block_index.x < grid; ++block_index.x) {
    for (double& value : shared_memory) value = std::nan("");
    ended = run_block(threads, random);
  }
  block = nullptr;
  return ended ? 0 : 1;
}

}  // namespace cuda_on_host
