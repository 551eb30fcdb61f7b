// DiTConfig: the numbers that make one DiT differ from another, and what the two public code bases do differently with the same weights
// (docs/sampling.md, "Two code bases, one model"). Configuration is data: a new checkpoint family is another way to fill this struct.

extension Compatibility {
  /// Timestep frequencies are exp(−ln(10000) · i / divisor).
  var frequencyDivisor: Float { self == .official ? 128 : 127 }
}

package struct DiTConfig {
  package var compatibility: Compatibility
  package var hiddenSize: Int
  package var depth: Int
  package var headCount: Int
  package var patchSize: Int
  /// Channels of what is denoised.
  package var channels: Int
  /// `channels`, or twice as many for a model with learned variance.
  package var outputChannels: Int
  /// Height and width of what is denoised.
  package var latentSize: Int
  var mlpSize: Int
  package var classCount: Int
  /// Of a block's second LayerNorm; the first and the final layer's is 1e-6.
  var secondNormEpsilon: Float
  /// What is denoised is the image: no decoder is needed.
  var isPixelSpace: Bool
  /// Whether the label table has a row of "no class" behind those of the classes: what guidance needs.
  package var hasNullClass = true

  static let normEpsilon: Float = 1e-6
  /// Numbers that describe a timestep to the network: half of them cosines, half sines.
  static let timestepFeatures = 256

  /// Rows of the label table.
  var labelCount: Int { hasNullClass ? classCount + 1 : classCount }
  /// Halves of the batch of a guided step.
  var branches: Int { hasNullClass ? 2 : 1 }
  var headSize: Int { hiddenSize / headCount }
  /// Tokens along one side.
  var gridSize: Int { latentSize / patchSize }
  var tokenCount: Int { gridSize * gridSize }
  var patchInputs: Int { channels * patchSize * patchSize }
  var patchOutputs: Int { outputChannels * patchSize * patchSize }
  package var latentCount: Int { channels * latentSize * latentSize }
  package var outputCount: Int { outputChannels * latentSize * latentSize }
  func inputs(of layer: BlockLayer) -> Int { layer == .fc2 ? mlpSize : hiddenSize }

  func outputs(of layer: BlockLayer) -> Int {
    switch layer {
    case .modulation: 6 * hiddenSize
    case .qkv: 3 * hiddenSize
    case .proj, .fc2: hiddenSize
    case .fc1: mlpSize
    }
  }

  /// Multiply-accumulates of one call on one image.
  package var macsPerForward: UInt64 {
    let tokens = UInt64(tokenCount), width = UInt64(hiddenSize)
    let linears = tokens * (4 * width * width + 2 * width * UInt64(mlpSize))
    let block = linears + 2 * tokens * tokens * width + 6 * width * width
    let ends = tokens * width * UInt64(patchInputs + patchOutputs) + width * (UInt64(DiTConfig.timestepFeatures) + width + 2 * width)
    return UInt64(depth) * block + ends
  }

  /// Keeps every size computed from these within 64 bits, whatever a file says.
  func check() throws(DitqError) {
    try check("hidden size", hiddenSize, Limit.hiddenSize)
    try check("depth", depth, Limit.depth)
    try check("head count", headCount, Limit.heads)
    try check("patch size", patchSize, Limit.patchSize)
    try check("channels", channels, Limit.channels)
    try check("latent size", latentSize, Limit.latentSize)
    try check("MLP size", mlpSize, Limit.mlpSize)
    try check("class count", classCount, Limit.classes)
    guard hiddenSize % 4 == 0 else { throw DitqError(.unsupported, "hidden size: a multiple of 4 expected, \(hiddenSize) found") }
    guard hiddenSize % headCount == 0 else {
      throw DitqError(.unsupported, "head_count: a divisor of the hidden size \(hiddenSize) expected, \(headCount) found")
    }
    guard latentSize % patchSize == 0 else {
      throw DitqError(.unsupported, "sample size: a multiple of the patch size \(patchSize) expected, \(latentSize) found")
    }
    try check("tokens", tokenCount, Limit.tokens)
    guard !isPixelSpace || channels == 1 || channels == 3 else {
      throw DitqError(.unsupported, "pixel_space: 1 or 3 channels expected, \(channels) found")
    }
    guard outputChannels == channels || outputChannels == 2 * channels else {
      throw DitqError(.unsupported, "output channels: \(channels) or \(2 * channels) expected, \(outputChannels) found")
    }
  }

  private func check(_ name: String, _ value: Int, _ range: ClosedRange<Int>) throws(DitqError) {
    guard range.contains(value) else {
      throw DitqError(.unsupported, "\(name): \(range.lowerBound) to \(range.upperBound) expected, \(value) found")
    }
  }
}
