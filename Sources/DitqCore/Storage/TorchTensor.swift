// TorchTensor: a tensor as torch keeps it, elements of a storage at strides of their own; and its copy as a row-major block.
// Refuses a tensor that leaves its storage.

import CPlatform

struct TorchStorage {
  /// In the words of Tensor.
  let dtype: String
  let start: UnsafeRawPointer
  let byteCount: Int
}

struct TorchTensor {
  let dtype: String
  let shape: [Int]
  let elementCount: Int
  private let start: UnsafeRawPointer
  /// In elements.
  private let strides: [Int]
  private let elementByteCount: Int

  init(_ storage: TorchStorage, _ dtype: String?, offset: Int, shape: [Int], strides: [Int]) throws(DitqError) {
    (self.dtype, self.shape) = (dtype ?? storage.dtype, shape)
    // Careful: along an axis of one element any stride is allowed, and none is a step.
    var steps = strides
    for axis in shape.indices where axis < steps.count && shape[axis] <= 1 { steps[axis] = 0 }
    self.strides = steps
    elementByteCount = DitqCore.byteCount(ofDtype: self.dtype)!
    guard shape.count == strides.count, offset >= 0, let elementCount = product(shape),
      product([elementCount, elementByteCount, 2]) != nil,
      let end = elementCount == 0 ? offset : reach(shape, strides, from: offset), let byteEnd = product([end, elementByteCount]),
      byteEnd <= storage.byteCount
    else {
      throw DitqError(
        .malformed,
        "shape \(text(ofShape: shape)), strides \(text(ofShape: strides)), offset \(offset): no tensor in a storage of \(storage.byteCount) bytes"
      )
    }
    self.elementCount = elementCount
    start = storage.start + offset * elementByteCount
  }

  /// Bytes of a row-major copy, a multiple of 64; 0 when the elements follow each other in that order already.
  var copyByteCount: Int {
    guard elementCount > 0 else { return 0 }
    var expected = 1
    for axis in shape.indices.reversed() where shape[axis] > 1 {
      if strides[axis] != expected { return (elementCount * elementByteCount + 63) & ~63 }
      expected *= shape[axis]
    }
    return 0
  }

  /// The elements where they stand, or copied to a place of `copyByteCount` bytes where they need one.
  func tensor(named name: String, copiedTo place: UnsafeMutableRawPointer?) throws(DitqError) -> Tensor {
    var elements = start
    if let place, copyByteCount > 0 {
      try copy(to: place)
      elements = UnsafeRawPointer(place)
    }
    return Tensor(
      name: name, dtype: dtype, shape: shape, start: elements, byteCount: elementCount * elementByteCount, elementCount: elementCount)
  }

  private func copy(to target: UnsafeMutableRawPointer) throws(DitqError) {
    var index = [Int](repeating: 0, count: shape.count), source = 0
    for element in 0..<elementCount {
      if element % 1024 == 0 { try checkCall() }
      memcpy(target + element * elementByteCount, start + source * elementByteCount, elementByteCount)
      for axis in shape.indices.reversed() {
        index[axis] += 1
        source += strides[axis]
        if index[axis] < shape[axis] { break }
        source -= shape[axis] * strides[axis]
        index[axis] = 0
      }
    }
  }
}

/// One past the last element; nil where no Int can hold it.
private func reach(_ shape: [Int], _ strides: [Int], from offset: Int) -> Int? {
  var last = offset
  for axis in shape.indices {
    guard let step = product([shape[axis] - 1, strides[axis]]), last <= .max - 1 - step else { return nil }
    last += step
  }
  return last + 1
}
