// Put before the C library (LD_PRELOAD) while tests run. A rank of Open MPI that waits for others calls `sched_yield`
// again and again, and takes a core for it. Here it sleeps, the longer the longer it has waited, as Open MPI 5 can
// (threads_pthreads_yield_strategy).
#include <algorithm>
#include <ctime>

namespace {

constexpr long kShortest = 20'000, kLongest = 100'000;  // nanoseconds: TCP is looked at in one of ten turns

long now() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1'000'000'000L + time.tv_nsec;
}

}  // namespace

extern "C" int sched_yield() {
  thread_local long last = 0, sleep = kShortest;
  sleep = now() - last < 2 * kShortest ? std::min(2 * sleep, kLongest) : kShortest;  // or another wait has begun
  const timespec time = {0, sleep};
  nanosleep(&time, nullptr);
  last = now();
  return 0;
}
