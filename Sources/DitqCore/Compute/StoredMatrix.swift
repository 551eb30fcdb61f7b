// A float weight matrix as it stands in a file: rows of stored numbers, used in place and packed a panel at a time as they are needed.
// Relies on CKernels for the layouts.

import CKernels

/// A matrix [outputs, inputs] of stored numbers, its rows in up to three blocks of equal height: a fused qkv may be three tensors.
struct StoredMatrix {
  let outputs: Int
  let inputs: Int
  let type: ElementType
  let rowsPerBlock: Int
  let blocks: InlineArray<3, UnsafeRawPointer>

  /// One block, or three. All have the same type and shape.
  init(_ tensors: [Tensor], type: ElementType, inputs: Int) {
    precondition(tensors.count == 1 || tensors.count == 3)
    self.type = type
    self.inputs = inputs
    rowsPerBlock = tensors[0].elementCount / inputs
    outputs = rowsPerBlock * tensors.count
    let last = tensors.count - 1
    blocks = [tensors[0].start, tensors[min(1, last)].start, tensors[last].start]
  }

  /// Floats of the caller.
  init(floats start: UnsafePointer<Float>, outputs: Int, inputs: Int) {
    (self.outputs, self.inputs, type, rowsPerBlock) = (outputs, inputs, .f32, outputs)
    blocks = InlineArray(repeating: UnsafeRawPointer(start))
  }

  func row(_ index: Int) -> UnsafeRawPointer { blocks[index / rowsPerBlock] + index % rowsPerBlock * inputs * type.byteCount }

  /// Row `index` as floats.
  func copyRow(_ index: Int, to output: UnsafeMutablePointer<Float>, _ kernels: ditqk_kernels) {
    kernels.convert(row(index), type.kernelNumber, inputs, output)
  }

  /// Panel `index`, [inputs][32].
  func packPanel(_ index: Int, into panel: UnsafeMutablePointer<Float>, _ kernels: ditqk_kernels) {
    let first = index * panelColumns
    let count = min(panelColumns, outputs - first)
    var rows = InlineArray<32, UnsafeRawPointer?>(repeating: nil)
    for column in 0..<count { rows[column] = row(first + column) }
    withUnsafeBytes(of: &rows) { bytes in
      kernels.pack_panel(
        bytes.baseAddress!.assumingMemoryBound(to: UnsafeRawPointer?.self), count, type.kernelNumber, inputs, panel)
    }
  }
}

extension ElementType {
  var kernelNumber: Int32 {
    switch self {
    case .f32: Int32(DITQK_F32)
    case .f16: Int32(DITQK_F16)
    case .bf16: Int32(DITQK_BF16)
    }
  }
}

/// Outputs of a panel.
let panelColumns = Int(DITQK_PANEL_COLUMNS)

func panelCount(_ columns: Int) -> Int { (columns + panelColumns - 1) / panelColumns }
