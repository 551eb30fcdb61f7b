// DiTWorkspace: the buffers of a forward call, one named field each, and how much scratch its operations need. Sizes depend on the
// configuration, on what layers ask their rows to be, and on the largest number of images.

import CKernels

struct DiTWorkspace {
  /// Most images of one call.
  let images: Int
  /// The residual stream [images · tokens, hidden].
  let stream: UnsafeMutablePointer<Float>
  /// The left matrix of the next GEMM, packed: [images · tokens] of the widest layer's inputs, in the form that it asks for.
  let packed: RowBuffers
  /// [images · tokens, 3 · hidden].
  let qkv: UnsafeMutablePointer<Float>
  let attentionBuffers: AttentionBuffers
  /// Attention's output [images · tokens, hidden]; also the patches of the input.
  let attended: UnsafeMutablePointer<Float>
  /// After fc1 and GELU [images · tokens, mlp]; also the rows of the final layer. And the same memory for rows that are 8-bit numbers.
  let expanded: UnsafeMutablePointer<Float>
  let expandedRows: RowBuffers
  /// Of these rows, for fc2 where each has its own range.
  let expandedExtremes: RowExtremes
  /// Which of the static ranges each image has [images].
  let bins: UnsafeMutablePointer<Int32>
  /// Of the timesteps [images, 256], and after the first linear [images, hidden].
  let features: UnsafeMutablePointer<Float>
  let embedded: UnsafeMutablePointer<Float>
  /// SiLU(c) [images, hidden].
  let conditioning: UnsafeMutablePointer<Float>
  /// That of one block, where blocks have embedders of their own; else nothing.
  let ownConditioning: UnsafeMutablePointer<Float>
  /// Timesteps and conditioning, packed for their linears.
  let packedConditioning: RowBuffers
  /// shift, scale, gate of attention, then of the MLP: [images, 6 · hidden].
  let modulation: UnsafeMutablePointer<Float>

  /// For a model whose widest layer takes so many floats of a token's packed row, see `DiTWeights`, and rows of 8-bit numbers in a layout.
  init(
    _ arena: inout Arena, _ config: DiTConfig, packedFloatsPerToken: Int, attendsOnIntegers: Bool, hasOwnEmbedders: Bool = false,
    _ layout: TileLayout, images: Int, threads: Int
  ) {
    let width = config.hiddenSize, tokens = config.tokenCount, rows = images * tokens
    self.images = images
    stream = arena.floats(rows, width)
    // Careful: comparing models runs the layers of one vector an image in these too, and an image may have a single token.
    let vector = max(width, DiTConfig.timestepFeatures)
    packed = RowBuffers(&arena, rows: rows, floatsPerRow: max(packedFloatsPerToken, (vector + tokens - 1) / tokens))
    bins = arena.reserve(Int32.self, images)
    features = arena.floats(images, DiTConfig.timestepFeatures)
    embedded = arena.floats(images, width)
    conditioning = arena.floats(images, width)
    ownConditioning = arena.floats(hasOwnEmbedders ? images : 0, width)
    packedConditioning = RowBuffers(&arena, rows: images, floatsPerRow: vector)
    modulation = arena.floats(images, 6, width)
    let scales = arena.floats(rows), zeros = arena.floats(rows)
    // Attention is over when the MLP begins, so the two share their memory. Careful: nothing may be reserved behind this but what the MLP uses.
    (qkv, attentionBuffers, attended) = arena.overlapping { arena in
      (
        arena.floats(rows, 3, width),
        AttentionBuffers(
          &arena, images: images, tokens: tokens, heads: config.headCount, headSize: config.headSize,
          onIntegers: attendsOnIntegers), arena.floats(rows, max(width, config.patchInputs))
      )
    }
    expanded = arena.floats(rows, max(config.mlpSize, config.patchOutputs, layout.rowSize(depth: config.mlpSize) / 4))
    expandedExtremes = RowExtremes(&arena, rows: rows, threads: threads)
    expandedRows = RowBuffers(packed: expanded, scales: scales, zeros: zeros)
  }

  /// Scratch floats a thread needs for any operation of the forward call.
  static func scratch(_ config: DiTConfig, _ kernels: ditqk_kernels) -> Int {
    let deepest = max(config.hiddenSize, config.mlpSize, config.patchInputs, DiTConfig.timestepFeatures)
    return max(
      Executor.linearScratch(inputs: deepest, kernels),
      Executor.attentionScratch(tokens: config.tokenCount, headSize: config.headSize, kernels))
  }
}
