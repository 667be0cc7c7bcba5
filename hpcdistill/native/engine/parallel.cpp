#include "parallel.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace hpcdistill {

bool parallel_for(std::size_t n_tasks, int threads, const std::function<std::function<void(std::size_t)>()>& make_body,
                  const std::function<bool()>& poll) {
  std::atomic<std::size_t> next{0};
  std::atomic<bool> stopped{false};
  std::mutex mutex;
  std::condition_variable one_ended;
  std::exception_ptr error;
  const int n_threads = int(std::min<std::size_t>(std::max(threads, 1), n_tasks));
  int running = n_threads;

  const auto work = [&] {
    try {
      const auto body = make_body();
      for (std::size_t task; !stopped && (task = next++) < n_tasks;) body(task);
    } catch (...) {
      const std::lock_guard<std::mutex> lock(mutex);
      error = std::current_exception();
      stopped = true;
    }
    const std::lock_guard<std::mutex> lock(mutex);
    --running;
    one_ended.notify_one();
  };

  std::vector<std::thread> pool;
  const auto join_all = [&] {
    for (std::thread& thread : pool) thread.join();
  };
  bool cancelled = false;
  try {
    for (int i = 0; i < n_threads; ++i) pool.emplace_back(work);
    std::unique_lock<std::mutex> lock(mutex);
    while (running > 0) {
      if (one_ended.wait_for(lock, std::chrono::milliseconds(100), [&] { return running == 0; })) break;
      lock.unlock();
      if (!cancelled && poll()) cancelled = stopped = true;
      lock.lock();
    }
  } catch (...) {
    stopped = true;
    join_all();
    throw;
  }
  join_all();
  if (error) std::rethrow_exception(error);
  return !cancelled;
}

}  // namespace hpcdistill
