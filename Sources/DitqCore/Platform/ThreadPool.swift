// ThreadPool: a few pthreads that run the parts of one job at a time. The caller is one of them; the others park when idle. Work is divided
// statically, part p of n, so that what a thread computes never depends on timing. Relies on CPlatform; starts nothing for one thread.

import CPlatform
import Synchronization

/// A parallel operation: everything its parts read, and what part p of n does.
protocol ParallelJob {
  func run(part: Int, of parts: Int)
}

/// What a thread does before each part of a job and after it, where that is something: some CPUs have units that are to be set up and given back.
struct PartSurroundings: Sendable {
  var enter: (@convention(c) () -> Void)?
  var leave: (@convention(c) () -> Void)?
}

/// Owns the threads: they end with it.
final class ThreadPool {
  /// The most that a call may have.
  static let limit = 1024

  let threads: Int
  private let crew: Crew
  private let workers: [pthread_t]
  private let process = getpid()

  /// False in a child of fork: threads do not come along, so there is nobody to give work to or to wait for.
  var hasItsThreads: Bool { threads == 1 || getpid() == process }

  /// The threads of a call that asks for so many, 0 = every CPU this process may use.
  static func threads(_ asked: Int) throws(DitqError) -> Int {
    try check(asked)
    return asked == 0 ? min(availableCPUs(), limit) : asked
  }

  static func check(_ asked: Int) throws(DitqError) {
    guard (0...limit).contains(asked) else { throw DitqError(.invalidArgument, "threads: 0 to \(limit) expected, \(asked) found") }
  }

  /// A convenience initializer, as a thread may not start: see Block.
  convenience init(threads: Int, surroundings: PartSurroundings = PartSurroundings()) throws(DitqError) {
    let crew = Crew(threads: threads, surroundings)
    var workers: [pthread_t] = []
    workers.reserveCapacity(threads)
    for number in 1..<max(threads, 1) {
      try checkCall()
      var thread = pthread_t()
      let context = Unmanaged.passRetained(Worker(crew: crew, part: number))
      let result = ditqp_thread_start(
        &thread,
        { context in
          let worker = Unmanaged<Worker>.fromOpaque(context!).takeRetainedValue()
          worker.crew.work(part: worker.part)
          return nil
        }, context.toOpaque(), 512 * 1024)
      guard result == 0 else {
        context.release()
        crew.stop(joining: workers)
        throw DitqError(
          result == ENOSYS ? .unsupported : .outOfMemory,
          "threads: thread \(number + 1) of \(threads) could not be started: \(systemReason(result))")
      }
      workers.append(thread)
    }
    self.init(threads, crew, workers)
  }

  private init(_ threads: Int, _ crew: Crew, _ workers: [pthread_t]) {
    (self.threads, self.crew, self.workers) = (threads, crew, workers)
  }

  deinit { if hasItsThreads { crew.stop(joining: workers) } }

  /// Runs all parts of a job and returns when the last has finished.
  func run<Job: ParallelJob>(_ job: Job) {
    withUnsafePointer(to: job) { pointer in
      crew.run(pointer) { job, part, parts in job.assumingMemoryBound(to: Job.self).pointee.run(part: part, of: parts) }
    }
  }
}

/// What a new thread is given.
private final class Worker {
  let crew: Crew
  let part: Int
  init(crew: Crew, part: Int) { (self.crew, self.part) = (crew, part) }
}

/// What the pool and its threads share. Threads hold it, not the pool, so that the pool can end and stop them.
private final class Crew: @unchecked Sendable {
  private let threads: Int
  private let surroundings: PartSurroundings
  private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
  private let wake = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
  private let finished = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
  /// Counts jobs: a worker that sees a new number has a job. Changed under the mutex.
  private let generation = Atomic<Int>(0)
  /// Workers that have not finished the present job.
  private let pending = Atomic<Int>(0)
  private var isStopping = false
  private var entry: (UnsafeRawPointer, Int, Int) -> Void = { _, _, _ in }
  private var job: UnsafeRawPointer?
  /// Of the call that the job belongs to.
  private var reserve: UnsafeMutablePointer<ditqp_reserve>?
  /// How often a waiting thread looks before it parks: some 20 µs, and not at all where threads outnumber the CPUs.
  private let patience: Int

