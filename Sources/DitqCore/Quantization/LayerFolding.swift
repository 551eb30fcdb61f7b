// What of its neighbours' channel balance, and of its own, is folded into a layer before its weights are quantized.

import CKernels

struct LayerFolding {
  /// [outputs]: of the balance of the layer that these outputs go to.
  var rowFactors: [Float]?
  /// [outputs], in place of the layer's own.
  var bias: [Float]?
  /// The balance of the layer's inputs.
  var balance: ChannelBalance?

  var isEmpty: Bool { rowFactors == nil && balance == nil }

  /// The factors and bias of a layer, to be changed where `change` says.
  mutating func foldOutputs(of linear: Linear, _ change: (_ rowFactors: inout [Float], _ bias: inout [Float]) -> Void) {
    var factors = rowFactors ?? [Float](repeating: 1, count: linear.outputs)
    var bias = bias ?? (0..<linear.outputs).map { linear.bias?[$0] ?? 0 }
    change(&factors, &bias)
    (rowFactors, self.bias) = (factors, bias)
  }
}

/// A float matrix [outputs, inputs] on its way to integers, with what is folded into it.
struct FoldedMatrix {
  let matrix: StoredMatrix
  private let folding: LayerFolding

  init(_ matrix: StoredMatrix, _ folding: LayerFolding = LayerFolding()) { (self.matrix, self.folding) = (matrix, folding) }

  func copyRow(_ index: Int, to row: UnsafeMutablePointer<Float>, _ kernels: ditqk_kernels) {
    matrix.copyRow(index, to: row, kernels)
    if let columns = folding.balance?.columnFactors { for k in 0..<matrix.inputs { row[k] *= columns[k] } }
    if let factor = folding.rowFactors?[index] { for k in 0..<matrix.inputs { row[k] *= factor } }
  }
}
