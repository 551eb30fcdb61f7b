// Lists that are as long as a file, a host or a model says: before one grows its room is asked for, so that missing memory is a status. And a sort
// that takes no memory. Calls, never inlined: there are hundreds. Relies on Reserve; refuses nothing but exhaustion.

extension Array {
  /// An empty list with room for so many elements.
  init(room count: Int) throws(DitqError) {
    self = []
    try makeRoom(for: count)
  }

  /// So many copies of an element.
  init(repeating element: Element, room count: Int) throws(DitqError) {
    try self.init(room: count)
    for _ in 0..<count { append(element) }
  }

  @inline(never)
  mutating func makeRoom(for more: Int) throws(DitqError) {
    guard more > capacity - count else { return try checkCall() }
    let wanted = Swift.max(count + more, 2 * capacity)
    try askForRoom(wanted * MemoryLayout<Element>.stride)
    reserveCapacity(wanted)
  }

  /// Appends; careful: for an element that allocates, this also sees that the reserve is whole.
  @inline(never)
  mutating func add(_ element: Element) throws(DitqError) {
    try makeRoom(for: 1)
    append(element)
  }

  /// What each element becomes; what that allocates is seen to one by one.
  func mapped<T>(_ transform: (Element) throws(DitqError) -> T) throws(DitqError) -> [T] {
    var result = try [T](room: count)
    for element in self { try result.add(try transform(element)) }
    return result
  }

  /// The elements that a condition holds for.
  func kept(where isKept: (Element) throws(DitqError) -> Bool) throws(DitqError) -> [Element] {
    var result: [Element] = []
    for element in self where try isKept(element) { try result.add(element) }
    return result
  }

  /// Heapsort (Williams 1964): in place, in n log n comparisons whatever the order was. Equal elements may change places.
  mutating func sortInPlace(by precedes: (Element, Element) -> Bool) throws(DitqError) {
    for root in stride(from: count / 2 - 1, through: 0, by: -1) {
      try checkCall()
      sink(root, in: count, precedes)
    }
    for end in stride(from: count - 1, through: 1, by: -1) {
      try checkCall()
      swapAt(0, end)
      sink(0, in: end, precedes)
    }
  }

  /// Moves an element down among the first `end`, which form a heap below it, until no child stands behind it in the order.
  private mutating func sink(_ root: Int, in end: Int, _ precedes: (Element, Element) -> Bool) {
    var parent = root
    while 2 * parent + 1 < end {
      var child = 2 * parent + 1
      if child + 1 < end && precedes(self[child], self[child + 1]) { child += 1 }
      guard precedes(self[parent], self[child]) else { return }
      swapAt(parent, child)
      parent = child
    }
  }
}