  init(threads: Int, _ surroundings: PartSurroundings) {
    (self.threads, self.surroundings) = (threads, surroundings)
    patience = threads <= availableCPUs() ? 2000 : 0
    pthread_mutex_init(mutex, nil)
    pthread_cond_init(wake, nil)
    pthread_cond_init(finished, nil)
  }

  deinit {
    pthread_cond_destroy(finished)
    pthread_cond_destroy(wake)
    pthread_mutex_destroy(mutex)
    finished.deallocate()
    wake.deallocate()
    mutex.deallocate()
  }

  /// Has the workers do their parts of a job, and does the first itself.
  func run(_ job: UnsafeRawPointer, _ entry: @escaping (UnsafeRawPointer, Int, Int) -> Void) {
    if threads > 1 { begin(job, entry) }
    perform(job, entry, part: 0)
    if threads > 1 { finish() }
  }

  private func perform(_ job: UnsafeRawPointer, _ entry: (UnsafeRawPointer, Int, Int) -> Void, part: Int) {
    surroundings.enter?()
    entry(job, part, threads)
    surroundings.leave?()
  }

  /// Gives the workers a job.
  private func begin(_ job: UnsafeRawPointer, _ entry: @escaping (UnsafeRawPointer, Int, Int) -> Void) {
    pthread_mutex_lock(mutex)
    self.entry = entry
    self.job = job
    reserve = ditqp_reserve_current()
    pending.store(threads - 1, ordering: .relaxed)
    generation.add(1, ordering: .releasing)
    pthread_cond_broadcast(wake)
    pthread_mutex_unlock(mutex)
  }

  /// Waits for the workers.
  private func finish() {
    for _ in 0..<patience {
      if pending.load(ordering: .acquiring) == 0 { return }
      ditqp_pause()
    }
    pthread_mutex_lock(mutex)
    while pending.load(ordering: .acquiring) != 0 { pthread_cond_wait(finished, mutex) }
    pthread_mutex_unlock(mutex)
  }

  func stop(joining workers: [pthread_t]) {
    pthread_mutex_lock(mutex)
    isStopping = true
    generation.add(1, ordering: .releasing)
    pthread_cond_broadcast(wake)
    pthread_mutex_unlock(mutex)
    for worker in workers { pthread_join(worker, nil) }
  }

  /// The life of a worker.
  func work(part: Int) {
    var seen = 0
    while true {
      seen = waitForJob(after: seen)
      if isStopping { return }
      ditqp_reserve_borrow(reserve)
      perform(job!, entry, part: part)
      ditqp_reserve_borrow(nil)
      if pending.subtract(1, ordering: .acquiringAndReleasing).newValue == 0 {
        pthread_mutex_lock(mutex)
        pthread_cond_signal(finished)
        pthread_mutex_unlock(mutex)
      }
    }
  }

  /// The number of the next job, once there is one. `generation` changes under the mutex, so that no wake-up is lost.
  private func waitForJob(after seen: Int) -> Int {
    for _ in 0..<patience {
      let now = generation.load(ordering: .acquiring)
      if now != seen { return now }
      ditqp_pause()
    }
    pthread_mutex_lock(mutex)
    defer { pthread_mutex_unlock(mutex) }
    while generation.load(ordering: .acquiring) == seen { pthread_cond_wait(wake, mutex) }
    return generation.load(ordering: .acquiring)
  }
}

/// Part `part` of `count` items divided among `parts`, whose sizes differ by one at most.
func share(of count: Int, part: Int, of parts: Int) -> Range<Int> {
  let size = count / parts, larger = count % parts
  let start = part * size + min(part, larger)
  return start..<start + size + (part < larger ? 1 : 0)
}
