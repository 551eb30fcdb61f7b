// share(of:part:of:) and ThreadPool: everything is done once, by as many threads as were asked for, and they end with their pool.

import Foundation
import Testing

@testable import DitqCore

@Suite("Shares of work")
struct ShareTests {
  @Test("a share of work covers every item once, in order, and shares differ by one at most")
  func shares() {
    for count in Array(0...70) + [127, 128, 129, 1000, 65537] {
      for parts in 1...20 {
        var next = 0
        var sizes: [Int] = []
        for part in 0..<parts {
          let range = share(of: count, part: part, of: parts)
          #expect(range.lowerBound == next)
          next = range.upperBound
          sizes.append(range.count)
        }
        #expect(next == count && sizes.max()! - sizes.min()! <= 1, "\(count) items, \(parts) parts")
      }
    }
  }
}

/// Memory of parts that touch no cache line of each other: slot i at 8 · i.
private final class Slots<Value: BitwiseCopyable> {
  let start: UnsafeMutablePointer<Value>
  let count: Int
  init(_ count: Int, _ value: Value) {
    self.count = count
    start = .allocate(capacity: 8 * count)
    start.initialize(repeating: value, count: 8 * count)
  }
  deinit { start.deallocate() }
  var values: [Value] { (0..<count).map { start[8 * $0] } }
}

/// Counts, a cache line a part, how often it ran, and remembers which thread it ran on.
private struct Tally: ParallelJob {
  let counts: UnsafeMutablePointer<Int>
  let threads: UnsafeMutablePointer<pthread_t>
  let expectedParts: Int

  func run(part: Int, of parts: Int) {
    counts[part * 8] += parts == expectedParts ? 1 : 1_000_000
    threads[part * 8] = pthread_self()
  }
}

/// The number of the calling thread, from the link "PID/task/TID".
private func threadNumber() -> Int {
  var bytes = [CChar](repeating: 0, count: 64)
  guard readlink("/proc/thread-self", &bytes, 63) > 0 else { return -1 }
  return Int(String(decoding: bytes.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self).split(separator: "/").last!)!
}

private struct Identify: ParallelJob {
  let numbers: UnsafeMutablePointer<Int>
  func run(part: Int, of parts: Int) { numbers[8 * part] = threadNumber() }
}

/// Of each thread: 1 for each part that it entered, 10 for each that it left.
private let entered = {
  var key = pthread_key_t()
  pthread_key_create(&key, nil)
  return key
}()
private var entries: Int { Int(bitPattern: pthread_getspecific(entered)) }

private struct Entries: ParallelJob {
  let seen: UnsafeMutablePointer<Int>
  func run(part: Int, of parts: Int) { seen[8 * part] = entries }
}

/// Adds up part of a list, with no two threads touching one word.
private struct Sum: ParallelJob {
  let values: UnsafePointer<Int>
  let count: Int
  let sums: UnsafeMutablePointer<Int>
  func run(part: Int, of parts: Int) {
    sums[part * 8] = share(of: count, part: part, of: parts).reduce(0) { $0 + values[$1] }
  }
}

@Suite("Thread pool")
struct ThreadPoolTests {
  @Test("every part of a job runs exactly once, the first on the caller's thread", arguments: [1, 2, 3, 5])
  func parts(threads: Int) throws {
    let counts = Slots(threads, 0), ids = Slots<pthread_t>(threads, 0)
    let pool = try ThreadPool(threads: threads)
    #expect(pool.threads == threads)
    pool.run(Tally(counts: counts.start, threads: ids.start, expectedParts: threads))
    #expect(counts.values == [Int](repeating: 1, count: threads))
    #expect(ids.values[0] == pthread_self())
    #expect(Set(ids.values).count == threads)
  }

  @Test("what surrounds a part is done once before and once after it, on its thread", arguments: [1, 2, 3, 5])
  func surroundings(threads: Int) throws {
    let seen = Slots(threads, 0)
    let pool = try ThreadPool(
      threads: threads,
      surroundings: PartSurroundings(
        enter: { pthread_setspecific(entered, UnsafeMutableRawPointer(bitPattern: entries + 1)) },
        leave: { pthread_setspecific(entered, UnsafeMutableRawPointer(bitPattern: entries + 10)) }))
    for round in 0..<3 {
      pool.run(Entries(seen: seen.start))
      // Each round has entered and left once more; of this one, entering alone is seen within.
      #expect(seen.values == [Int](repeating: 11 * round + 1, count: threads))
    }
    #expect(entries == 33)
    pthread_setspecific(entered, nil)
  }

  @Test("thousands of small jobs in a row lose none", arguments: [1, 2, 3, 5])
  func manyJobs(threads: Int) throws {
    let jobs = 5000
    let counts = Slots(threads, 0), ids = Slots<pthread_t>(threads, 0)
    let pool = try ThreadPool(threads: threads)
    for done in 1...jobs {
      pool.run(Tally(counts: counts.start, threads: ids.start, expectedParts: threads))
      // run returns when the last part has finished, not before.
      guard counts.values.allSatisfy({ $0 == done }) else {
        Issue.record("job \(done): \(counts.values) runs of the parts")
        return
      }
    }
  }

  @Test("what a caller writes before a job is seen by its parts, and what they write by the caller", arguments: [2, 3, 5])
  func visibility(threads: Int) throws {
    let count = 1000
    let sums = Slots(threads, 0), values = Slots(count / 8, 0)
    let pool = try ThreadPool(threads: threads)
    for round in 1...500 {
      for i in 0..<count { values.start[i] = round * i }
      pool.run(Sum(values: values.start, count: count, sums: sums.start))
      #expect(sums.values.reduce(0, +) == round * count * (count - 1) / 2)
    }
  }

  @Test("a pool ends its threads", arguments: [2, 3, 5])
  func end(threads: Int) throws {
    let numbers = Slots(threads, -1)
    func exists(_ number: Int) -> Bool { access("/proc/self/task/\(number)", F_OK) == 0 }
    do {
      let pool = try ThreadPool(threads: threads)
      pool.run(Identify(numbers: numbers.start))
      #expect(Set(numbers.values).count == threads && numbers.values.allSatisfy(exists))
    }
    // A joined thread may stand under /proc for a moment longer.
    for number in numbers.values.dropFirst() {
      var looks = 0
      while exists(number) && looks < 5000 {
        usleep(1000)
        looks += 1
      }
      #expect(!exists(number))
    }
  }

  @Test("a pool that never had a job ends, and so do a hundred one after the other")
  func idle() throws {
    for round in 0..<100 { _ = try ThreadPool(threads: 1 + round % 4) }
  }

  @Test("pools of several threads at once do not disturb each other")
  func several() throws {
    let pools = try (0..<4).map { _ in try ThreadPool(threads: 2) }
    let counts = Slots(8, 0), ids = Slots<pthread_t>(8, 0)
    for _ in 0..<200 {
      for (i, pool) in pools.enumerated() {
        pool.run(Tally(counts: counts.start + 16 * i, threads: ids.start + 16 * i, expectedParts: 2))
      }
    }
    #expect(counts.values == [Int](repeating: 200, count: 8))
  }
}
